/* Close against everything that may be under way, and the channel's end: the last receiver frees it. */
#include "../../unit/chan/chan_test.h"

struct job {
    struct loam_hchan *c, *other;
    struct loam_waitgroup *wg;
    int64_t n, count, sum;
    int kind;
};

static void receive_all(void *arg)
{
    struct job *j = arg;
    int64_t v = -1;
    bool ok;
    int got;
    switch (j->kind % 3) {
    case 0:
        for (; loam_chan_recv(j->c, &v); j->count++)
            j->sum += v;
        break;
    case 1:
        while ((got = loam_chan_try_recv(j->c, &v)) != 0) {
            if (got == 1) {
                j->sum += v;
                j->count++;
            } else {
                loam_yield();
            }
        }
        break;
    default:
        for (;;) {
            struct loam_case cases[] = {
                {j->c, &v, &ok, 0}, {j->other, NULL, NULL, 0}, {j->c, &v, &ok, 0}};
            CHECK(loam_select_n(cases, 3, 0) != 1);
            if (!ok)
                break;
            j->sum += v;
            j->count++;
        }
    }
    CHECK_EQ(v, 0); /* the zero element */
    loam_waitgroup_done(j->wg);
}

static void send_and_close(void *arg)
{
    struct job *j = arg;
    for (int64_t i = 1; i <= j->n; i++)
        loam_chan_send(j->c, &i);
    for (int64_t i = 0; i < j->n % 3; i++)
        loam_yield(); /* all may be waiting by then */
    loam_chan_close(j->c);
}

/* Every receiver learns of the end, and together they got everything. */
static void everybody_learns(int receivers, int64_t cap, int64_t n)
{
    snprintf(where, sizeof where, "%d receivers, capacity %d", receivers, (int)cap);
    struct loam_hchan *c = loam_chan_new_or_panic(8, cap), *other = loam_chan_new_or_panic(8, 0);
    struct loam_waitgroup wg = {0};
    struct job in = {c, other, NULL, n, 0, 0, 0}, out[16];
    loam_waitgroup_add(&wg, receivers);
    for (int i = 0; i < receivers; i++) {
        out[i] = (struct job){c, other, &wg, 0, 0, 0, i};
        go(receive_all, &out[i]);
    }
    go(send_and_close, &in);
    loam_waitgroup_wait(&wg);
    int64_t count = 0, sum = 0;
    for (int i = 0; i < receivers; i++) {
        count += out[i].count;
        sum += out[i].sum;
    }
    CHECK_EQ(count, n);
    CHECK_EQ(sum, n * (n + 1) / 2);
    loam_chan_delete(c);
    loam_chan_delete(other);
}

/* The receiver frees the channel as soon as it knows of the end, the sender may still be in close. */
static void receiver_frees(int64_t cap, int64_t rounds)
{
    snprintf(where, sizeof where, "receiver frees, capacity %d", (int)cap);
    for (int64_t r = 0; r < rounds; r++) {
        struct job in = {loam_chan_new_or_panic(8, cap), NULL, NULL, r % 4, 0, 0, 0};
        go(send_and_close, &in);
        int64_t v, n = 0;
        for (;;) {
            int got = r % 3 == 0 ? loam_chan_recv(in.c, &v) : loam_chan_try_recv(in.c, &v);
            if (got == 0)
                break;
            if (got == 1)
                n++;
            else
                loam_yield();
        }
        CHECK_EQ(n, r % 4);
        loam_chan_delete(in.c);
    }
}

static void send_one(void *arg)
{
    struct job *j = arg;
    loam_chan_send(j->c, &j->n);
}

/* The receiver frees the channel as soon as it has the value, the sender may still be in send: with a
 * buffer the send is over once the value is there. */
static void receiver_frees_after_value(int64_t cap, int64_t rounds)
{
    snprintf(where, sizeof where, "receiver frees after the value, capacity %d", (int)cap);
    for (int64_t r = 0; r < rounds; r++) {
        struct job in = {loam_chan_new_or_panic(8, cap), NULL, NULL, r, 0, 0, 0};
        go(send_one, &in);
        int64_t v;
        if (r % 2 == 0)
            CHECK(loam_chan_recv(in.c, &v));
        else
            while (loam_chan_try_recv(in.c, &v) != 1)
                loam_yield();
        CHECK_EQ(v, r);
        loam_chan_delete(in.c);
    }
}

static void body(void)
{
    for (int64_t cap = 0; cap <= 4; cap += 2) {
        for (int receivers = 1; receivers <= 16; receivers *= 2)
            for (int64_t i = times(600); i > 0; i--)
                everybody_learns(receivers, cap, i % 50);
        receiver_frees(cap, times(200000));
        if (cap > 0)
            receiver_frees_after_value(cap, times(200000));
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
