/* Object pool: per processor a private object and a deque that others steal from.
 *
 *   get: this P's private one; the newest of its deque; the oldest of another's; a new one
 *   put: the private place if it is empty, else the deque
 *
 * Only the goroutine that runs on a P touches that P's private place and its deque's near end. C code
 * of the runtime is not preempted, so between looking up the P and leaving there is nothing to pin.
 * Threads without a P (foreign ones, goroutines in a blocking call) put into one more deque whose
 * near end a lock guards, and get by stealing alone.
 *
 * Where a P's part lies: in the pool, in a table by the P's number. A P that GOMAXPROCS took away
 * leaves its part there, to be stolen from - its private object too, for nobody owns it any more -
 * and a P of that number made later, also after loam_stop and loam_start, finds it again. Rejected:
 * a place in struct p: every pool would need a number, and Ps come and go. The table grows when a
 * number is too high for it; readers of the old one may go on, so old ones are kept until the end
 * (each is less than half of the next).
 *
 * The deque is Chase and Lev's ("Dynamic circular work-stealing deque", 2005) with the orders worked
 * out by Le, Pop, Cohen and Zappa Nardelli ("Correct and efficient work-stealing for weak memory
 * models", 2013), their fences replaced by seqcst accesses of the same words, because ThreadSanitizer
 * does not know fences:
 *   (1) The owner writes the slot, then bottom with release; a thief reads bottom with acquire, then
 *       the slot.
 *   (2) The owner that takes lowers bottom, then reads top; a thief reads top, then bottom: all four
 *       seqcst, so that of two who want the last object at least one sees the other; then both try a
 *       CAS on top.
 *   (3) A thief's CAS on top is release, the owner reads top with acquire before it writes over a
 *       slot: the thief has read it.
 *   (4) The owner is whoever runs on the P. That one goroutine's put happens before the next one's
 *       get follows from the P's passing from one to the other; the near end is read with acquire all
 *       the same, so that it can be seen here, by ThreadSanitizer too.
 * top only grows (64 bits), so no CAS succeeds on an old value. A thief that loses the CAS looks
 * elsewhere only after it found this deque empty: get returns a new object only if it has seen every
 * deque empty.
 *
 * Objects are dropped only at free: C has no collector yet that would age them. Locks: pool.lock
 * (table, the deque of threads without a P), rank leaf. */
#include "mem/mem.h"
#include "sync/sync_int.h"

enum { RING_FIRST = LOAM_TORTURE ? 2 : 16 }; /* slots of a deque's first ring */

/* A ring of the deque; its size is a power of two. */
struct ring {
    struct ring *older; /* const: kept for thieves that still read it; freed with the pool */
    uint64_t mask;      /* const */
    void *slot[];       /* atomic */
};

struct deque {
    uint64_t top;      /* atomic: the oldest object; thieves and the owner advance it by CAS */
    uint64_t bottom;   /* atomic, owner writes: one past the newest */
    struct ring *ring; /* atomic, owner writes; NULL until the first put */
};

struct part {
    char before[cacheline]; /* parts of two Ps share no cache line, wherever the memory begins */
    void *private;          /* atomic; the P of this number, or any P while there is none */
    struct deque deque;     /* near end: the P of this number */
    char after[cacheline];
};

/* The parts by number. */
struct table {
    struct table *older; /* const */
    int n;               /* const */
    struct part *part[]; /* atomic: NULL until the P puts for the first time */
};

struct loam_objpool {
    void *(*make)(void *);           /* const */
    void (*discard)(void *, void *); /* const */
    void *arg;                       /* const */
    struct table *table;             /* atomic; written under lock */
    struct mutex lock;
    struct deque others; /* near end: lock */
};

/* ---- The deque --------------------------------------------------------------------------------- */

/* What put needs and cannot have yet. Memory is taken while neither the lock nor a P is held, for that may
 * wait for libc's locks: see mem/objalloc.c. */
struct want {
    struct ring *ring; /* taken, not used yet */
    uint64_t slots;    /* a ring of so many is missing; 0: none */
};

static bool ring_make(struct want *w)
{
    objfree(w->ring, OBJ_OBJPOOL);
    w->ring = objalloc(sizeof *w->ring + w->slots * sizeof w->ring->slot[0], OBJ_OBJPOOL);
    if (w->ring == NULL)
        return false;
    w->ring->mask = w->slots - 1;
    w->slots = 0;
    return true;
}

/* Puts the ring `new` in the place of `old`. Owner. */
static void grow(struct deque *d, struct ring *old, struct ring *new, uint64_t top, uint64_t bottom)
{
    new->older = old;
    for (uint64_t i = top; i != bottom; i++)
        store_relaxed(&new->slot[i & new->mask], load_relaxed(&old->slot[i & old->mask]));
    store_release(&d->ring, new); /* release: thieves see what it holds */
}

