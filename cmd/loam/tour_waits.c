/* A program that waits in every way that there is, and takes every edge of both automata; see
 * tour_waits.h.
 *
 * Each wait is a goroutine that notes its number, parks, and says when it goes on. The main goroutine
 * sees in memory that it has parked, notes why, and only then wakes it. */
#include "tour_waits.h"

#include <loam.h>

#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"
#include "tour.h"

enum { PATIENCE_MS = 5000, SLEEP_MS = 50 };

struct waits {
    loam_chan(int) chan;
    struct loam_mutex mutex;
    struct loam_rwmutex rwmutex;
    struct loam_cond cond;
    struct loam_waitgroup waitgroup;
    struct loam_semaphore semaphore;
    struct loam_pool *pool;
    sem_t gate; /* what the pool's thread waits for */
    const struct wait *now;
    uint64_t goid;  /* atomic: of the goroutine that waits */
    uint32_t ended; /* atomic: it went on */
};

struct wait {
    const char *call;
    const char *reason;              /* as Go calls it */
    void (*before)(struct waits *w); /* by main; may be NULL */
    void (*park)(struct waits *w);
    void (*wake)(struct waits *w); /* by main; NULL: it wakes by itself */
};

/* ---- The ways to wait ------------------------------------------------------------------------------ */

static void recv_value(struct waits *w)
{
    (void)loam_recv(w->chan);
}

static void send_value(struct waits *w)
{
    loam_send(w->chan, 1);
}

static void select_two(struct waits *w)
{
    int value;
    loam_chan(int) nil = NULL;
    (void)loam_select(loam_on_recv(w->chan, &value), loam_on_recv(nil, &value));
}

static void sleep_some(struct waits *w)
{
    (void)w;
    loam_sleep(SLEEP_MS * LOAM_MILLISECOND);
}

static void lock_mutex(struct waits *w)
{
    loam_mutex_lock(&w->mutex);
}

static void unlock_mutex(struct waits *w)
{
    loam_mutex_unlock(&w->mutex);
}

static void lock_and_unlock_mutex(struct waits *w)
{
    loam_mutex_lock(&w->mutex);
    loam_mutex_unlock(&w->mutex);
}

static void write_lock(struct waits *w)
{
    loam_rwmutex_lock(&w->rwmutex);
}

static void write_unlock(struct waits *w)
{
    loam_rwmutex_unlock(&w->rwmutex);
}

static void write_lock_and_unlock(struct waits *w)
{
    loam_rwmutex_lock(&w->rwmutex);
    loam_rwmutex_unlock(&w->rwmutex);
}

static void read_lock(struct waits *w)
{
    loam_rwmutex_rlock(&w->rwmutex);
}

static void read_unlock(struct waits *w)
{
    loam_rwmutex_runlock(&w->rwmutex);
}

static void read_lock_and_unlock(struct waits *w)
{
    loam_rwmutex_rlock(&w->rwmutex);
    loam_rwmutex_runlock(&w->rwmutex);
}

static void wait_for_cond(struct waits *w)
{
    loam_mutex_lock(&w->mutex);
    loam_cond_wait(&w->cond, &w->mutex);
    loam_mutex_unlock(&w->mutex);
}

static void signal_cond(struct waits *w)
{
    loam_cond_signal(&w->cond);
}

static void add_one(struct waits *w)
{
    loam_waitgroup_add(&w->waitgroup, 1);
}

static void wait_for_group(struct waits *w)
{
    loam_waitgroup_wait(&w->waitgroup);
}

static void done_one(struct waits *w)
{
    loam_waitgroup_done(&w->waitgroup);
}

static void take_unit(struct waits *w)
{
    (void)loam_semaphore_acquire(&w->semaphore, 1, NULL);
}

static void give_unit(struct waits *w)
{
    loam_semaphore_release(&w->semaphore, 1);
}

static void wait_at_gate(void *arg)
{
    struct waits *w = arg;
    while (sem_wait(&w->gate) != 0)
        ;
}

