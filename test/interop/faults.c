/* Programs with one planted fault each, on goroutines, and their correct counterparts: what a
 * sanitizer must report, and must not.
 *
 *     faults NAME */
#include <loam.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define noinline __attribute__((noinline))

static struct loam_waitgroup all;

static void go(void (*fn)(void *), void *arg)
{
    if (loam_go(fn, arg) != 0)
        loam_panic("%s", loam_error_text());
}

struct gated {
    void (*fn)(void *);
    void *arg;
    loam_chan(int) gate;
};

static void gated(void *arg)
{
    struct gated *g = arg;
    (void)loam_recv(g->gate);
    g->fn(g->arg);
}

/* Starts both and waits for both, which orders their work against main's but not each other's. They
 * begin when both are there: a goroutine that is made of one that has ended is the same thread to
 * ThreadSanitizer. */
static void both(void (*left)(void *), void (*right)(void *), void *arg)
{
    struct gated pair[2] = {{left, arg, loam_chan_make(int, 1)},
                            {right, arg, loam_chan_make(int, 1)}};
    loam_waitgroup_add(&all, 2);
    for (int i = 0; i < 2; i++)
        go(gated, &pair[i]);
    for (int i = 0; i < 2; i++)
        loam_send(pair[i].gate, 1);
    loam_waitgroup_wait(&all);
    for (int i = 0; i < 2; i++)
        loam_chan_free(pair[i].gate);
}

/* ---- Races --------------------------------------------------------------------------------------- */

static int shared;

static void left_writes(void *arg)
{
    (void)arg;
    shared++;
    loam_waitgroup_done(&all);
}

static void right_writes(void *arg)
{
    (void)arg;
    shared += 2;
    loam_waitgroup_done(&all);
}

static void race(void)
{
    both(left_writes, right_writes, NULL);
}

/* They do synchronise, but with others: each over a channel of its own, and both yield. */
static void left_busy(void *arg)
{
    loam_chan(int) c = loam_chan_make(int, 1);
    loam_send(c, 1);
    loam_yield();
    shared++;
    (void)loam_recv(c);
    loam_chan_free(c);
    (void)arg;
    loam_waitgroup_done(&all);
}

static void right_busy(void *arg)
{
    loam_chan(int) c = loam_chan_make(int, 1);
    loam_send(c, 1);
    loam_yield();
    shared += 2;
    (void)loam_recv(c);
    loam_chan_free(c);
    (void)arg;
    loam_waitgroup_done(&all);
}

static void race_busy(void)
{
    both(left_busy, right_busy, NULL);
}

/* The message comes before the write that it should announce. */
static void sends_early(void *arg)
{
    loam_send((loam_chan(int))arg, 1);
    shared++;
    loam_waitgroup_done(&all);
}

static void receives_early(void *arg)
{
    (void)loam_recv((loam_chan(int))arg);
    shared += 2;
    loam_waitgroup_done(&all);
}

static void race_early(void)
{
    loam_chan(int) c = loam_chan_make(int, 1);
    both(sends_early, receives_early, c);
    loam_chan_free(c);
}

/* ---- What orders goroutines ------------------------------------------------------------------------ */

enum { ROUNDS = 200 };

static struct loam_mutex mutex;
static struct loam_rwmutex rwmutex;
static struct loam_cond cond;
static struct loam_once once;
static struct loam_semaphore semaphore;
static int under_mutex, under_rwmutex, under_semaphore, made_once, turn;

static void by_mutex(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        loam_mutex_lock(&mutex);
        under_mutex++;
        if (i % 16 == 0)
            loam_yield();
        loam_mutex_unlock(&mutex);
        loam_rwmutex_lock(&rwmutex);
        under_rwmutex++;
        loam_rwmutex_unlock(&rwmutex);
        loam_rwmutex_rlock(&rwmutex);
        if (under_rwmutex < 0)
            abort();
        loam_rwmutex_runlock(&rwmutex);
        if (loam_semaphore_acquire(&semaphore, 1, NULL) == 0) {
            under_semaphore++;
            loam_semaphore_release(&semaphore, 1);
        }
    }
    (void)arg;
    loam_waitgroup_done(&all);
}

