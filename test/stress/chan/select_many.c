/* Selects of up to 65,536 cases: on as many channels, in any order of addresses, and on few, many times
 * each. Whatever wakes one, the right case is returned and nothing is left in any queue: the debug
 * builds' check in loam_chan_free. */
#include "../../unit/chan/chan_test.h"

enum { LIMIT = 65536 };

static uint64_t random_state = 88172645463325252u;

static uint64_t random_number(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

struct peer {
    struct loam_hchan *c;
    int64_t value;
    int op;    /* 0: send, 1: close, 2: receive */
    int done;  /* atomic */
    int delay; /* yields before */
};

static void act(void *arg)
{
    struct peer *p = arg;
    for (int i = 0; i < p->delay; i++)
        loam_yield();
    if (p->op == 0)
        loam_chan_send(p->c, &p->value);
    else if (p->op == 1)
        loam_chan_close(p->c);
    else
        CHECK(loam_chan_recv(p->c, &p->value));
    store(&p->done, 1);
}

static struct loam_hchan *chans[LIMIT];
static struct loam_case cases[LIMIT];

static void one(size_t n, size_t nchans, int64_t rounds)
{
    snprintf(where, sizeof where, "%zu cases on %zu channels", n, nchans);
    for (size_t i = 0; i < nchans; i++)
        chans[i] = loam_chan_new_or_panic(8, 0);
    for (int64_t r = 0; r < rounds; r++) {
        int64_t got = -1, out = 1000 + r;
        bool ok = false;
        /* the channels in any order, each at least once if they fit */
        for (size_t i = 0; i < nchans; i++) {
            size_t k = random_number(i + 1);
            struct loam_hchan *c = chans[i];
            chans[i] = chans[k];
            chans[k] = c;
        }
        for (size_t i = 0; i < n; i++) {
            cases[i] = (struct loam_case){chans[i % nchans], &got, &ok, 0};
            if (random_number(50) == 0)
                cases[i].chan = NULL;
            if (random_number(3) == 0)
                cases[i] = (struct loam_case){cases[i].chan, &out, NULL, 1};
        }
        size_t target = random_number(n);
        cases[target].chan = chans[target % nchans];
        CHECK_EQ(loam_select_n(cases, n, LOAM_SELECT_DEFAULT), -1);

        struct peer p = {.c = cases[target].chan,
                         .value = r,
                         .op = cases[target].send ? 2 : (int)(r % 5 == 4),
                         .delay = (int)random_number(4)};
        if (p.op == 1) /* send on closed panics: receive only */
            for (size_t i = 0; i < n; i++)
                if (cases[i].chan == p.c)
                    cases[i] = (struct loam_case){p.c, &got, &ok, 0};
        go(act, &p);
        int i = loam_select_n(cases, n, 0);
        CHECK(i >= 0 && (size_t)i < n && cases[i].chan == p.c);
        CHECK_EQ(cases[i].send, p.op == 2);
        if (p.op != 2) {
            CHECK_EQ(ok, p.op == 0);
            CHECK_EQ(got, p.op == 0 ? r : 0);
        }
        AWAIT(load(&p.done));
        if (p.op == 2)
            CHECK_EQ(p.value, out);
        if (p.op == 1) {
            for (size_t k = 0; k < nchans; k++) {
                if (chans[k] == p.c) {
                    loam_chan_delete(chans[k]);
                    chans[k] = loam_chan_new_or_panic(8, 0);
                }
            }
        }
    }
    for (size_t i = 0; i < nchans; i++)
        loam_chan_delete(chans[i]);
}

static void body(void)
{
    one(2, 1, times(20000));
    one(3, 2, times(20000));
    one(7, 7, times(20000));
    one(8, 3, times(20000));
    one(9, 9, times(20000));
    one(17, 17, times(8000));
    one(100, 40, times(8000));
    one(1000, 1000, times(200));
    one(LIMIT, 3, times(20));
    one(LIMIT, LIMIT, times(10));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
