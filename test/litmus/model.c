/* The model checker; see model.h. Depth first, over worlds that were not seen before. */
#include "model.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum model model;
static int threads;

static _Noreturn void too_small(const char *what)
{
    fprintf(stderr, "model: %s is too small for this program\n", what);
    exit(1);
}

/* ---- Strong models ----------------------------------------------------------------------------- */

static bool buffer_empty(struct run *r)
{
    if (r->w->strong.buffered[r->thread] == 0)
        return true;
    r->blocked = true; /* until it has been flushed */
    return false;
}

static int strong_load(struct run *r, int loc)
{
    struct world *w = r->w;
    int t = r->thread;
    for (int i = w->strong.buffered[t] - 1; i >= 0; i--)
        if (w->strong.buffer[t][i].loc == loc)
            return w->strong.buffer[t][i].value;
    return w->strong.value[loc];
}

static void strong_store(struct run *r, int loc, int value, enum order o)
{
    struct world *w = r->w;
    int t = r->thread;
    if (model == MODEL_SC || o == SEQ) {
        if (buffer_empty(r))
            w->strong.value[loc] = (int8_t)value;
        return;
    }
    int n = w->strong.buffered[t];
    if (n == MAX_BUFFER)
        too_small("MAX_BUFFER");
    w->strong.buffer[t][n].loc = (uint8_t)loc;
    w->strong.buffer[t][n].value = (int8_t)value;
    w->strong.buffered[t]++;
}

static void flush(struct world *w, int t)
{
    w->strong.value[w->strong.buffer[t][0].loc] = w->strong.buffer[t][0].value;
    int n = --w->strong.buffered[t];
    memmove(&w->strong.buffer[t][0], &w->strong.buffer[t][1],
            (size_t)n * sizeof w->strong.buffer[t][0]);
    memset(&w->strong.buffer[t][n], 0, sizeof w->strong.buffer[t][n]);
}

/* ---- The weak model ---------------------------------------------------------------------------- */

static void join(uint8_t *view, const uint8_t *other)
{
    for (int i = 0; i < MAX_LOCS; i++)
        if (other[i] > view[i])
            view[i] = other[i];
}

static bool acquires(enum order o)
{
    return o == ACQ || o == ACQ_REL || o == SEQ;
}

static bool releases(enum order o)
{
    return o == REL || o == ACQ_REL || o == SEQ;
}

static void weak_read(struct run *r, int loc, int index, enum order o)
{
    uint8_t *view = r->w->weak.view[r->thread];
    if (index > view[loc])
        view[loc] = (uint8_t)index;
    if (acquires(o))
        join(view, r->w->weak.history[loc][index].view);
}

/* The oldest store that a load may return. */
static int weak_oldest(struct run *r, int loc, enum order o)
{
    int oldest = r->w->weak.view[r->thread][loc];
    if (o == SEQ && r->w->weak.seen_by_seq[loc] > oldest)
        oldest = r->w->weak.seen_by_seq[loc];
    return oldest;
}

/* from: the store that a read-modify-write continues, or NULL. */
static void weak_store(struct run *r, int loc, int value, enum order o, const struct store *from)
{
    struct world *w = r->w;
    int index = w->stores[loc];
    if (index == MAX_STORES)
        too_small("MAX_STORES");
    w->stores[loc]++;
    uint8_t *view = w->weak.view[r->thread];
    struct store *s = &w->weak.history[loc][index];
    memset(s, 0, sizeof *s);
    s->value = (int8_t)value;
    view[loc] = (uint8_t)index;
    if (releases(o))
        memcpy(s->view, view, sizeof s->view);
    if (from != NULL)
        join(s->view, from->view);
    s->view[loc] = (uint8_t)index;
    if (o == SEQ)
        w->weak.seen_by_seq[loc] = (uint8_t)index;
}

