/* Select: waits for one of several channel operations.
 *
 *  0. Look at the channels without their locks. If some seem ready, choose one of them by chance and
 *     try it under its own lock alone. Mostly that is all.
 *  1. Otherwise lock all channels, by rising address, so that selects cannot wait for each other in a
 *     circle. If some are ready, choose one by chance; if there is a default, take that.
 *  2. Enqueue a sudog on each, and park. gopark's hook unlocks them.
 *  3. Whoever comes to one of the channels first and turns our select_done does the operation and
 *     readies us, with the sudog in param. Take the other sudogs off their queues.
 *
 * Choosing by one number among the ready ones is the same as trying all in random order, with one
 * number instead of n. Steps 0 and 1 count, choose, and look for the chosen one in a second walk.
 *
 * Step 0 never decides that nothing is ready: only all locks together make one moment of n looks (a
 * token that somebody moves from one channel to the other is never in neither).
 *
 * The hook (selparkcommit) and step 3 may run at the same time: as soon as the hook has unlocked the
 * first channel, another thread may ready us, and yet another run us, while the hook still walks our
 * array of channels. Step 3 takes each channel's lock, one after the other, and the last of these is
 * also the last that the hook releases. So step 3, and with it the life of the arrays on our stack,
 * ends after the hook's last look at them. The one channel that step 3 may skip is the one whose waker
 * took our only sudog there; that waker had its lock, after the hook. The hook reads only the array of
 * channels, which step 3 does not change, and never a sudog, which anyone may change once its channel
 * is unlocked.
 *
 * A waker on another channel that comes too late finds select_done turned, drops our sudog from its
 * queue and goes on; it does so under that channel's lock, and step 3 needs this lock before it returns.
 * select_done goes back to 0 after step 3, when no queue has a sudog of ours any more.
 *
 * In a seeded run nothing may depend on addresses: the choice counts cases in their order, and cases of
 * one channel are shuffled by numbers made from one chosen number and their index.
 *
 * Locks: all channels of the cases at once in 1 and 2 (rank chan allows several by rising address), one
 * after the other in 3.
 *
 * Rejected: a persistent select object that keeps the sorted order (another type for the user; sorting
 * costs less than parking); step 3 with all locks at once, as Go does (the argument above does not need
 * it). */
#include "chan/chan_int.h"

#include "mem/mem.h"

enum {
    MAX_CASES = 65536,
    SMALL = LOAM_TORTURE ? 2 : 8, /* this many have their scratch on the stack */
    SORT_BY_INSERTION = LOAM_TORTURE ? 3 : 16,
};

/* A case in the order of locking. */
struct locked {
    struct loam_hchan *c;
    uint32_t tie; /* orders cases of one channel */
    uint32_t index;
};

struct sel {
    const struct loam_case *cases;
    struct locked *order; /* by rising c */
    uint32_t n;           /* cases that have a channel */
};

/* ---- Which is ready ---------------------------------------------------------------------------- */

/* A guess, without the lock. relaxed: the lock decides. */
static always_inline bool seems_ready(const struct loam_case *k)
{
    const struct loam_hchan *c = k->chan;
    if (c == NULL)
        return false;
    if (k->send ? load_relaxed(&c->recvq.first) != NULL || load_relaxed(&c->qcount) < c->dataqsiz
                : load_relaxed(&c->sendq.first) != NULL || load_relaxed(&c->qcount) > 0)
        return true;
    return load_relaxed(&c->closed);
}

/* The truth, under the lock, but for waiters that another select's waker may take at this moment. */
static inline bool is_ready(const struct loam_case *k)
{
    struct loam_hchan *c = k->chan;
    if (c == NULL)
        return false;
    if (c->closed)
        return true;
    return k->send ? c->qcount < c->dataqsiz || waitq_live(&c->recvq)
                   : c->qcount > 0 || waitq_live(&c->sendq);
}

