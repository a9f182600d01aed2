/* Storms of new goroutines: trees in which each starts others, batches from several processors and
 * from foreign threads; with arguments by value, with stacks of other sizes, ended by return and by
 * loam_goexit, wired ones among them.
 *
 * Checked: each ran exactly once and with its own arguments; no two have the same stack at the same
 * time; at the end none is left, as many have ended as were made, and stacks were used again instead
 * of mapped anew. */
#include "stress.h"

enum {
    FAN = 4,
    TREE = 1 + FAN + FAN * FAN + FAN * FAN * FAN + FAN * FAN * FAN * FAN,
    SPAWNERS = 6,
    THREADS = 3,
    BATCH_MOST = 4000,
    BIG_STACK = 1 << 20
};

static int64_t made; /* atomic: goroutines that this program has started */

struct storm {
    uint8_t *ran; /* atomic: how often, by number */
    int64_t n;
    struct loam_waitgroup wg;
    uint64_t random; /* where every goroutine's choices come from, with its number */
};

struct node {
    struct storm *s;
    int64_t id;
    void (*then)(const struct node *node);
};

/* A copy of it travels by value, with something to tell whether all of it has arrived. */
struct copied {
    struct node node;
    uint32_t size; /* of what follows, that much of which travels */
    uint8_t more[2000];
};

static uint64_t choices_of(const struct node *node)
{
    return node->s->random + (uint64_t)node->id * 0x9e3779b97f4a7c15u;
}

/* Fills a part of the stack, lets others run, looks whether it is as it was. */
static __attribute__((noinline)) void use_stack(size_t size, int64_t id)
{
    volatile uint64_t mark[1 + size / 8];
    for (size_t i = 0; i <= size / 8; i += 64)
        mark[i] = (uint64_t)id ^ i;
    loam_yield();
    for (size_t i = 0; i <= size / 8; i += 64)
        CHECK_EQ(mark[i], (uint64_t)id ^ i);
}

