/* Code that is declared migratable goes on on any thread: 10,000 preemptions and 1,000 moves between threads
 * leave registers of every kind, flags and the red zone as they were, and computations exact; the next
 * goroutine finds clean registers. And where a goroutine is not copied: LOAM_NOPREEMPT, a foreign frame
 * beneath, a wired goroutine, no room on the stack, what a no-preempt function calls. */
#include "schedtest.h"

#include "base/asan.h"
#include "sched/sched_int.h"

#include <cpuid.h>

LOAM_MODULE(LOAM_MODULE_MIGRATABLE)

/* Loops never call libc, so that the figures are those of copies. */
#define TEXT LOAM_MODULE_TEXT noinline

enum { LOOPS = 5, PREEMPTIONS = 10000, MOVES = 1000 };

static int quit;
static pthread_t hammer_thread;
static uint64_t hammered; /* atomic: rounds in which everybody was sent a signal */

static struct loam_sched_stats stats(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s;
}

/* ---- Signals, far more often than a slice ------------------------------------------------------------ */

static uint64_t go_on[LOOPS]; /* for spin_full */

static void *hammer(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink) {
            struct p *pp = load_relaxed(&mp->p);
            if (pp != NULL && load_relaxed(&mp->curg) != NULL)
                preempt_by_signal(mp, pp, load_relaxed(&pp->schedtick));
        }
        if (add_relaxed(&hammered, 1) % 8 == 0)
            for (int i = 0; i < LOOPS; i++)
                store_relaxed(&go_on[i], 1);
        usleep(20);
    }
    return NULL;
}

static void begin(int procs)
{
    store(&quit, 0);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = procs}), 0);
    hammer_thread = thread_start(hammer, NULL);
}

static void finish(void)
{
    store(&quit, 1);
    CHECK_EQ(pthread_join(hammer_thread, NULL), 0);
    while (loam_num_goroutine() != 0) {
        for (int i = 0; i < LOOPS; i++)
            store_relaxed(&go_on[i], 1);
        usleep(100);
    }
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Registers ----------------------------------------------------------------------------------------- */

struct state {
    uint64_t gpr[14], flags;
    uint32_t mxcsr;
    uint16_t control, unused;
    uint64_t red[16];
    struct {
        uint64_t mantissa;
        uint16_t exponent, unused[3];
    } x87[8];
    uint8_t vector[32][64];
    uint64_t masks[8];
};
_Static_assert(offsetof(struct state, flags) == 112 && offsetof(struct state, mxcsr) == 120 &&
                   offsetof(struct state, control) == 124 && offsetof(struct state, red) == 128 &&
                   offsetof(struct state, x87) == 256 && offsetof(struct state, vector) == 384 &&
                   offsetof(struct state, masks) == 2432,
               "copied_amd64.S");

void spin_full(const struct state *in, struct state *out, const uint64_t *go, uint64_t vectors);

static uint64_t vectors; /* 0 SSE, 1 AVX, 2 AVX-512 */
static struct state in[LOOPS], out[LOOPS];
static uint64_t spins[LOOPS]; /* atomic */

static void fill_state(struct state *s, uint64_t *seed)
{
    static const size_t size[] = {16, 32, 64};
    static const uint16_t rounding[] = {0x037f, 0x077f, 0x0b7f, 0x0f7f, 0x027f};
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 14; i++)
        s->gpr[i] = draw(seed, UINT32_MAX) * UINT64_C(0x100000001);
    s->flags = 0x202 | (draw(seed, 0x1000) & 0xcd5); /* with DF */
    s->mxcsr = 0x1f80 | draw(seed, 4) << 13 | draw(seed, 0x40);
    s->control = rounding[draw(seed, 5)];
    for (int i = 0; i < 16; i++)
        s->red[i] = draw(seed, UINT32_MAX) * UINT64_C(0x123456789);
    for (int i = 0; i < 8; i++) {
        s->x87[i].mantissa = UINT64_C(1) << 63 | draw(seed, UINT32_MAX);
        s->x87[i].exponent = (uint16_t)(0x3fff + draw(seed, 64));
    }
    for (int i = 0; i < (vectors == 2 ? 32 : 16); i++)
        for (size_t k = 0; k < size[vectors]; k++)
            s->vector[i][k] = (uint8_t)draw(seed, 256);
    for (int i = 1; vectors == 2 && i < 8; i++)
        s->masks[i] = draw(seed, 0x10000);
}

static TEXT bool same(const struct state *a, const struct state *b)
{
    const uint64_t *x = (const void *)a, *y = (const void *)b;
    bool equal = true;
    for (size_t i = 0; i < sizeof *a / sizeof *x; i++)
        equal &= x[i] == y[i];
    return equal;
}