static void call_pool(struct waits *w)
{
    (void)loam_pool_call(w->pool, wait_at_gate, w, NULL);
}

static void open_gate(struct waits *w)
{
    sem_post(&w->gate);
}

static void recv_in_call(void *arg)
{
    recv_value(arg);
}

static void call_goroutine(struct waits *w)
{
    (void)loam_call(recv_in_call, w);
}

/* These two wait for ever. */
static void recv_nil(struct waits *w)
{
    (void)w;
    loam_chan(int) nil = NULL;
    (void)loam_recv(nil);
}

static void select_nothing(struct waits *w)
{
    (void)w;
    (void)loam_select_n(NULL, 0, 0);
}

static void never(struct waits *w)
{
    (void)w;
}

static const struct wait table[] = {
    {"loam_recv", "chan receive", NULL, recv_value, send_value},
    {"loam_send", "chan send", NULL, send_value, recv_value},
    {"loam_select", "select", NULL, select_two, send_value},
    {"loam_sleep", "sleep", NULL, sleep_some, NULL},
    {"loam_mutex_lock", "sync.Mutex.Lock", lock_mutex, lock_and_unlock_mutex, unlock_mutex},
    {"loam_rwmutex_lock", "sync.RWMutex.Lock", read_lock, write_lock_and_unlock, read_unlock},
    {"loam_rwmutex_rlock", "sync.RWMutex.RLock", write_lock, read_lock_and_unlock, write_unlock},
    {"loam_cond_wait", "sync.Cond.Wait", NULL, wait_for_cond, signal_cond},
    {"loam_waitgroup_wait", "sync.WaitGroup.Wait", add_one, wait_for_group, done_one},
    {"loam_semaphore_acquire", "semacquire", take_unit, take_unit, give_unit},
    {"loam_pool_call", "thread pool call", NULL, call_pool, open_gate},
    {"loam_call", "loam_call", NULL, call_goroutine, send_value},
    {"loam_select_n, no case", "select (no cases)", NULL, select_nothing, never},
    {"loam_recv, nil channel", "chan receive (nil chan)", NULL, recv_nil, never},
};

/* ---- Running them ------------------------------------------------------------------------------------ */

static void wait_once(void *arg)
{
    struct waits *w = arg;
    const struct wait *way = w->now;
    __atomic_store_n(&w->goid, loam_goid(), __ATOMIC_RELEASE); /* main looks for it */
    way->park(w);
    __atomic_store_n(&w->ended, 1, __ATOMIC_RELEASE); /* main may go to the next */
}

/* Waits until the goroutine has parked; its struct g, or 0. */
static uint64_t wait_until_parked(const struct view *v, struct waits *w)
{
    int64_t deadline = loam_now() + PATIENCE_MS * LOAM_MILLISECOND;
    while (loam_now() < deadline) {
        loam_sleep(50 * LOAM_MICROSECOND);
        uint64_t goid = __atomic_load_n(&w->goid, __ATOMIC_ACQUIRE);
        uint64_t g = goid != 0 ? view_g(v, goid) : 0;
        if (g != 0 && strcmp(view_g_state(v, g), "waiting") == 0)
            return g;
    }
    return 0;
}

static bool run_one(const struct view *v, struct waits *w, const struct wait *way, json_t *rows,
                    uint64_t *parked, const char **why)
{
    w->now = way;
    w->goid = 0;
    w->ended = 0;
    if (way->before != NULL)
        way->before(w);
    if (loam_go(wait_once, w) != 0) {
        *why = loam_error_text();
        return false;
    }
    uint64_t g = wait_until_parked(v, w);
    if (g == 0) {
        *why = keep_format("a goroutine in %s was not seen waiting", way->call);
        return false;
    }
    *parked = g;
    json_array_append_new(rows, make("{s:s, s:s, s:s, s:I, s:s}", "call", way->call, "state",
                                     view_g_state(v, g), "reason", view_waitreason(v, g), "goid",
                                     (json_int_t)w->goid, "expected", way->reason));
    if (way->wake == never)
        return true;
    if (way->wake != NULL)
        way->wake(w);
    int64_t deadline = loam_now() + PATIENCE_MS * LOAM_MILLISECOND;
    while (__atomic_load_n(&w->ended, __ATOMIC_ACQUIRE) == 0) {
        if (loam_now() > deadline) {
            *why = keep_format("a goroutine in %s was not woken", way->call);
            return false;
        }
        loam_sleep(50 * LOAM_MICROSECOND);
    }
    return true;
}

