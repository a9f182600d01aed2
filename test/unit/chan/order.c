/* Waiters are served in the order of their coming, values in the order of their sending. */
#include "chan_test.h"
#include "waiters.h"

enum { N = 40 };

struct waiter {
    struct loam_hchan *c;
    int64_t value;
    int kind; /* 0: plain, 1: select of two, 2: select with the channel in two cases */
    bool ok;
    int *finished; /* atomic: how many waiters have */
};

static void receive(void *arg)
{
    struct waiter *w = arg;
    if (w->kind == 0) {
        w->ok = loam_chan_recv(w->c, &w->value);
    } else {
        struct loam_case cases[] = {
            {NULL, NULL, NULL, 0}, {w->c, &w->value, &w->ok, 0}, {w->c, &w->value, &w->ok, 0}};
        loam_select_n(cases, w->kind == 1 ? 2 : 3, 0);
    }
    add(w->finished, 1);
}

static void send(void *arg)
{
    struct waiter *w = arg;
    if (w->kind == 0) {
        loam_chan_send(w->c, &w->value);
    } else {
        struct loam_case cases[] = {
            {NULL, NULL, NULL, 0}, {w->c, &w->value, NULL, 1}, {w->c, &w->value, NULL, 1}};
        loam_select_n(cases, w->kind == 1 ? 2 : 3, 0);
    }
    add(w->finished, 1);
}

/* Starts N waiters, each when the one before waits. kind 3 mixes. */
static void start(struct waiter *w, void (*fn)(void *), struct loam_hchan *c, int kind,
                  int *finished)
{
    int sudogs = 0;
    for (int i = 0; i < N; i++) {
        w[i] = (struct waiter){c, fn == send ? i : -1, kind == 3 ? i % 3 : kind, false, finished};
        sudogs += w[i].kind == 2 ? 2 : 1;
        go(fn, &w[i]);
        AWAIT(receivers(c) + senders(c) == sudogs);
    }
}

static void receivers_in_order(int64_t cap, int kind)
{
    static struct waiter w[N];
    int finished = 0;
    struct loam_hchan *c = loam_chan_new_or_panic(sizeof(int64_t), cap);
    start(w, receive, c, kind, &finished);
    for (int64_t i = 0; i < N; i++)
        loam_chan_send(c, &i);
    AWAIT(load(&finished) == N);
    for (int i = 0; i < N; i++) {
        CHECK(w[i].ok);
        CHECK_EQ(w[i].value, i);
    }
    CHECK_EQ(receivers(c), 0);
    loam_chan_delete(c);
}

static void senders_in_order(int64_t cap, int kind)
{
    static struct waiter w[N];
    int finished = 0;
    struct loam_hchan *c = loam_chan_new_or_panic(sizeof(int64_t), cap);
    for (int64_t i = -cap; i < 0; i++)
        loam_chan_send(c, &i); /* full */
    start(w, send, c, kind, &finished);
    CHECK_EQ(loam_chan_len(c), cap);
    for (int64_t i = -cap; i < N; i++) {
        int64_t v;
        CHECK(loam_chan_recv(c, &v));
        CHECK_EQ(v, i);
        /* full as long as somebody waits: their values move up at once */
        CHECK_EQ(loam_chan_len(c), i < N - cap ? cap : N - 1 - i);
    }
    AWAIT(load(&finished) == N);
    CHECK_EQ(senders(c), 0);
    loam_chan_delete(c);
}

static void close_wakes_all(int64_t cap, int kind)
{
    static struct waiter w[N];
    int finished = 0;
    struct loam_hchan *c = loam_chan_new_or_panic(sizeof(int64_t), cap);
    start(w, receive, c, kind, &finished);
    loam_chan_close(c);
    AWAIT(load(&finished) == N);
    for (int i = 0; i < N; i++) {
        CHECK(!w[i].ok);
        CHECK_EQ(w[i].value, 0);
    }
    CHECK_EQ(receivers(c), 0);
    loam_chan_delete(c);
}

/* A receiver on two channels. */
struct both {
    struct loam_hchan *c, *other;
    int64_t value;
    int index;
    int done; /* atomic */
};

static void receive_both(void *arg)
{
    struct both *b = arg;
    struct loam_case cases[] = {{b->c, &b->value, NULL, 0}, {b->other, &b->value, NULL, 0}};
    b->index = loam_select_n(cases, 2, 0);
    store(&b->done, 1);
}

/* Three wait; the one in the place `which` is woken by another channel and leaves the queue. */
static void leave_the_queue(int which)
{
    static struct waiter w[3];
    static struct both both;
    int finished = 0;
    struct loam_hchan *c = loam_chan_new_or_panic(sizeof(int64_t), 0);
    struct loam_hchan *other = loam_chan_new_or_panic(sizeof(int64_t), 0);
    both = (struct both){c, other, -1, -1, 0};
    for (int i = 0; i < 3; i++) {
        w[i] = (struct waiter){c, -1, 0, false, &finished};
        if (i == which)
            go(receive_both, &both);
        else
            go(receive, &w[i]);
        AWAIT(receivers(c) == i + 1);
    }
    int64_t v = 77;
    loam_chan_send(other, &v);
    AWAIT(load(&both.done));
    CHECK_EQ(both.index, 1);
    CHECK_EQ(both.value, 77);
    CHECK_EQ(receivers(c), 2); /* gone, although c did not wake it; checks the links too */
    for (int i = 0, n = 0; i < 3; i++) {
        if (i == which)
            continue;
        v = 100 + i;
        loam_chan_send(c, &v);
        n++;
        AWAIT(load(&finished) == n);
        CHECK_EQ(w[i].value, 100 + i);
    }
    loam_chan_delete(c);
    loam_chan_delete(other);
}

static void body(void)
{
    for (int kind = 0; kind <= 3; kind++) {
        for (int64_t cap = 0; cap <= 3; cap++) {
            snprintf(where, sizeof where, "kind %d, capacity %d", kind, (int)cap);
            receivers_in_order(cap, kind);
            senders_in_order(cap, kind);
            close_wakes_all(cap, kind);
        }
    }
    for (int which = 0; which < 3; which++)
        leave_the_queue(which);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
