/* Thread pools: what a call does, what the threads are, errors and limits. */
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct loam_pool *pool_of(int threads, int queue)
{
    struct loam_pool_config config = {.name = "test", .threads = threads, .queue = queue};
    struct loam_pool *p = NULL;
    CHECK(loam_pool_new(&p, &config) == 0 && p != NULL);
    return p;
}

static bool seeded(void)
{
    const char *v = getenv("LOAMDEBUG");
    return v != NULL && strstr(v, "dst=") != NULL;
}

/* ---- Threads ---------------------------------------------------------------------------------- */

static __thread int mine; /* a thread's own: set by thread_start */
static int starts, ends;
static pthread_t main_thread;

static void on_start(void *arg)
{
    CHECK(arg == &starts);
    mine = __atomic_add_fetch(&starts, 1, __ATOMIC_SEQ_CST);
}

static void on_end(void *arg)
{
    CHECK(arg == &starts && mine != 0);
    __atomic_add_fetch(&ends, 1, __ATOMIC_SEQ_CST);
}

struct seen {
    char name[32];
    cpu_set_t cpus;
    size_t stack;
    sigset_t mask;
    int mine;
    uint64_t goid;
};

static void look(void *arg)
{
    struct seen *s = arg;
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    sched_getaffinity(0, sizeof s->cpus, &s->cpus);
    pthread_attr_t attr;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &s->stack);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_BLOCK, NULL, &s->mask);
    s->mine = mine;
    s->goid = loam_goid();
    CHECK(!pthread_equal(pthread_self(), main_thread));
}

static void test_threads(void)
{
    cpu_set_t allowed;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &allowed))
        cpu++;
    struct loam_pool_config config = {.name = "a-very-long-name",
                                      .threads = 3,
                                      .stack_size = 3 << 20,
                                      .cpus = &cpu,
                                      .ncpus = 1,
                                      .thread_start = on_start,
                                      .thread_end = on_end,
                                      .arg = &starts};
    struct loam_pool *p;
    CHECK(loam_pool_new(&p, &config) == 0);
    for (int i = 0; i < 20; i++) {
        struct seen s;
        CHECK(loam_pool_call(p, look, &s, NULL) == 0);
        CHECK(strlen(s.name) == 15 && !strncmp(s.name, "a-very-long-n", 13));
        CHECK(s.name[13] == '-' && s.name[14] >= '0' && s.name[14] <= '2');
        CHECK(CPU_COUNT(&s.cpus) == 1 && CPU_ISSET(cpu, &s.cpus));
        CHECK(s.stack >= 3 << 20); /* libc may reuse a larger one */
        CHECK(s.mine >= 1 && s.mine <= 3 && s.goid == 0);
        const int blocked[] = {SIGINT, SIGTERM, SIGQUIT, SIGUSR1,
                               SIGURG, SIGCHLD, SIGPIPE, SIGPROF};
        for (size_t k = 0; k < sizeof blocked / sizeof blocked[0]; k++)
            CHECK(sigismember(&s.mask, blocked[k]) == 1);
        CHECK(sigismember(&s.mask, SIGSEGV) == 0); /* of a fault in fn itself */
    }
    loam_pool_free(p);
    CHECK(starts == 3 && ends == 3);
    starts = ends = 0;
    loam_pool_free(NULL);
}

static void test_defaults(void)
{
    cpu_set_t allowed;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    struct loam_pool *p;
    CHECK(loam_pool_new(&p, NULL) == 0);
    struct seen s;
    CHECK(loam_pool_call(p, look, &s, NULL) == 0);
    CHECK(!strcmp(s.name, "pool-0") && CPU_EQUAL(&s.cpus, &allowed) && s.mine == 0);
    struct loam_pool_stats stats;
    loam_pool_read_stats(p, &stats);
    CHECK(stats.threads == 1 && stats.done == 1 && stats.running == 0 && stats.waiting == 0);
    loam_pool_free(p);
}