/* Forgets stores that nobody can read any more, so that equal worlds look equal. */
static void weak_forget(struct world *w)
{
    for (int loc = 0; loc < MAX_LOCS; loc++) {
        int oldest = w->stores[loc] - 1;
        if (oldest == 0)
            continue;
        for (int t = 0; t < threads; t++)
            if (w->pc[t] != DONE && w->weak.view[t][loc] < oldest)
                oldest = w->weak.view[t][loc];
        if (oldest == 0)
            continue;
        int n = w->stores[loc] - oldest;
        struct store *h = w->weak.history[loc];
        memmove(h, h + oldest, (size_t)n * sizeof *h);
        memset(h + n, 0, (size_t)(MAX_STORES - n) * sizeof *h);
        w->stores[loc] = (uint8_t)n;
#define LESS(x) ((x) = (uint8_t)((x) > oldest ? (x)-oldest : 0))
        for (int t = 0; t < threads; t++)
            LESS(w->weak.view[t][loc]);
        LESS(w->weak.seen_by_seq[loc]);
        for (int l = 0; l < MAX_LOCS; l++)
            for (int i = 0; i < w->stores[l]; i++)
                LESS(w->weak.history[l][i].view[loc]);
    }
    for (int t = 0; t < threads; t++)
        if (w->pc[t] == DONE)
            memset(w->weak.view[t], 0, sizeof w->weak.view[t]);
}

/* ---- Operations -------------------------------------------------------------------------------- */

int ld(struct run *r, int loc, enum order o)
{
    if (model != MODEL_WEAK)
        return strong_load(r, loc);
    int oldest = weak_oldest(r, loc, o);
    r->choices = r->w->stores[loc] - oldest;
    weak_read(r, loc, oldest + r->choice, o);
    return r->w->weak.history[loc][oldest + r->choice].value;
}

void st(struct run *r, int loc, int value, enum order o)
{
    if (model != MODEL_WEAK)
        strong_store(r, loc, value, o);
    else
        weak_store(r, loc, value, o, NULL);
}

/* The newest value, for a read-modify-write; *newest is where it stands. */
static int newest(struct run *r, int loc)
{
    if (model != MODEL_WEAK)
        return r->w->strong.value[loc];
    return r->w->weak.history[loc][r->w->stores[loc] - 1].value;
}

/* The write of a read-modify-write, which reads the newest value. */
static void rewrite(struct run *r, int loc, int value, enum order o)
{
    if (model != MODEL_WEAK) {
        r->w->strong.value[loc] = (int8_t)value;
        return;
    }
    int index = r->w->stores[loc] - 1;
    weak_read(r, loc, index, o);
    weak_store(r, loc, value, o, &r->w->weak.history[loc][index]);
}

int xchg(struct run *r, int loc, int value, enum order o)
{
    if (model != MODEL_WEAK && !buffer_empty(r))
        return 0;
    int old = newest(r, loc);
    rewrite(r, loc, value, o);
    return old;
}

int fetch_add(struct run *r, int loc, int value, enum order o)
{
    if (model != MODEL_WEAK && !buffer_empty(r))
        return 0;
    int old = newest(r, loc);
    rewrite(r, loc, old + value, o);
    return old;
}

bool cas(struct run *r, int loc, int expected, int value, enum order o)
{
    if (model != MODEL_WEAK) {
        if (!buffer_empty(r) || r->w->strong.value[loc] != expected)
            return false;
        r->w->strong.value[loc] = (int8_t)value;
        return true;
    }
    /* It may fail on an older store, which is a relaxed load; it succeeds on the newest only. */
    int oldest = weak_oldest(r, loc, o), last = r->w->stores[loc] - 1, way = r->choice;
    r->choices = 0;
    bool done = false, ok = false;
    for (int i = oldest; i <= last; i++) {
        bool equal = r->w->weak.history[loc][i].value == expected;
        if (equal && i != last)
            continue;
        if (r->choices++ != way)
            continue;
        done = true;
        ok = equal;
        if (equal)
            rewrite(r, loc, value, o);
        else
            weak_read(r, loc, i, RLX);
    }
    if (!done)
        r->blocked = true;
    return ok;
}

void fence_of(struct run *r, int thread)
{
    if (model != MODEL_WEAK) {
        r->blocked |= r->w->strong.buffered[thread] != 0; /* until it has been flushed */
        return;
    }
    join(r->w->weak.view[thread], r->w->weak.seen_by_seq);
    join(r->w->weak.seen_by_seq, r->w->weak.view[thread]);
}

void fence(struct run *r)
{
    fence_of(r, r->thread);
}

int choose(struct run *r, int n)
{
    r->choices = n;
    return r->choice;
}

void acquire(struct run *r, int loc)
{
    if (model != MODEL_WEAK && !buffer_empty(r))
        return;
    if (newest(r, loc) != 0)
        r->blocked = true;
    else
        rewrite(r, loc, 1, ACQ);
}

void release(struct run *r, int loc)
{
    xchg(r, loc, 0, REL);
}