static TEXT void keep_registers(void *arg)
{
    size_t i = (size_t)((struct state *)arg - in);
    while (!load(&quit)) {
        store_relaxed(&go_on[i], 0);
        spin_full(&in[i], &out[i], &go_on[i], vectors);
        if (!same(&in[i], &out[i])) {
            const uint64_t *x = (const void *)&in[i], *y = (const void *)&out[i];
            for (size_t k = 0; k < sizeof in[i] / 8; k++)
                if (x[k] != y[k])
                    fprintf(stderr, "at %zu: %" PRIx64 ", was %" PRIx64 "\n", 8 * k, y[k], x[k]);
            FAIL("registers have changed, vectors %" PRIu64, vectors);
        }
        add_relaxed(&spins[i], 1);
    }
}

/* Who was not cut, but parked, finds the registers of a start. */
static void find_clean(void *arg)
{
    while (!load(&quit)) {
        loam_yield();
        struct {
            uint32_t control, status, tags, rest[4];
        } x87;
        uint32_t mxcsr;
        uint64_t flags;
        __asm__ volatile("fnstenv %0\n\tfldenv %0\n\tstmxcsr %1" : "=m"(x87), "=m"(mxcsr));
        __asm__ volatile("pushfq\n\tpopq %0" : "=r"(flags));
        CHECK_EQ(x87.control & 0xffff, 0x037f);
        CHECK_EQ(x87.tags & 0xffff, 0xffff); /* all empty */
        CHECK_EQ(mxcsr & ~0x3f, 0x1f80);
        CHECK_EQ(flags & 0x400, 0);
        add_relaxed((uint64_t *)arg, 1);
    }
}

/* All that is asked for has happened since `before`. */
static bool enough(const struct loam_sched_stats *before, uint64_t n, uint64_t moves)
{
    struct loam_sched_stats now = stats();
    if (LOAM_ASAN) /* held there */
        return now.preemptions - before->preemptions >= n;
    return now.preemptions_copied - before->preemptions_copied >= n &&
           now.preemptions_moved - before->preemptions_moved >= moves;
}

static void registers(uint64_t preemptions)
{
    uint64_t seed = 1, cleans = 0;
    begin(2);
    for (int i = 0; i < LOOPS; i++) {
        fill_state(&in[i], &seed);
        go(keep_registers, &in[i]);
    }
    go(find_clean, &cleans);
    struct loam_sched_stats before = stats();
    AWAIT_THREAD(enough(&before, preemptions, MOVES / 4));
    for (int i = 0; i < LOOPS; i++)
        AWAIT_THREAD(load_relaxed(&spins[i]) > 10);
    AWAIT_THREAD(load_relaxed(&cleans) > 10);
    finish();
}

/* ---- Computations ---------------------------------------------------------------------------------------- */

enum { STEPS = 3000 };

static TEXT long double in_x87(long double x)
{
    for (int i = 0; i < STEPS; i++)
        x = 3.99L * x * (1 - x);
    return x;
}

static TEXT double in_sse(double x)
{
    double y = 1 - x;
    for (int i = 0; i < STEPS; i++) {
        x = 3.99 * x * (1 - x);
        y = 3.97 * y * (1 - y) + x * 1e-9;
    }
    return x + y;
}

typedef double four __attribute__((vector_size(32)));

__attribute__((target("avx"))) static TEXT void in_avx(double *sum, double x)
{
    four v = {x, x + 0.1, x + 0.2, x + 0.3}, one = {1, 1, 1, 1};
    for (int i = 0; i < STEPS; i++)
        v = 3.5 * v * (one - v);
    *sum = v[0] + v[1] + v[2] + v[3];
}

struct computed {
    long double a;
    double b, c;
};

static TEXT void compute(struct computed *r, double x)
{
    r->a = in_x87(x);
    r->b = in_sse(x);
    r->c = 0;
    if (vectors > 0)
        in_avx(&r->c, x);
}

static struct {
    double x;
    struct computed expected, got;
    uint64_t rounds; /* atomic */
} work[LOOPS];

static TEXT void compute_again(void *arg)
{
    int i = (int)(intptr_t)arg;
    while (!load(&quit)) {
        compute(&work[i].got, work[i].x);
        if (work[i].got.a != work[i].expected.a || work[i].got.b != work[i].expected.b ||
            work[i].got.c != work[i].expected.c)
            FAIL("%.20Lg %.17g %.17g, not %.20Lg %.17g %.17g", work[i].got.a, work[i].got.b,
                 work[i].got.c, work[i].expected.a, work[i].expected.b, work[i].expected.c);
        add_relaxed(&work[i].rounds, 1);
    }
}

static void computations(void)
{
    for (int i = 0; i < LOOPS; i++) {
        work[i].x = 0.1 + 0.11 * i;
        compute(&work[i].expected, work[i].x);
    }
    begin(2);
    for (int i = 0; i < LOOPS; i++)
        go(compute_again, (void *)(intptr_t)i);
    struct loam_sched_stats before = stats();
    AWAIT_THREAD(enough(&before, PREEMPTIONS / 2, MOVES / 2));
    for (int i = 0; i < LOOPS; i++)
        AWAIT_THREAD(load_relaxed(&work[i].rounds) > 10);
    finish();
}

/* ---- Not cut ------------------------------------------------------------------------------------------------ */