static void make_once(void *arg)
{
    (void)arg;
    made_once++;
}

static void by_once(void *arg)
{
    (void)arg;
    loam_once_do(&once, make_once, NULL);
    if (made_once != 1)
        abort();
    loam_waitgroup_done(&all);
}

static void takes_turns(void *arg)
{
    int mine = (int)(intptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        loam_mutex_lock(&mutex);
        while (turn != mine)
            loam_cond_wait(&cond, &mutex);
        turn = !mine;
        loam_cond_broadcast(&cond);
        loam_mutex_unlock(&mutex);
    }
    loam_waitgroup_done(&all);
}

struct message {
    int number;
    loam_chan(struct message *) back;
};

static void answers(void *arg)
{
    loam_chan(struct message *) c = arg;
    for (struct message *m; loam_recv_ok(c, &m);) {
        m->number++;
        loam_send(m->back, m);
    }
    loam_waitgroup_done(&all);
}

static void asks(loam_chan(struct message *) c)
{
    loam_chan(struct message *) back[2];
    for (int i = 0; i < 2; i++)
        back[i] = loam_chan_make(struct message *, i);
    for (int i = 0; i < ROUNDS; i++) {
        struct message m = {i, back[i % 2]};
        struct message *answer = &m;
        (void)loam_select(loam_on_send(c, &answer));
        (void)loam_select(loam_on_recv(m.back, &answer));
        if (answer->number != i + 1)
            abort();
    }
    loam_close(c);
    loam_waitgroup_wait(&all); /* they may still be on their way out of the last send */
    for (int i = 0; i < 2; i++)
        loam_chan_free(back[i]);
}

static void call(void *arg)
{
    ++*(int *)arg;
}

static void fires(void *arg)
{
    ++*(int *)arg;
    loam_waitgroup_done(&all);
}

static void by_timers_and_calls(void)
{
    int fired = 0, called = 0;
    for (int i = 0; i < ROUNDS / 10; i++) {
        loam_waitgroup_add(&all, 1);
        struct loam_timer *t = loam_after_func(1000, fires, &fired);
        loam_waitgroup_wait(&all);
        loam_timer_free(t);
        t = loam_timer_new(1000);
        fired++;
        (void)loam_recv(loam_timer_chan(t));
        loam_timer_free(t);
        loam_blocking(call, &called);
        if (loam_call(call, &called) != 0)
            abort();
        loam_sleep(1000);
        called++;
    }
    if (fired != ROUNDS / 10 * 2 || called != ROUNDS / 10 * 3)
        abort();
}