void take_one(struct run *r, int loc)
{
    if (model != MODEL_WEAK && !buffer_empty(r))
        return;
    if (newest(r, loc) <= 0)
        r->blocked = true;
    else
        rewrite(r, loc, newest(r, loc) - 1, ACQ);
}

void futex_wait(struct run *r, int loc, int value, bool checks)
{
    /* The kernel's own locks order this against futex_wake: a read of the newest value. */
    if (model != MODEL_WEAK && !buffer_empty(r))
        return;
    fence(r);
    if (!checks || newest(r, loc) == value)
        r->w->asleep[r->thread] = (uint8_t)(loc + 1);
}

void waking(struct run *r)
{
    if (r->w->asleep[r->thread] != 0)
        r->blocked = true;
}

void futex_wake(struct run *r, int loc, int n)
{
    if (model != MODEL_WEAK && !buffer_empty(r))
        return;
    fence(r);
    for (int t = 0; t < threads && n > 0; t++)
        if (r->w->asleep[t] == loc + 1) {
            r->w->asleep[t] = 0;
            n--;
        }
}

void when(struct run *r, bool cond)
{
    if (!cond)
        r->blocked = true;
}

/* ---- Worlds seen ------------------------------------------------------------------------------- */

static uint64_t *seen;
static uint64_t seen_size, seen_count;

static uint64_t hash(const struct world *w)
{
    uint64_t h = 0x9e3779b97f4a7c15u;
    const unsigned char *p = (const unsigned char *)w;
    size_t n = model == MODEL_WEAK ? offsetof(struct world, weak) + sizeof w->weak
                                   : offsetof(struct world, strong) + sizeof w->strong;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        h = (h ^ v) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    uint64_t v = 0;
    memcpy(&v, p, n);
    h = (h ^ v) * 0xc4ceb9fe1a85ec53u;
    h ^= h >> 29;
    return h != 0 ? h : 1;
}

static bool insert(uint64_t *table, uint64_t size, uint64_t h)
{
    for (uint64_t i = h & (size - 1);; i = (i + 1) & (size - 1)) {
        if (table[i] == h)
            return false;
        if (table[i] == 0) {
            table[i] = h;
            return true;
        }
    }
}

static void seen_init(uint64_t size)
{
    free(seen);
    seen = calloc(size, sizeof *seen);
    if (seen == NULL)
        too_small("memory");
    seen_size = size;
    seen_count = 0;
}

/* True the first time. */
static bool see(const struct world *w)
{
    if (2 * seen_count >= seen_size) {
        uint64_t *bigger = calloc(2 * seen_size, sizeof *bigger);
        if (bigger == NULL)
            too_small("memory");
        for (uint64_t i = 0; i < seen_size; i++)
            if (seen[i] != 0)
                insert(bigger, 2 * seen_size, seen[i]);
        free(seen);
        seen = bigger;
        seen_size *= 2;
    }
    bool first = insert(seen, seen_size, hash(w));
    seen_count += first;
    return first;
}

/* ---- The search -------------------------------------------------------------------------------- */

enum { MAX_DEPTH = 2000 };

static struct {
    int thread; /* -1 - t: the buffer of t is flushed */
    int line, choice;
} path[MAX_DEPTH];
static char found[200];

/* Lets thread t do its next step in the copy; false: it cannot. *more: there is another choice. */
static bool step(const struct program *p, int variant, struct world *w, int t, int choice,
                 bool *more, const char **failed)
{
    struct run r = {.w = w, .thread = t, .variant = variant, .choice = choice, .choices = 1};
    uint16_t line = w->pc[t];
    p->thread[t](&r);
    *more = choice + 1 < r.choices;
    *failed = r.failed;
    if (r.blocked) {
        w->pc[t] = line;
        return false;
    }
    if (w->pc[t] == DONE)
        memset(w->var[t], 0, sizeof w->var[t]);
    if (model == MODEL_WEAK)
        weak_forget(w);
    return true;
}

static bool finished(const struct world *w, int n)
{
    for (int t = 0; t < n; t++)
        if (w->pc[t] != DONE)
            return false;
    return true;
}

static void print_path(const struct program *p, int depth, const struct world *w)
{
    fprintf(stderr, "  %s: the way to \"%s\", thread:line(choice):\n   ", p->name, found);
    for (int i = 0; i < depth; i++) {
        if (path[i].thread < 0)
            fprintf(stderr, " %d:flush", -1 - path[i].thread);
        else
            fprintf(stderr, " %d:%d", path[i].thread, path[i].line);
        if (path[i].choice > 0)
            fprintf(stderr, "(%d)", path[i].choice);
    }
    fprintf(stderr, "\n    at the end:");
    for (int t = 0; t < p->threads; t++)
        fprintf(stderr, " %d:%d", t, w->pc[t] == DONE ? -1 : w->pc[t]);
    fprintf(stderr, "\n");
}

