/* Goroutines that select over the same few channels, in different orders, sending and receiving, with
 * and without default, beside plain operations, until one closes `done`: no deadlock, no value lost or
 * doubled. */
#include "../../unit/chan/chan_test.h"

enum { CHANS = 6, GOROUTINES = 12 };

struct mesh {
    struct loam_hchan *c[CHANS], *done;
    struct loam_waitgroup *wg;
    int64_t left; /* atomic: operations to go */
};

struct member {
    struct mesh *m;
    uint64_t random;
    uint64_t sent, got, nsent, ngot;
};

static uint64_t random_number(struct member *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 8) % n;
}

static void work(void *arg)
{
    struct member *w = arg;
    struct mesh *m = w->m;
    for (;;) {
        struct loam_case cases[CHANS + 1];
        uint64_t in[CHANS + 1], out[CHANS + 1];
        bool ok[CHANS + 1];
        size_t n = 1 + random_number(w, CHANS), first = random_number(w, CHANS);
        size_t at = random_number(w, n + 1); /* where `done` is */
        for (size_t i = 0, k = 0; i <= n; i++) {
            if (i == at) {
                cases[i] = (struct loam_case){m->done, NULL, NULL, 0};
                continue;
            }
            size_t c = random_number(w, 4) == 0 ? random_number(w, CHANS) : (first + k++) % CHANS;
            in[i] = 0;
            out[i] = random_number(w, 1000000) + 1;
            if (random_number(w, 2) == 0)
                cases[i] = (struct loam_case){m->c[c], &out[i], NULL, 1};
            else
                cases[i] = (struct loam_case){m->c[c], &in[i], &ok[i], 0};
        }
        bool wait = random_number(w, 8) != 0;
        int i = loam_select_n(cases, n + 1, wait ? 0 : LOAM_SELECT_DEFAULT);
        if (i < 0) {
            CHECK(!wait);
            continue;
        }
        CHECK((size_t)i <= n);
        if ((size_t)i == at)
            break;
        if (cases[i].send) {
            w->sent += out[i];
            w->nsent++;
        } else {
            CHECK(ok[i]);
            CHECK(in[i] != 0);
            w->got += in[i];
            w->ngot++;
        }
        for (size_t k = 0; k <= n; k++) /* the others' memory is untouched */
            CHECK(k == at || k == (size_t)i || cases[k].send || in[k] == 0);
        if (add(&m->left, -1) == 0)
            loam_chan_close(m->done);
    }
    loam_waitgroup_done(m->wg);
}

static void one(int64_t cap, int64_t operations, uint64_t seed)
{
    snprintf(where, sizeof where, "capacity %d", (int)cap);
    struct loam_waitgroup wg = {0};
    struct mesh m = {.done = loam_chan_new_or_panic(1, 0), .wg = &wg, .left = operations};
    struct member w[GOROUTINES];
    for (int i = 0; i < CHANS; i++)
        m.c[i] = loam_chan_new_or_panic(8, cap);
    loam_waitgroup_add(&wg, GOROUTINES);
    for (int i = 0; i < GOROUTINES; i++) {
        w[i] = (struct member){.m = &m, .random = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15u};
        go(work, &w[i]);
    }
    loam_waitgroup_wait(&wg);
    uint64_t sent = 0, got = 0, nsent = 0, ngot = 0;
    for (int i = 0; i < GOROUTINES; i++) {
        sent += w[i].sent;
        got += w[i].got;
        nsent += w[i].nsent;
        ngot += w[i].ngot;
    }
    for (int i = 0; i < CHANS; i++) {
        for (uint64_t v; loam_chan_try_recv(m.c[i], &v) == 1; ngot++)
            got += v;
        loam_chan_delete(m.c[i]);
    }
    loam_chan_delete(m.done);
    CHECK_EQ(ngot, nsent);
    CHECK_EQ(got, sent);
}

static void body(void)
{
    for (uint64_t seed = 0; seed < 3; seed++)
        for (int64_t cap = 0; cap <= 3; cap++)
            one(cap, times(150000), seed);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
