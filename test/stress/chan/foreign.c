/* The program's own threads try to send and to receive, and close, against goroutines that park. */
#include "../../unit/chan/chan_test.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 3, GOROUTINES = 3 };

struct part {
    struct loam_hchan *to_threads, *to_goroutines;
    int64_t n;         /* a sender's share */
    int64_t sent, got; /* sums */
    pthread_t thread;
    struct loam_waitgroup *wg;
    int *senders; /* atomic: threads that still send */
};

static void *thread(void *arg)
{
    struct part *p = arg;
    int64_t next = 1, v;
    for (;;) {
        bool idle = true;
        if (next <= p->n && loam_chan_try_send(p->to_goroutines, &next) == 1) {
            p->sent += next++;
            idle = false;
            if (next > p->n && add(p->senders, -1) == 0)
                loam_chan_close(p->to_goroutines);
        }
        int got = loam_chan_try_recv(p->to_threads, &v);
        if (got == 1) {
            p->got += v;
            idle = false;
        }
        if (got == 0 && next > p->n)
            return NULL;
        if (idle)
            sched_yield();
    }
}

static void receive(void *arg)
{
    struct part *p = arg;
    for (int64_t v; loam_chan_recv(p->to_goroutines, &v);)
        p->got += v;
    loam_waitgroup_done(p->wg);
}

static void send(void *arg)
{
    struct part *p = arg;
    for (int64_t i = 1; i <= p->n; i++) {
        loam_chan_send(p->to_threads, &i);
        p->sent += i;
    }
    loam_waitgroup_done(p->wg);
}

static void one(int64_t cap, int64_t n)
{
    snprintf(where, sizeof where, "capacity %d", (int)cap);
    struct loam_hchan *a = loam_chan_new_or_panic(8, cap), *b = loam_chan_new_or_panic(8, cap);
    struct loam_waitgroup senders = {0}, receivers = {0};
    int sending = THREADS;
    struct part threads[THREADS], in[GOROUTINES], out[GOROUTINES];
    loam_waitgroup_add(&senders, GOROUTINES);
    loam_waitgroup_add(&receivers, GOROUTINES);
    for (int i = 0; i < GOROUTINES; i++) {
        in[i] = (struct part){.to_threads = a, .n = n, .wg = &senders};
        out[i] = (struct part){.to_goroutines = b, .wg = &receivers};
        go(send, &in[i]);
        go(receive, &out[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        threads[i] =
            (struct part){.to_threads = a, .to_goroutines = b, .n = n, .senders = &sending};
        CHECK_EQ(pthread_create(&threads[i].thread, NULL, thread, &threads[i]), 0);
    }
    loam_waitgroup_wait(&senders);
    loam_chan_close(a);
    loam_waitgroup_wait(&receivers);
    int64_t sent[2] = {0}, got[2] = {0};
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        sent[0] += threads[i].sent;
        got[1] += threads[i].got;
    }
    for (int i = 0; i < GOROUTINES; i++) {
        sent[1] += in[i].sent;
        got[0] += out[i].got;
    }
    CHECK_EQ(sent[0], THREADS * (n * (n + 1) / 2));
    CHECK_EQ(got[0], sent[0]);
    CHECK_EQ(sent[1], GOROUTINES * (n * (n + 1) / 2));
    CHECK_EQ(got[1], sent[1]);
    loam_chan_delete(a);
    loam_chan_delete(b);
}

static void body(void)
{
    for (int64_t cap = 0; cap <= 30; cap += 15)
        one(cap, times(20000));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