static bool fail(const struct program *p, const char *what, int depth, const struct world *w,
                 bool loud)
{
    snprintf(found, sizeof found, "%s", what);
    if (loud)
        print_path(p, depth, w);
    return true;
}

/* True if something forbidden was found below w. */
static bool search(const struct program *p, int variant, const struct world *w, int depth,
                   bool loud)
{
    if (depth == MAX_DEPTH)
        too_small("MAX_DEPTH");
    bool any = false;
    for (int t = 0; t < p->threads; t++) {
        if (model == MODEL_TSO && w->strong.buffered[t] > 0) {
            struct world next = *w;
            flush(&next, t);
            any = true;
            path[depth].thread = -1 - t;
            path[depth].line = path[depth].choice = 0;
            if (see(&next) && search(p, variant, &next, depth + 1, loud))
                return true;
        }
        if (w->pc[t] == DONE)
            continue;
        bool more = true;
        for (int choice = 0; more; choice++) {
            struct world next = *w;
            const char *failed = NULL;
            path[depth].thread = t;
            path[depth].line = w->pc[t];
            path[depth].choice = choice;
            if (!step(p, variant, &next, t, choice, &more, &failed))
                continue;
            any = true;
            if (failed != NULL)
                return fail(p, failed, depth + 1, &next, loud);
            if (see(&next) && search(p, variant, &next, depth + 1, loud))
                return true;
        }
    }
    if (any)
        return false;
    if (!finished(w, p->threads))
        return fail(p, "nobody can go on", depth, w, loud);
    const char *wrong = p->final != NULL ? p->final(w) : NULL;
    return wrong != NULL && fail(p, wrong, depth, w, loud);
}

const char *explore(const struct program *p, int variant, enum model m, bool loud, uint64_t *states)
{
    struct world w;
    int memory[MAX_LOCS] = {0};
    memset(&w, 0, sizeof w);
    model = m;
    threads = p->threads;
    seen_init(1 << 16);
    if (p->init != NULL)
        p->init(&w, memory, variant);
    for (int l = 0; l < MAX_LOCS; l++) {
        if (m == MODEL_WEAK) {
            w.stores[l] = 1;
            w.weak.history[l][0].value = (int8_t)memory[l];
        } else {
            w.strong.value[l] = (int8_t)memory[l];
        }
    }
    /* Each thread up to its first operation: local code only. */
    for (int t = 0; t < p->threads; t++) {
        bool more;
        const char *failed;
        step(p, variant, &w, t, 0, &more, &failed);
    }
    bool bad = search(p, variant, &w, 0, loud);
    if (states != NULL)
        *states = seen_count;
    return bad ? found : NULL;
}

int check_programs(const struct program *const *programs)
{
    static const char *const names[] = {"sc", "tso", "weak"};
    int wrong = 0;
    for (; *programs != NULL; programs++) {
        const struct program *p = *programs;
        uint64_t states;
        for (int m = 0; m < (p->sc_only ? MODEL_TSO : MODELS); m++) {
            const char *what = explore(p, 0, (enum model)m, true, &states);
            printf("%-12s %-4s %9llu states: %s\n", p->name, names[m], (unsigned long long)states,
                   what != NULL ? what : "holds");
            wrong += what != NULL;
        }
        for (int v = 1; v <= 8 && p->broken[v - 1].what != NULL; v++)
            for (int m = 0; m < MODELS; m++) {
                const char *what = explore(p, v, (enum model)m, false, &states);
                bool expected = m >= (int)p->broken[v - 1].from;
                if (expected || what != NULL)
                    printf("%-12s %-4s %9llu states: broken, %s: %s\n", p->name, names[m],
                           (unsigned long long)states, p->broken[v - 1].what,
                           what != NULL ? what : "NOT FOUND");
                if (expected != (what != NULL)) {
                    fprintf(stderr, "%s, %s: \"%s\" should%s show\n", p->name, names[m],
                            p->broken[v - 1].what, expected ? "" : " not yet");
                    wrong++;
                }
            }
    }
    fflush(stdout);
    free(seen);
    seen = NULL;
    return wrong != 0;
}