static void clean(void)
{
    loam_semaphore_init(&semaphore, 1);
    for (int i = 0; i < 4; i++)
        both(by_mutex, by_mutex, NULL);
    both(by_once, by_once, NULL);
    loam_waitgroup_add(&all, 2);
    go(takes_turns, (void *)0);
    go(takes_turns, (void *)1);
    loam_waitgroup_wait(&all);
    loam_chan(struct message *) c = loam_chan_make(struct message *, 0);
    loam_waitgroup_add(&all, 2);
    go(answers, c);
    go(answers, c);
    asks(c);
    loam_chan_free(c);
    by_timers_and_calls();
    if (under_mutex != 8 * ROUNDS || under_rwmutex != 8 * ROUNDS || under_semaphore != 8 * ROUNDS)
        abort();
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static volatile int eight = 8;

static void overflows_stack(void *arg)
{
    char buf[8];
    memset(buf, 1, sizeof buf);
    loam_yield();
    ((volatile char *)buf)[eight] = 2;
    (void)arg;
    loam_waitgroup_done(&all);
}

static void overflows_heap(void *arg)
{
    char *buf = malloc(8);
    loam_yield();
    ((volatile char *)buf)[eight] = 2;
    free(buf);
    (void)arg;
    loam_waitgroup_done(&all);
}

static void frees(void *arg)
{
    free(*(int **)arg);
    loam_waitgroup_done(&all);
}

static void uses_after_free(void *arg)
{
    (void)arg;
    int *p = malloc(sizeof *p);
    loam_waitgroup_add(&all, 1);
    go(frees, &p);
    loam_sleep(20000000);
    *(volatile int *)p = 1;
    loam_waitgroup_done(&all);
}

static noinline int *address_of_local(void)
{
    int local = 1;
    int *volatile p = &local;
    loam_yield(); /* it may return on another thread */
    return p;
}

static void uses_after_return(void *arg)
{
    (void)arg;
    int *p = address_of_local();
    loam_yield();
    *(volatile int *)p = 2;
    loam_waitgroup_done(&all);
}

static void memory_fault(void (*fn)(void *))
{
    loam_waitgroup_add(&all, 1);
    go(fn, NULL);
    loam_waitgroup_wait(&all);
}

/* ---- What looks like a fault of the stack and is none ----------------------------------------------- */

static noinline int recurse(int depth, bool (*at_bottom)(void *), void *arg)
{
    char frame[64];
    memset(frame, depth, sizeof frame);
    int below = depth > 0 ? recurse(depth - 1, at_bottom, arg) : at_bottom(arg);
    return below + (frame[eight] == (char)depth);
}

static bool yields(void *arg)
{
    (void)arg;
    loam_yield();
    return false;
}

static bool exits(void *arg)
{
    (void)arg;
    loam_waitgroup_done(&all);
    loam_goexit();
}

static bool jumps(void *arg)
{
    longjmp(*(jmp_buf *)arg, 1);
}

static void deep(void *arg)
{
    jmp_buf env;
    volatile int times = 0;
    for (volatile int i = 0; i < 20; i++) {
        if (recurse(100, yields, NULL) != 101)
            abort();
        if (setjmp(env) == 0)
            (void)recurse(i * 5, jumps, &env);
        else
            times = times + 1;
        loam_yield();
    }
    if (times != 20)
        abort();
    (void)recurse((int)(intptr_t)arg, exits, NULL);
}

static void deep_clean(void)
{
    for (int round = 0; round < 20; round++) {
        loam_waitgroup_add(&all, 20);
        for (int i = 0; i < 20; i++)
            go(deep, (void *)(intptr_t)(i * 10));
        loam_waitgroup_wait(&all);
    }
}

static long mapped_pages(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%ld", &pages) != 1)
        abort();
    fclose(f);
    return pages;
}

/* AddressSanitizer keeps a second stack of 3 MB for each goroutine that runs; it goes with it. */
static void dead_clean(void)
{
    deep_clean();
    long before = mapped_pages();
    deep_clean();
    deep_clean();
    long more = mapped_pages() - before;
    if (more > 300 << 8)
        printf("%ld MB more are mapped\n", more >> 8);
}

static int faults(int argc, char **argv)
{
    const char *name = argv[argc - 1];
    static const struct {
        const char *name;
        void (*whole)(void);
        void (*one)(void *);
    } table[] = {
        {"race", race, NULL},
        {"race_busy", race_busy, NULL},
        {"race_early", race_early, NULL},
        {"clean", clean, NULL},
        {"stack", NULL, overflows_stack},
        {"heap", NULL, overflows_heap},
        {"free", NULL, uses_after_free},
        {"return", NULL, uses_after_return},
        {"deep_clean", deep_clean, NULL},
        {"dead_clean", dead_clean, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name) != 0)
            continue;
        if (table[i].whole != NULL)
            table[i].whole();
        else
            memory_fault(table[i].one);
        puts("done");
        return 0;
    }
    return 3;
}

int main(int argc, char **argv)
{
    return loam_run(faults, argc, argv);
}