bool waits_run(const struct view *v, json_t *rows, uint64_t *parked, const char **why)
{
    static struct waits w; /* two goroutines wait for ever: it outlives this call */
    struct loam_pool_config config = {.name = "tour", .threads = 1};
    w.chan = loam_chan_make(int, 0);
    if (sem_init(&w.gate, 0, 0) != 0 || loam_semaphore_init(&w.semaphore, 1) != 0 ||
        loam_pool_new(&w.pool, &config) != 0) {
        *why = "cannot make a pool of one thread";
        return false;
    }
    bool fine = true;
    for (size_t i = 0; i < nelem(table) && fine; i++)
        fine = run_one(v, &w, &table[i], rows, parked, why);
    if (fine) {
        loam_pool_free(w.pool);
        loam_chan_free(w.chan);
    }
    return fine;
}

/* ---- Taking the other edges --------------------------------------------------------------------------- */

static void yield_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        loam_yield();
}

static void sleep_in_kernel(void *us)
{
    usleep((useconds_t)(uintptr_t)us);
}

static void block_for(void *us)
{
    loam_blocking(sleep_in_kernel, us);
}

static void keep_busy(void *arg)
{
    int64_t until = loam_now() + (int64_t)(uintptr_t)arg * LOAM_MICROSECOND;
    while (loam_now() < until)
        loam_yield();
}

static void start(struct loam_waitgroup *wg, void (*fn)(void *), uintptr_t arg)
{
    if (loam_waitgroup_go(wg, fn, (void *)arg) != 0)
        loam_panic("%s", loam_error_text());
}

/* Goroutines that yield to each other. */
static void round_of_yields(void)
{
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < 8; i++)
        start(&wg, yield_some, 0);
    loam_waitgroup_wait(&wg);
}

/* Short calls find their processor again; long ones lose it, to come back when all are busy. */
static void round_of_calls(void)
{
    struct loam_waitgroup wg = {0};
    int procs = loam_gomaxprocs(1);
    start(&wg, block_for, 1);
    start(&wg, block_for, 20000);
    start(&wg, keep_busy, 40000);
    loam_waitgroup_wait(&wg);
    loam_gomaxprocs(procs);
    /* alone, its processor is taken all the same after a while */
    start(&wg, block_for, 30000);
    loam_waitgroup_wait(&wg);
}

/* Stops of the world, while calls are under way on other processors, that change their number. */
static void round_of_stops(void)
{
    struct loam_waitgroup wg = {0};
    int procs = loam_gomaxprocs(4);
    for (int i = 0; i < 4; i++)
        start(&wg, block_for, 5000);
    loam_sleep(
        LOAM_MILLISECOND); /* they begin; with nothing else to do nobody takes their Ps yet */
    for (int n = 3; n >= 1; n--)
        loam_gomaxprocs(n);
    loam_gomaxprocs(procs);
    loam_waitgroup_wait(&wg);
}

static bool all_taken(void)
{
    struct loam_edge edges[128];
    size_t n = loam_read_edges(edges, nelem(edges));
    for (size_t i = 0; i < n && i < nelem(edges); i++)
        if (edges[i].count == 0)
            return false;
    return true;
}

void waits_take_edges(void)
{
    int64_t deadline = loam_now() + 4 * PATIENCE_MS * LOAM_MILLISECOND;
    do {
        round_of_yields();
        round_of_calls();
        round_of_stops();
    } while (!all_taken() && loam_now() < deadline);
}