/* Wants the processor all the time. */
static void want(void *arg)
{
    (void)arg;
    while (!load(&quit))
        loam_yield();
}

static inline uint64_t cuts_of(const struct m *mp)
{
    return load_relaxed(&mp->holds) + load_relaxed(&mp->copies);
}

static LOAM_NOPREEMPT void not_cut(void *arg)
{
    struct m *mp = getm();
    uint64_t cuts = cuts_of(mp), until = load_relaxed(&hammered) + 100;
    while (load_relaxed(&hammered) < until)
        ;
    if (getm() != mp || cuts_of(mp) != cuts)
        FAIL("a function that is LOAM_NOPREEMPT was cut");
    store((int *)arg, 1);
}

static void no_preempt(void)
{
    int done = 0;
    begin(1);
    go(want, NULL);
    go(not_cut, &done);
    AWAIT_THREAD(load(&done));
    finish();
}

/* ---- Held instead --------------------------------------------------------------------------------------------- */

/* What was copied where nothing may be: on the way there and back it may. */
static uint64_t copied_wrongly;

/* Spins until this thread was cut several times with the goroutine; it stays here. */
static TEXT void spin_held(void)
{
    struct loam_sched_stats before = stats();
    struct m *mp = getm();
    uint64_t holds = load_relaxed(&mp->holds);
    while (load_relaxed(&mp->holds) < holds + 3)
        if (getm() != mp)
            FAIL("moved to another thread");
    copied_wrongly += stats().preemptions_copied - before.preemptions_copied;
}

static TEXT int compare_slowly(const void *a, const void *b)
{
    spin_held();
    return *(const int *)a - *(const int *)b;
}

static void sort_slowly(void *arg)
{
    int v[4] = {3, 1, 2, 0};
    qsort(v, 4, sizeof v[0], compare_slowly);
    CHECK(v[0] == 0 && v[1] == 1 && v[2] == 2 && v[3] == 3);
    store((int *)arg, 1);
}

/* Cut in its first and last instructions too. */
static TEXT int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void sort_often(void *arg)
{
    enum { N = 1000 };
    int v[N];
    struct loam_sched_stats before = stats();
    for (uint64_t until = load_relaxed(&hammered) + 1000; load_relaxed(&hammered) < until;) {
        for (int i = 0; i < N; i++)
            v[i] = (i * 7919) % N;
        qsort(v, N, sizeof v[0], compare);
    }
    copied_wrongly += stats().preemptions_copied - before.preemptions_copied;
    store((int *)arg, 1);
}

static TEXT void spin_wired(void *arg)
{
    loam_lock_os_thread();
    spin_held();
    loam_unlock_os_thread();
    store((int *)arg, 1);
}

/* Until there is less room than the context and the library take. */
static TEXT void spin_deep(volatile char *above)
{
    volatile char frame[4096]; /* few frames: it is not for their number that it is held */
    frame[0] = *above;
    if ((uintptr_t)frame - getg()->stack.lo > STACK_SLACK)
        spin_deep(frame);
    else
        spin_held();
    frame[1] = frame[0];
}

static TEXT void spin_without_room(void *arg)
{
    char top = 0;
    spin_deep(&top);
    store((int *)arg, 1);
}

static TEXT void called_by_no_preempt(void)
{
    spin_held();
}

static LOAM_NOPREEMPT void spin_below_no_preempt(void *arg)
{
    called_by_no_preempt();
    store((int *)arg, 1);
}

static void held_instead(void (*fn)(void *))
{
    int done = 0;
    begin(2);
    for (int i = 0; i < 3; i++)
        go(want, NULL);
    struct loam_sched_stats before = stats();
    go(fn, &done);
    AWAIT_THREAD(load(&done));
    CHECK_EQ(copied_wrongly, 0);
    CHECK(stats().preemptions > before.preemptions);
    finish();
}

/* ---- By sysmon ---------------------------------------------------------------------------------------------- */

static TEXT void spin(void *arg)
{
    (void)arg;
    while (!load(&quit))
        ;
}

static void by_itself(void)
{
    store(&quit, 0);
    struct loam_config few = {.maxprocs = 1, .max_threads = 8};
    CHECK_EQ(loam_start(&few), 0);
    for (int i = 0; i < 100; i++) /* far more than threads */
        go(spin, NULL);
    struct loam_sched_stats before = stats();
    AWAIT_THREAD(enough(&before, 20, 0));
    store(&quit, 1);
    CHECK_EQ(loam_stop(-1), 0);
}

static uint64_t find_vectors(void)
{
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx"))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && __builtin_cpu_supports("avx512f") ? 2 : 1;
}

int main(void)
{
    uint64_t have = find_vectors();
    registers(PREEMPTIONS / 4);
    vectors = have;
    registers(PREEMPTIONS / 4);
    computations();
    no_preempt();
    held_instead(sort_slowly);
    held_instead(sort_often);
    held_instead(spin_wired);
    held_instead(spin_without_room);
    held_instead(spin_below_no_preempt);
    by_itself();
    return 0;
}