/* The index of one of the ready cases, by chance; -1: none. */
static always_inline int pick(const struct loam_case *cases, size_t n,
                              bool (*ready)(const struct loam_case *))
{
    uint32_t count = 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (ready(&cases[i])) {
            count++;
            last = i;
        }
    }
    if (count <= 1)
        return count == 0 ? -1 : (int)last;
    uint32_t skip = choose(count);
    for (size_t i = 0; i < last; i++)
        if (ready(&cases[i]) && skip-- == 0)
            return (int)i;
    return (int)last; /* also if some are ready no more */
}

static inline void set_ok(const struct loam_case *k, bool ok)
{
    if (k->ok != NULL)
        *k->ok = ok;
}

/* Does a case whose channel is locked, and releases that lock. False: not possible, still locked. */
static bool try_locked(const struct loam_case *k)
{
    struct loam_hchan *c = k->chan;
    if (k->send) {
        if (unlikely(c->closed)) {
            chan_unlock(c);
            panic_send_closed();
        }
        struct sudog *sg = waitq_get(&c->recvq);
        if (sg != NULL) {
            send_to(c, sg, k->elem);
        } else if (c->qcount < c->dataqsiz) {
            buf_put(c, k->elem);
            chan_unlock(c);
        } else {
            return false;
        }
        return true;
    }
    bool ok = true;
    struct sudog *sg = waitq_get(&c->sendq);
    if (sg != NULL) {
        recv_from(c, sg, k->elem);
    } else if (c->qcount > 0) {
        buf_take(c, k->elem);
        chan_unlock(c);
    } else if (c->closed) {
        chan_unlock(c);
        chanzero(c, k->elem);
        ok = false;
    } else {
        return false;
    }
    set_ok(k, ok);
    return true;
}

/* ---- The order of locking ------------------------------------------------------------------------ */

static always_inline bool before(const struct locked *a, const struct locked *b)
{
    if (a->c != b->c)
        return (uintptr_t)a->c < (uintptr_t)b->c;
    return a->tie != b->tie ? a->tie < b->tie : a->index < b->index;
}

/* Linear on what is in order already, as channels made one after the other mostly are. */
static void sort_by_insertion(struct locked *a, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        struct locked x = a[i];
        uint32_t j = i;
        for (; j > 0 && before(&x, &a[j - 1]); j--)
            a[j] = a[j - 1];
        a[j] = x;
    }
}

/* Lets a[root] sink to its place in the heap a[0..n), greatest first. */
static void sink(struct locked *a, uint32_t root, uint32_t n)
{
    struct locked x = a[root];
    for (uint32_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && before(&a[child], &a[child + 1]))
            child++;
        if (!before(&x, &a[child]))
            break;
        a[root] = a[child];
    }
    a[root] = x;
}

/* O(n log n) at worst and in place. */
static void sort(struct locked *a, uint32_t n)
{
    if (n <= SORT_BY_INSERTION) {
        sort_by_insertion(a, n);
        return;
    }
    uint32_t sorted = 1;
    while (sorted < n && before(&a[sorted - 1], &a[sorted]))
        sorted++;
    if (sorted == n)
        return;
    for (uint32_t i = n / 2; i-- > 0;)
        sink(a, i, n);
    for (uint32_t i = n - 1; i > 0; i--) {
        struct locked x = a[0];
        a[0] = a[i];
        a[i] = x;
        sink(a, 0, i);
    }
}