/* Owner. False: a larger ring is wanted. */
static bool deque_push(struct deque *d, void *obj, struct want *w)
{
    uint64_t bottom = load_acquire(&d->bottom); /* (4) */
    uint64_t top = load_acquire(&d->top);       /* (3) */
    struct ring *ring = load_relaxed(&d->ring); /* ours */
    if (ring == NULL || bottom - top > ring->mask) {
        uint64_t slots = ring != NULL ? 2 * (ring->mask + 1) : RING_FIRST;
        if (w->ring == NULL || w->ring->mask + 1 != slots) {
            w->slots = slots;
            return false;
        }
        grow(d, ring, w->ring, top, bottom);
        ring = w->ring;
        w->ring = NULL;
    }
    store_relaxed(&ring->slot[bottom & ring->mask], obj);
    store_release(&d->bottom, bottom + 1); /* (1) */
    return true;
}

/* The newest object, or NULL. Owner. */
static void *deque_take(struct deque *d)
{
    uint64_t bottom = load_acquire(&d->bottom); /* (4) */
    if (load_relaxed(&d->top) == bottom) /* top never passes it: empty, and only we fill it */
        return NULL;
    bottom--;
    struct ring *ring = load_relaxed(&d->ring); /* ours */
    store_seqcst(&d->bottom, bottom);           /* (2) */
    uint64_t top = load_seqcst(&d->top);        /* (2) */
    if ((int64_t)(bottom - top) < 0) {          /* thieves had it */
        store_relaxed(&d->bottom, bottom + 1);  /* empty as before: nothing is published */
        return NULL;
    }
    void *obj = load_relaxed(&ring->slot[bottom & ring->mask]);
    if (bottom == top) {
        /* The last one. seqcst: (2). Lost or won, the deque is empty at top + 1. */
        if (!cas_seqcst(&d->top, top, top + 1))
            obj = NULL;
        store_relaxed(&d->bottom, bottom + 1);
    }
    return obj;
}

/* The oldest object, or NULL if it was seen empty. Anybody. */
static void *deque_steal(struct deque *d)
{
    for (;;) {
        uint64_t top = load_seqcst(&d->top);       /* (2) */
        uint64_t bottom = load_seqcst(&d->bottom); /* (1), (2) */
        if ((int64_t)(bottom - top) <= 0)
            return NULL;
        struct ring *ring = load_acquire(&d->ring); /* acquire: pairs with grow */
        void *obj = load_relaxed(&ring->slot[top & ring->mask]);
        if (cas_seqcst(&d->top, top, top + 1)) /* (2), (3) */
            return obj;
    }
}

static void deque_free(struct deque *d)
{
    for (struct ring *ring = d->ring, *older; ring != NULL; ring = older) {
        older = ring->older;
        objfree(ring, OBJ_OBJPOOL);
    }
}

/* ---- Parts ------------------------------------------------------------------------------------- */

/* Puts the table `new`, which has more places, in front of the one there is. lock */
static void table_install(struct loam_objpool *pool, struct table *new)
{
    struct table *old = load_relaxed(&pool->table); /* written under the lock */
    new->older = old;
    for (int i = 0; i < old->n; i++)
        store_relaxed(&new->part[i], load_relaxed(&old->part[i]));
    store_release(&pool->table, new); /* release: readers see n and the parts */
}

/* Makes the part of number id, unless it is there. False: no memory. The caller may have another P
 * afterwards. */
static noinline bool part_new(struct loam_objpool *pool, int id)
{
    struct part *part = objalloc(sizeof *part, OBJ_OBJPOOL);
    struct table *larger = NULL;
    bool done = false;
    while (part != NULL) {
        lock(&pool->lock);
        if (larger != NULL && larger->n > load_relaxed(&pool->table)->n) {
            table_install(pool, larger);
            larger = NULL;
        }
        struct table *table = load_relaxed(&pool->table);
        int n = table->n;
        done = id < n;
        if (done && load_relaxed(&table->part[id]) == NULL) {
            store_release(&table->part[id], part); /* release: others see it zeroed */
            part = NULL;
        }
        unlock(&pool->lock);
        if (done)
            break;
        int procs = load_relaxed(&gomaxprocs);
        n = 2 * n > procs ? 2 * n : procs;
        n = n > id ? n : id + 1;
        objfree(larger, OBJ_OBJPOOL);
        larger = objalloc(sizeof *larger + (size_t)n * sizeof larger->part[0], OBJ_OBJPOOL);
        if (larger == NULL)
            break;
        larger->n = n;
    }
    objfree(larger, OBJ_OBJPOOL);
    objfree(part, OBJ_OBJPOOL);
    return done;
}

/* The part of this P, NULL if it has none yet. */
static struct part *part_find(struct loam_objpool *pool, int id)
{
    struct table *table = load_acquire(&pool->table); /* acquire: its n and parts */
    return id < table->n ? load_acquire(&table->part[id]) : NULL;
}

/* The P that we run on; NULL: none. */
static struct p *this_p(void)
{
    struct m *mp = getm();
    return mp != NULL && mp->curg != NULL ? mp->p : NULL;
}