static void test_config(void)
{
    struct loam_pool *p = NULL;
    int cpu = 0, wrong = -1, absurd = 1 << 20, absent = 8191;
    const struct loam_pool_config bad[] = {
        {.threads = -1},
        {.threads = 4097},
        {.queue = -1},
        {.cpus = &cpu},
        {.ncpus = 1},
        {.cpus = &cpu, .ncpus = -1},
        {.cpus = &wrong, .ncpus = 1},
        {.cpus = &absurd, .ncpus = 1},
        {.cpus = &absent, .ncpus = 1, .threads = 5, .thread_start = on_start, .arg = &starts},
        {.stack_size = 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(loam_pool_new(&p, &bad[i]) == -EINVAL && p == NULL);
    CHECK(starts == 0); /* threads that could not be used began nothing */
}

/* ---- Calls ------------------------------------------------------------------------------------ */

static void set_errno(void *arg)
{
    CHECK(errno == 11); /* the caller's */
    errno = (int)(intptr_t)arg;
}

static void leave_errno(void *arg)
{
    (void)arg;
}

static void test_errno(struct loam_pool *p)
{
    errno = 11;
    CHECK(loam_pool_call(p, set_errno, (void *)77, NULL) == 0 && errno == 77);
    errno = 12;
    CHECK(loam_pool_call(p, leave_errno, NULL, NULL) == 0 && errno == 12);
    CHECK(loam_pool_call(p, NULL, NULL, NULL) == -EINVAL && errno == 12);
}

/* A call that runs until it is told, by a thread that knows no goroutines. */
struct gate {
    pthread_mutex_t m;
    pthread_cond_t c;
    int in, open, passed;
};

static void pass(void *arg)
{
    struct gate *g = arg;
    pthread_mutex_lock(&g->m);
    g->in++;
    pthread_cond_broadcast(&g->c);
    while (!g->open)
        pthread_cond_wait(&g->c, &g->m);
    g->passed++;
    pthread_mutex_unlock(&g->m);
}

static void open_gate(struct gate *g)
{
    pthread_mutex_lock(&g->m);
    g->open = 1;
    pthread_cond_broadcast(&g->c);
    pthread_mutex_unlock(&g->m);
}

static int entered(struct gate *g)
{
    pthread_mutex_lock(&g->m);
    int n = g->in;
    pthread_mutex_unlock(&g->m);
    return n;
}

struct call {
    struct loam_pool *p;
    struct gate *gate;
    struct loam_context *ctx;
    int result; /* 1: not back */
};

static void call_pass(void *arg)
{
    struct call *c = arg;
    int r = loam_pool_call(c->p, pass, c->gate, c->ctx);
    __atomic_store_n(&c->result, r, __ATOMIC_SEQ_CST);
}

static int result_of(const struct call *c)
{
    return __atomic_load_n(&c->result, __ATOMIC_SEQ_CST);
}

static struct loam_pool_stats stats_of(struct loam_pool *p)
{
    struct loam_pool_stats s;
    loam_pool_read_stats(p, &s);
    return s;
}

static void until_waiting(struct loam_pool *p, int running, int waiting)
{
    for (;;) {
        struct loam_pool_stats s = stats_of(p);
        if (s.running == running && s.waiting == waiting)
            return;
        loam_sleep(50000);
    }
}

#define GATE                                                                                       \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0                               \
    }

/* A full pool: try_call gives up, call waits, contexts take waiting calls back but not running ones. */
static void test_queue(void)
{
    struct gate g = GATE;
    struct loam_pool *p = pool_of(2, 3);
    struct loam_context *ctx = loam_context_with_cancel(NULL);
    struct call c[8];
    for (int i = 0; i < 8; i++) {
        c[i] = (struct call){p, &g, i % 2 ? ctx : NULL, 1};
        loam_go(call_pass, &c[i]);
        until_waiting(p, i < 2 ? i + 1 : 2, i < 2 ? 0 : i - 1);
        int r = i < 4 ? 0 : -EAGAIN; /* 2 run, 3 wait */
        if (r != 0)
            CHECK(loam_pool_try_call(p, leave_errno, NULL, NULL) == r);
    }
    loam_context_cancel(ctx, -EIO);
    for (int i = 3; i < 8; i += 2)
        while (result_of(&c[i]) == 1)
            loam_yield();
    CHECK(result_of(&c[1]) == 1); /* it runs: the context comes too late */
    for (int i = 3; i < 8; i += 2)
        CHECK(result_of(&c[i]) == -ECANCELED);
    CHECK(stats_of(p).taken_back == 3 && stats_of(p).waiting == 3);
    CHECK(loam_pool_call(p, pass, &g, ctx) == -ECANCELED); /* done already */
    struct loam_context *soon = loam_context_with_timeout(NULL, 5 * LOAM_MILLISECOND);
    CHECK(loam_pool_call(p, pass, &g, soon) == -ETIMEDOUT);
    loam_context_free(soon);
    CHECK(entered(&g) == 2);
    open_gate(&g);
    for (int i = 0; i < 8; i++) {
        while (result_of(&c[i]) == 1)
            loam_yield();
        CHECK(result_of(&c[i]) == (i > 2 && i % 2 ? -ECANCELED : 0));
    }
    CHECK(g.passed == 5 && stats_of(p).done == 5 && stats_of(p).taken_back == 4);
    CHECK(loam_pool_try_call(p, leave_errno, NULL, NULL) == 0);
    loam_context_free(ctx);
    loam_pool_free(p);
}

static void free_pool(void *arg)
{
    loam_pool_free(arg);
}

/* Freed while calls run and wait. */
static void test_free(void)
{
    struct gate g = GATE;
    struct loam_pool *p = pool_of(2, 0);
    struct loam_context *ctx = loam_context_with_cancel(NULL);
    struct call c[6];
    for (int i = 0; i < 6; i++) {
        c[i] = (struct call){p, &g, i % 2 ? ctx : NULL, 1};
        loam_go(call_pass, &c[i]);
        until_waiting(p, i < 2 ? i + 1 : 2, i < 2 ? 0 : i - 1);
    }
    struct loam_waitgroup wg = {0};
    CHECK(loam_waitgroup_go(&wg, free_pool, p) == 0);
    for (int i = 2; i < 6; i++)
        while (result_of(&c[i]) == 1)
            loam_yield();
    for (int i = 2; i < 6; i++)
        CHECK(result_of(&c[i]) == -ESHUTDOWN);
    CHECK(result_of(&c[0]) == 1 && result_of(&c[1]) == 1);
    CHECK(loam_pool_call(p, leave_errno, NULL, NULL) == -ESHUTDOWN);
    open_gate(&g);
    loam_waitgroup_wait(&wg);
    while (result_of(&c[0]) == 1 || result_of(&c[1]) == 1)
        loam_yield();
    CHECK(result_of(&c[0]) == 0 && result_of(&c[1]) == 0);
    CHECK(g.passed == 2);
    loam_context_free(ctx);
}

/* ---- Foreign threads -------------------------------------------------------------------------- */

static void *thread_call(void *arg)
{
    call_pass(arg);
    return NULL;
}

static void test_foreign(void)
{
    struct gate g = GATE;
    struct loam_pool *p = pool_of(1, 1);
    test_errno(p);
    struct loam_context *ctx = loam_context_with_cancel(NULL);
    struct call c[3];
    pthread_t t[3];
    for (int i = 0; i < 3; i++) {
        c[i] = (struct call){p, &g, i > 0 ? ctx : NULL, 1};
        CHECK(pthread_create(&t[i], NULL, thread_call, &c[i]) == 0);
        until_waiting(p, 1, i);
    }
    CHECK(loam_pool_try_call(p, leave_errno, NULL, NULL) == -EAGAIN);
    loam_context_cancel(ctx, 0);
    pthread_join(t[1], NULL);
    pthread_join(t[2], NULL);
    CHECK(c[1].result == -ECANCELED && c[2].result == -ECANCELED);
    open_gate(&g);
    pthread_join(t[0], NULL);
    CHECK(c[0].result == 0 && g.passed == 1);
    loam_context_free(ctx);
    loam_pool_free(p);
}

/* In a forked child the threads are not. */
static void test_fork(void)
{
    struct loam_pool *p = pool_of(1, 1);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int r = loam_pool_call(p, leave_errno, NULL, NULL);
        loam_pool_free(p);
        _exit(r == -ECHILD ? 33 : 34);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 33);
    loam_pool_free(p);
}

static void test_long_queue(void)
{
    struct loam_pool *p = pool_of(2, INT_MAX);
    CHECK(loam_pool_try_call(p, leave_errno, NULL, NULL) == 0);
    loam_pool_free(p);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    test_defaults();
    test_threads();
    struct loam_pool *p = pool_of(2, 0);
    test_errno(p);
    loam_pool_free(p);
    if (!seeded()) { /* there a call that waits for other goroutines would wait for ever */
        test_queue();
        test_free();
    }
    return 0;
}

int main(int argc, char **argv)
{
    main_thread = pthread_self();
    test_config();
    test_defaults();
    test_threads();
    test_foreign();
    test_fork();
    test_long_queue();
    return loam_run(run, argc, argv);
}