/* A random-looking number out of two (splitmix64's finalizer, as in base/rand.h). */
static uint32_t mix(uint32_t a, uint32_t b)
{
    uint64_t z = ((uint64_t)a << 32 | b) + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

/* Fills s->order. */
static void order_cases(struct sel *s, size_t n)
{
    uint32_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (s->cases[i].chan != NULL)
            s->order[k++] = (struct locked){s->cases[i].chan, 0, (uint32_t)i};
    s->n = k;
    sort(s->order, k);
    bool twins = false;
    for (uint32_t i = 1; i < k; i++)
        twins |= s->order[i].c == s->order[i - 1].c;
    if (likely(!twins))
        return;
    /* Of two cases that wait on one channel the first in its queue wins: let chance order them. */
    uint32_t seed = choose(UINT32_MAX);
    for (uint32_t i = 0; i < k; i++)
        s->order[i].tie = mix(seed, s->order[i].index);
    sort(s->order, k);
}

static void sellock(const struct sel *s)
{
    const struct loam_hchan *last = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        struct loam_hchan *c = s->order[i].c;
        if (c != last)
            chan_lock(c);
        last = c;
    }
}

/* Unlocks all but `keep`, in the order of locking. No look at *s after the last one. */
static always_inline void selunlock(const struct sel *s, const struct loam_hchan *keep,
                                    void (*unlock_one)(struct loam_hchan *))
{
    const struct locked *order = s->order;
    uint32_t n = s->n;
    struct loam_hchan *last = NULL; /* passed, but not unlocked yet */
    for (uint32_t i = 0; i < n; i++) {
        struct loam_hchan *c = order[i].c;
        if (c != last && last != NULL && last != keep) {
            unlock_one(last);
            chan_delay();
        }
        last = c;
    }
    if (last != NULL && last != keep)
        unlock_one(last);
}

/* ---- Waiting --------------------------------------------------------------------------------------- */

/* The hook of gopark, on the successor's stack; see the head. */
static bool selparkcommit(struct g *gp, void *s)
{
    (void)gp;
    selunlock(s, NULL, chan_unlock_in_hook);
    return true;
}

static struct waitq *queue_of(const struct sel *s, const struct locked *o)
{
    return s->cases[o->index].send ? &o->c->sendq : &o->c->recvq;
}

/* Steps 2 and 3. All locked on entry, none on return: the index of the case that was done. */
static int sel_park(struct sel *s, struct sudog *sudogs)
{
    struct g *gp = getm()->curg;
    for (uint32_t i = 0; i < s->n; i++) {
        struct locked *o = &s->order[i];
        struct sudog *sg = &sudogs[i];
        sg->g = gp;
        sg->elem = s->cases[o->index].elem;
        sg->c = o->c; /* NULL once it is off the queue */
        sg->index = o->index;
        sg->is_select = true;
        waitq_put(queue_of(s, o), sg);
        chan_announce_unlock(o->c);
    }
    gopark(selparkcommit, s, WAIT_select);

    const struct sudog *won = gp->param;
    for (uint32_t i = 0, next; i < s->n; i = next) {
        struct loam_hchan *c = s->order[i].c;
        for (next = i + 1; next < s->n && s->order[next].c == c;)
            next++;
        if (next == i + 1 && &sudogs[i] == won)
            continue;
        chan_lock(c);
        for (uint32_t k = i; k < next; k++)
            if (&sudogs[k] != won && sudogs[k].c != NULL)
                waitq_remove(queue_of(s, &s->order[k]), &sudogs[k]);
        chan_unlock(c);
    }
    /* relaxed: the next select publishes it with its sudogs, under the locks */
    store_relaxed(&gp->select_done, 0);

    const struct loam_case *k = &s->cases[won->index];
    if (k->send) {
        if (unlikely(!won->success))
            panic_send_closed();
    } else {
        if (!won->success)
            chanzero(k->chan, k->elem);
        set_ok(k, won->success);
    }
    return (int)won->index;
}