static void run_node(struct node *node)
{
    uint64_t r = choices_of(node);
    (void)draw(&r);
    uint8_t before = __atomic_fetch_add(&node->s->ran[node->id], 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(before, 0);
    bool wire = draw(&r) % 64 == 0, jump = draw(&r) % 4 == 0;
    linger(&r);
    if (wire)
        loam_lock_os_thread();
    if (draw(&r) % 8 == 0)
        use_stack(draw(&r) % 4096, node->id);
    if (node->then != NULL)
        node->then(node);
    if (wire && draw(&r) % 2 == 0)
        loam_unlock_os_thread();
    loam_waitgroup_done(&node->s->wg);
    if (jump)
        loam_goexit();
}

static void run_plain(void *arg)
{
    struct node node = *(struct node *)arg;
    free(arg);
    run_node(&node);
}

static void run_copied(void *arg)
{
    struct copied *c = arg;
    CHECK_EQ((uintptr_t)c % 16, 0);
    loam_yield();
    for (uint32_t i = 0; i < c->size; i++)
        CHECK_EQ(c->more[i], (uint8_t)(c->node.id + i));
    run_node(&c->node);
}

/* Most of a big stack: with one of the usual size this ends the program. */
static void run_big(void *arg)
{
    struct node node = *(struct node *)arg;
    free(arg);
    use_stack(BIG_STACK / 2, node.id);
    run_node(&node);
}

static struct node *own(const struct node *node)
{
    struct node *copy = malloc(sizeof *copy);
    CHECK(copy != NULL);
    *copy = *node;
    return copy;
}

/* Starts it in one of the ways that there are. */
static void start(struct node *node)
{
    uint64_t r = choices_of(node);
    uint32_t kind = draw(&r) % 16;
    int err;
    if (kind < 8) {
        err = loam_go(run_plain, own(node));
    } else if (kind < 12) {
        struct copied c;
        c.node = *node;
        c.size = draw(&r) % (uint32_t)sizeof c.more;
        for (uint32_t i = 0; i < c.size; i++)
            c.more[i] = (uint8_t)(node->id + i);
        err = loam_go_copy(run_copied, &c, offsetof(struct copied, more) + c.size);
    } else if (kind < 14) {
        struct loam_go_options o = {.name = "named"};
        err = loam_go_with(&o, run_plain, own(node));
    } else if (kind < 15) {
        struct loam_go_options o = {.stack_size = 16u << (10 + draw(&r) % 6)};
        err = loam_go_with(&o, run_plain, own(node));
    } else {
        struct loam_go_options o = {.stack_size = BIG_STACK};
        err = loam_go_with(&o, run_big, own(node));
    }
    if (err != 0)
        FAIL("goroutine %d: %d, %s", (int)node->id, err, loam_error_text());
    add(&made, 1);
}

static void storm_begin(struct storm *s, int64_t n)
{
    static uint64_t storms;
    *s = (struct storm){.n = n, .random = ++storms * 1000003};
    s->ran = calloc((size_t)n, 1);
    CHECK(s->ran != NULL);
    loam_waitgroup_add(&s->wg, (int)n);
}

static void storm_end(struct storm *s)
{
    loam_waitgroup_wait(&s->wg);
    AWAIT(loam_num_goroutine() == 1); /* those that start others count them after the start */
    all_have_ended(1, load(&made));
    for (int64_t i = 0; i < s->n; i++)
        CHECK_EQ(s->ran[i], 1);
    free(s->ran);
}

/* ---- A tree ------------------------------------------------------------------------------------ */

static void start_children(const struct node *node)
{
    for (int64_t i = 1; i <= FAN; i++) {
        int64_t id = node->id * FAN + i;
        if (id < node->s->n)
            start(&(struct node){node->s, id, start_children});
    }
}

static void tree(void)
{
    struct storm s;
    storm_begin(&s, TREE);
    start(&(struct node){&s, 0, start_children});
    storm_end(&s);
}

/* ---- Batches from several goroutines ------------------------------------------------------------ */

struct spawner {
    struct storm *s;
    int64_t from, n;
    pthread_t thread;
};

/* More than a processor's own queue holds: a part of them goes through the global one. */
static void spawn_batch(void *arg)
{
    struct spawner sp = *(struct spawner *)arg; /* it may go when the last one has run */
    for (int64_t i = 0; i < sp.n; i++)
        start(&(struct node){sp.s, sp.from + i, NULL});
}

static void batches(void)
{
    struct storm s;
    struct spawner spawners[SPAWNERS];
    int64_t n = 1 + at_most(BATCH_MOST * SPAWNERS) / SPAWNERS;
    storm_begin(&s, n * SPAWNERS);
    for (int i = 0; i < SPAWNERS; i++) {
        spawners[i] = (struct spawner){.s = &s, .from = n * i, .n = n};
        go(spawn_batch, &spawners[i]);
        add(&made, 1);
    }
    storm_end(&s);
}

/* ---- Batches from threads of the program --------------------------------------------------------- */

static void *foreign(void *arg)
{
    spawn_batch(arg);
    return NULL;
}

static void from_threads(void)
{
    if (seeded())
        return; /* no seed decides what they do */
    struct storm s;
    struct spawner spawners[THREADS + 1];
    int64_t n = 1 + at_most(BATCH_MOST) / (THREADS + 1);
    storm_begin(&s, n * (THREADS + 1));
    for (int i = 0; i <= THREADS; i++) {
        spawners[i] = (struct spawner){.s = &s, .from = n * i, .n = n};
        if (i < THREADS)
            CHECK_EQ(pthread_create(&spawners[i].thread, NULL, foreign, &spawners[i]), 0);
    }
    spawn_batch(&spawners[THREADS]);
    for (int i = 0; i < THREADS; i++) {
        loam_blocking_enter();
        pthread_join(spawners[i].thread, NULL);
        loam_blocking_leave();
    }
    storm_end(&s);
}

/* ---- Stacks are used again ------------------------------------------------------------------------ */

static uint64_t stacks_mapped(void)
{
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
    return stats.stacks_mapped;
}

/* No more than SMALL are there at once. With one processor losing one stack in ten would show; with
 * several each may keep a thousand that it got from the others' goroutines. To be run first: others
 * leave stacks behind. Stacks are mapped in slabs. */
static void again_and_again(void)
{
    enum { SMALL = 20, ROUNDS = 400, SLABS = 80 << 20, KEPT = 1024 * (256 << 10) };
    int64_t rounds = seeded() ? 5 : TEST_ASAN || TEST_TSAN ? ROUNDS / 4 : ROUNDS;
    uint64_t procs = (uint64_t)loam_gomaxprocs(0), before = stacks_mapped();
    for (int64_t i = 0; i < rounds; i++) {
        struct storm s;
        storm_begin(&s, SMALL);
        spawn_batch(&(struct spawner){.s = &s, .n = SMALL});
        storm_end(&s);
    }
    uint64_t more = stacks_mapped() - before;
    if (more > SLABS + SMALL * (uint64_t)(2 * BIG_STACK) + (procs > 1 ? procs * KEPT : 0))
        FAIL("%d MB of stacks for %d goroutines at once", (int)(more >> 20), SMALL);
}

static void body(void)
{
    for (int64_t i = 0; i < times(20); i++)
        tree();
    batches();
    from_threads();
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    made = 1; /* main */
    for_each_procs(again_and_again);
    return for_each_procs(body);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