/* ---- Getting and putting ------------------------------------------------------------------------ */

/* An object of another P, or of those without one. id: our P's number, -1 without. */
static noinline void *steal(struct loam_objpool *pool, int id)
{
    struct table *table = load_acquire(&pool->table); /* acquire: its n and parts */
    for (int i = 1; i <= table->n; i++) {
        int other = (id + i) % table->n;
        struct part *part = load_acquire(&table->part[other]);
        if (part == NULL)
            continue;
        void *obj = deque_steal(&part->deque);
        /* The private place of a P that is gone. While we own a P none can come back, for that stops
         * the world; other thieves are met by the exchange. acqrel: the object's content. */
        if (obj == NULL && id >= 0 && other >= gomaxprocs && load_relaxed(&part->private) != NULL)
            obj = xchg_acqrel(&part->private, NULL);
        if (obj != NULL)
            return obj;
    }
    return deque_steal(&pool->others);
}

void *loam_objpool_get(struct loam_objpool *pool)
{
    sync_point();
    struct p *pp = this_p();
    void *obj = NULL;
    if (likely(pp != NULL)) {
        struct part *part = part_find(pool, pp->id);
        if (likely(part != NULL)) {
            obj = load_acquire(&part->private); /* (4) */
            if (obj != NULL)
                store_relaxed(&part->private, NULL);
            else
                obj = deque_take(&part->deque);
        }
    }
    if (obj == NULL)
        obj = steal(pool, pp != NULL ? pp->id : -1);
    if (obj == NULL && pool->make != NULL)
        obj = pool->make(pool->arg); /* may park: nothing is held */
    return obj;
}

/* One try. False: something is wanted, or there is no memory. */
static bool put(struct loam_objpool *pool, void *obj, struct want *w)
{
    struct p *pp = this_p();
    if (unlikely(pp == NULL)) {
        lock(&pool->lock);
        bool ok = deque_push(&pool->others, obj, w);
        unlock(&pool->lock);
        return ok;
    }
    struct part *part = part_find(pool, pp->id);
    while (unlikely(part == NULL)) {
        if (!part_new(pool, pp->id))
            return false;
        pp = this_p();
        part = part_find(pool, pp->id);
    }
    if (load_relaxed(&part->private) == NULL) { /* ours */
        store_release(&part->private, obj);     /* (4), and thieves when this P is gone */
        return true;
    }
    return deque_push(&part->deque, obj, w);
}

/* The ring of the deque was full. False: no memory. */
static noinline bool put_slow(struct loam_objpool *pool, void *obj, struct want *w)
{
    bool ok = false;
    while (!ok && w->slots != 0 && ring_make(w))
        ok = put(pool, obj, w);
    objfree(w->ring, OBJ_OBJPOOL); /* it was another P's turn */
    return ok;
}

void loam_objpool_put(struct loam_objpool *pool, void *obj)
{
    if (obj == NULL)
        return;
    sync_point();
    struct want w = {0};
    if (unlikely(!put(pool, obj, &w) && !put_slow(pool, obj, &w)) && pool->discard != NULL)
        pool->discard(obj, pool->arg);
}

/* ---- The pool's life --------------------------------------------------------------------------- */

struct loam_objpool *loam_objpool_new(void *(*make)(void *), void (*discard)(void *, void *),
                                      void *arg)
{
    struct loam_objpool *pool = objalloc(sizeof *pool, OBJ_OBJPOOL);
    if (pool == NULL)
        return NULL;
    pool->make = make;
    pool->discard = discard;
    pool->arg = arg;
    pool->lock.rank = RANK_leaf;
    /* Never without a table. gomaxprocs is 0 before the first start. */
    pool->table = objalloc(sizeof *pool->table + sizeof pool->table->part[0], OBJ_OBJPOOL);
    if (pool->table == NULL) {
        objfree(pool, OBJ_OBJPOOL);
        return NULL;
    }
    pool->table->n = 1;
    return pool;
}

static void discard_all(struct loam_objpool *pool, struct deque *d)
{
    for (void *obj; (obj = deque_steal(d)) != NULL;)
        if (pool->discard != NULL)
            pool->discard(obj, pool->arg);
}

void loam_objpool_free(struct loam_objpool *pool)
{
    if (pool == NULL)
        return;
    struct table *table = pool->table;
    for (int i = 0; i < table->n; i++) {
        struct part *part = table->part[i];
        if (part == NULL)
            continue;
        if (part->private != NULL && pool->discard != NULL)
            pool->discard(part->private, pool->arg);
        discard_all(pool, &part->deque);
        deque_free(&part->deque);
        objfree(part, OBJ_OBJPOOL);
    }
    discard_all(pool, &pool->others);
    deque_free(&pool->others);
    for (struct table *older; table != NULL; table = older) {
        older = table->older;
        objfree(table, OBJ_OBJPOOL);
    }
    objfree(pool, OBJ_OBJPOOL);
}