/* Steps 1 to 3 with scratch for n cases; no sudogs are needed if there is a default. */
static int sel_locked(const struct loam_case *cases, size_t n, bool wait, struct locked *order,
                      struct sudog *sudogs)
{
    struct sel s = {cases, order, 0};
    order_cases(&s, n);
    sellock(&s);
    for (int i; (i = pick(cases, n, is_ready)) >= 0;) {
        struct loam_hchan *c = cases[i].chan;
        /* Waiters of selects belong to whoever is fastest, so try before letting the others go: what
         * releases c and may panic comes last. */
        bool sure = c->closed || (cases[i].send ? c->qcount < c->dataqsiz : c->qcount > 0);
        if (sure) {
            selunlock(&s, c, chan_unlock);
            (void)try_locked(&cases[i]);
            return i;
        }
        struct sudog *sg = waitq_get(cases[i].send ? &c->recvq : &c->sendq);
        if (sg == NULL)
            continue; /* another was faster: that one is off the queue, so this ends */
        selunlock(&s, c, chan_unlock);
        if (cases[i].send) {
            send_to(c, sg, cases[i].elem);
        } else {
            recv_from(c, sg, cases[i].elem);
            set_ok(&cases[i], true);
        }
        return i;
    }
    if (wait)
        return sel_park(&s, sudogs);
    selunlock(&s, NULL, chan_unlock);
    return -1;
}

static noinline int sel_small(const struct loam_case *cases, size_t n, bool wait)
{
    struct locked order[SMALL];
    struct sudog sudogs[SMALL];
    return sel_locked(cases, n, wait, order, sudogs);
}

static noinline int sel_large(const struct loam_case *cases, size_t n, bool wait)
{
    size_t each = sizeof(struct locked) + (wait ? sizeof(struct sudog) : 0);
    char *scratch = objalloc(n * each, OBJ_CHAN);
    if (scratch == NULL)
        throw("runtime: out of memory: cannot allocate a select of many cases");
    struct locked *order = (struct locked *)(void *)scratch;
    struct sudog *sudogs = wait ? (struct sudog *)(void *)(order + n) : NULL;
    int i = sel_locked(cases, n, wait, order, sudogs);
    objfree(scratch, OBJ_CHAN);
    return i;
}

/* ---- One case ---------------------------------------------------------------------------------------- */

static int sel_one(const struct loam_case *k)
{
    if (k->send)
        loam_chan_send(k->chan, k->elem);
    else
        set_ok(k, loam_chan_recv(k->chan, k->elem));
    return 0;
}

static int sel_one_default(const struct loam_case *k)
{
    if (k->send)
        return loam_chan_try_send(k->chan, k->elem) == 1 ? 0 : -1;
    int got = loam_chan_try_recv(k->chan, k->elem);
    if (got < 0)
        return -1;
    set_ok(k, got == 1);
    return 0;
}

/* ---- Entry ------------------------------------------------------------------------------------------- */

static noinline int select_slow(const struct loam_case *cases, size_t n, int flags)
{
    bool wait = (flags & LOAM_SELECT_DEFAULT) == 0;
    chan_enter("loam_select");
    if (n <= 1) {
        if (n == 1)
            return wait ? sel_one(cases) : sel_one_default(cases);
        if (wait)
            chan_park_forever(WAIT_select_no_cases);
        return -1;
    }
    if (unlikely(n > MAX_CASES))
        panic_text("reflect.Select: too many cases (max 65536)");
    if (!LOAM_TORTURE || choose(2) == 0) {
        int i = pick(cases, n, seems_ready);
        if (i >= 0) {
            chan_lock(cases[i].chan);
            if (likely(try_locked(&cases[i])))
                return i;
            chan_unlock(cases[i].chan);
        }
    }
    return n <= SMALL ? sel_small(cases, n, wait) : sel_large(cases, n, wait);
}

int loam_select_n(const struct loam_case *cases, size_t n, int flags)
{
    /* Go's `select { case ...: default: }` in a loop that does something else, needs no frame. */
    if (n == 1 && (flags & LOAM_SELECT_DEFAULT) != 0 && likely(!chan_detour())) {
        const struct loam_hchan *c = cases->chan;
        if (c == NULL || (cases->send ? chan_rejects_send(c) : chan_rejects_recv(c)))
            return -1;
    }
    return select_slow(cases, n, flags);
}
