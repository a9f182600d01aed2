/* Channels: make, send, receive, close.
 *
 * A channel is a lock, a ring buffer and two queues of waiting goroutines (chan_int.h: the struct, its
 * invariants, its lock). Every operation takes the lock and does the first of these that it can:
 *
 *   send     closed: panic. A receiver waits: the element goes straight into its memory. The buffer
 *            has room: into the buffer. Else wait in sendq, with the element where it is.
 *   receive  A sender waits: from its memory, or, if there is a buffer, the buffer's first element,
 *            and the sender's goes to its end. The buffer has one: that. Closed: the zero element.
 *            Else wait in recvq.
 *   close    Wakes everybody: receivers get the zero element, senders panic.
 *
 * Waiting means: a sudog on the own stack (stacks never move), enqueued under the lock, which the hook
 * of gopark releases when the goroutine's context is saved. Whoever takes a sudog off its queue has
 * the goroutine to himself until he readies it: elements are copied and the goroutine is readied after
 * the lock is released, so that what happens under it is a dozen instructions.
 *
 * A waker fills in sg->success and gp->param (the sudog, for select) before goready.
 *
 * A channel may be deleted as soon as nobody is in one of its operations. A receiver may learn from
 * the closed flag, without the lock, that the program is through with the channel while the closer
 * still holds the lock: therefore loam_chan_delete takes the lock once.
 *
 * Locks: one channel's at a time (rank chan; select takes several). Nothing is taken under it. The
 * scheduler is called without it, except by gopark's hook, which releases it.
 *
 * Called by everybody; try_* and close also by the floors above from a thread's own stack and by
 * foreign threads: they neither switch nor look at the calling goroutine.
 *
 * Rejected: waking a sender only when the buffer is half empty (fewer switches, but len() and
 * a sender that has to go on would tell the difference, and the program may never get to half empty);
 * readying under the lock, as it is simpler (the woken one runs into it). */
#include "chan/chan_int.h"

#include "mem/mem.h"
#include "os/os.h"

/* ---- Making and deleting --------------------------------------------------------------------- */

enum { MAX_BYTES_LOG2 = 48 }; /* what an address space holds, as in Go */

int loam_chan_new(struct loam_hchan **out, size_t elemsize, int64_t size)
{
    size_t bytes;
    *out = NULL;
    if (size < 0 || __builtin_mul_overflow(elemsize, (size_t)size, &bytes) ||
        bytes > ((size_t)1 << MAX_BYTES_LOG2) - sizeof(struct loam_hchan))
        return -EINVAL;
    struct loam_hchan *c = objalloc(sizeof *c + bytes, OBJ_CHAN);
    if (c == NULL)
        return -ENOMEM;
    c->lock = (struct mutex)MUTEX_INIT(chan);
    c->bulky = !chancopy_knows(elemsize);
    c->copy = c->bulky ? 0 : (uint32_t)elemsize;
    c->elemsize = elemsize;
    c->dataqsiz = (uint64_t)size;
    c->sendp = c->recvp = c->buf;
    c->bufend = c->buf + bytes; /* elements without bytes all lie at buf, which is the end too */
#if LOAM_DEBUG_CHECKS
    c->epoch = runtime_epoch();
#endif
    *out = c;
    return 0;
}

struct loam_hchan *loam_chan_new_or_panic(size_t elemsize, int64_t size)
{
    struct loam_hchan *c;
    int err = loam_chan_new(&c, elemsize, size);
    if (err == -ENOMEM)
        throw("runtime: out of memory: cannot allocate a channel");
    if (err != 0)
        panic_text("makechan: size out of range");
    return c;
}

void loam_chan_delete(struct loam_hchan *c)
{
    if (c == NULL)
        return;
    chan_lock(c); /* see the head */
#if LOAM_DEBUG_CHECKS
    /* Of a former runtime the queues may hold abandoned goroutines, without memory. */
    if (c->epoch == runtime_epoch() && (waitq_live(&c->recvq) || waitq_live(&c->sendq)))
        fatal("loam_chan_free: a goroutine waits on the channel");
#endif
    chan_unlock(c);
    objfree(c, OBJ_CHAN);
}

/* ---- Slow halves of the lock ------------------------------------------------------------------- */

enum {
    SPIN_ROUNDS = 10,   /* each waits twice as long as the one before, up to */
    SPIN_PAUSE_MAX = 32 /* pauses: about a microsecond */
};

/* Looking often takes the line from the holder, who is in the middle of a few instructions and about
 * to do a few hundred operations more: waiting longer makes both faster. */
noinline void chan_lock_slow(struct loam_hchan *c)
{
    struct mutex *l = &c->lock;
    int pauses = 1;
#if LOAM_DEBUG_CHECKS
    lock_rank_check(l);
#endif
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        for (int k = 0; k < pauses; k++)
            arch_pause();
        if (pauses < SPIN_PAUSE_MAX)
            pauses *= 2;
        /* acquire: as in chan_lock */
        if (load_relaxed(&l->key) == 0 && cas_acquire(&l->key, 0, 1))
            return;
    }
    os_yield(); /* the holder may have lost its CPU to us */
    /* acquire: it may have been free. From here on the word stays 2 until we have it, because we do
     * not know whether others sleep; not for ever, because chan_unlock may miss us (chan_int.h). */
    while (xchg_acquire(&l->key, 2) != 0)
        os_futex_wait(&l->key, 2, CHAN_SLEEP_NS);
}

/* When the channel is polled, or somebody may sleep. */
noinline void chan_unlock_slow(struct loam_hchan *c)
{
#if LOAM_DEBUG_CHECKS
    lock_rank_release(&c->lock);
#endif
    /* seqcst: before any later load of this thread; see chan_int.h. On arm64 an exchange with acquire
     * and release, or its store-release before the load-acquire of a rejection, orders so. */
    if (xchg_seqcst(&c->lock.key, 0) == 2)
        unlock_slow(&c->lock, 2); /* uses the address only */
}

noinline void chan_torture_delay(void)
{
    if (choose(32) == 0)
        os_yield();
}

void chan_enter(const char *what)
{
    struct m *mp = getm();
    if (mp == NULL)
        getg_or_die(what);
    preempt_point(mp);
    if (LOAM_TORTURE && mp->curg != NULL && !mp->incall && locks_held() == 0 && choose(8) == 0)
        gosched();
}

/* ---- Waiting and waking ------------------------------------------------------------------------ */

/* The hook of gopark: the goroutine's context is saved, others may find it now. */
static bool chanparkcommit(struct g *gp, void *c)
{
    (void)gp;
    chan_unlock_in_hook(c);
    return true;
}

noinline _Noreturn void chan_park_forever(enum waitreason reason)
{
    for (;;)
        gopark(NULL, NULL, reason);
}

noinline _Noreturn void panic_send_closed(void)
{
    panic_text("send on closed channel");
}

/* What a goroutine that waited does when the channel was closed: false, or a panic. */
static noinline bool woken_by_close(struct loam_hchan *c, void *elem, enum waitreason reason)
{
    if (reason == WAIT_chan_send)
        panic_send_closed();
    chanzero(c, elem);
    return false;
}

/* Waits in q, with the lock held on entry and not on return: true if another goroutine took or gave the
 * element. Senders and receivers end in this one call of gopark, and their callers in a jump here:
 * then most returns after a switch are to where the goroutine that left would have returned to, and
 * predicted. */
static noinline bool chan_park(struct loam_hchan *c, struct waitq *q, void *elem,
                               enum waitreason reason)
{
    struct g *gp = getm()->curg;
    if (LOAM_DEBUG_CHECKS && gp == NULL)
        (void)getg_or_die("a channel operation that parks");
    struct sudog sg;
    sg.g = gp;
    sg.elem = elem;
    sg.c = c;
    sg.is_select = false;
    waitq_put(q, &sg);
    chan_announce_unlock(c);
    gopark(chanparkcommit, c, reason);
    if (likely(sg.success))
        return true;
    return woken_by_close(c, elem, reason);
}

static always_inline void chan_ready(struct sudog *sg, bool success)
{
    struct g *gp = sg->g;
    sg->success = success;
    gp->param = sg;
    chan_delay();
    goready(gp);
}

noinline void send_to(struct loam_hchan *c, struct sudog *sg, const void *elem)
{
    /* Off the queue: it is ours alone. c stays: this operation has not returned. */
    chan_unlock(c);
    chan_delay();
    if (sg->elem != NULL)
        chancopy(c, sg->elem, elem);
    chan_ready(sg, true);
}

noinline void recv_from(struct loam_hchan *c, struct sudog *sg, void *elem)
{
    if (c->dataqsiz == 0) {
        chan_unlock(c);
        chan_delay();
        if (elem != NULL)
            chancopy(c, elem, sg->elem);
    } else {
        /* The buffer is full: its first slot, once empty, is the one behind its last. qcount does not
         * change, not even for a moment: others look at it without the lock. */
        char *p = c->recvp;
        if (elem != NULL)
            chancopy(c, elem, p);
        chancopy(c, p, sg->elem);
        p += c->elemsize;
        c->recvp = c->sendp = p == c->bufend ? c->buf : p;
        chan_unlock(c);
    }
    chan_ready(sg, true);
}

/* ---- Send ------------------------------------------------------------------------------------------
 *
 * The functions without a suffix hold only what the common case needs and call nothing in it, so that
 * they need no stack frame; everything else is a jump to the slow ones. */

/* The rest of a send. Lock held. */
static noinline void send_locked(struct loam_hchan *c, const void *elem)
{
    if (unlikely(c->closed)) {
        chan_unlock(c);
        panic_send_closed();
    }
    struct sudog *sg = waitq_get(&c->recvq);
    if (sg != NULL) {
        send_to(c, sg, elem);
    } else if (c->qcount < c->dataqsiz) {
        buf_put(c, elem);
        chan_unlock(c);
    } else {
        (void)chan_park(c, &c->sendq, (void *)(uintptr_t)elem, WAIT_chan_send);
    }
}

static noinline void send_slow(struct loam_hchan *c, const void *elem)
{
    chan_enter("loam_send");
    if (c == NULL)
        chan_park_forever(WAIT_chan_send_nil);
    chan_lock(c);
    send_locked(c, elem);
}

void loam_chan_send(struct loam_hchan *c, const void *elem)
{
    if (unlikely(chan_detour() || c == NULL || !chan_lock_fast(c))) {
        send_slow(c, elem);
    } else if (c->recvq.first == NULL && c->qcount < c->dataqsiz && likely(c->odd == 0)) {
        chancopy_fast(c, c->sendp, elem);
        buf_filled(c);
        chan_unlock_odd(c, false);
    } else {
        send_locked(c, elem);
    }
}

static noinline int try_send_slow(struct loam_hchan *c, const void *elem)
{
    chan_lock(c);
    if (unlikely(c->closed)) {
        chan_unlock(c);
        panic_send_closed();
    }
    struct sudog *sg = waitq_get(&c->recvq);
    if (sg != NULL) {
        send_to(c, sg, elem);
        return 1;
    }
    if (c->qcount < c->dataqsiz) {
        buf_put(c, elem);
        chan_unlock(c);
        return 1;
    }
    store_release(&c->polled, 1); /* release: with the acquire of chan_rejects_* */
    chan_unlock(c);
    return -EAGAIN;
}

int loam_chan_try_send(struct loam_hchan *c, const void *elem)
{
    return c == NULL || chan_rejects_send(c) ? -EAGAIN : try_send_slow(c, elem);
}

/* ---- Receive -------------------------------------------------------------------------------------- */

/* The rest of a receive. Lock held. */
static noinline bool recv_locked(struct loam_hchan *c, void *elem)
{
    struct sudog *sg = waitq_get(&c->sendq);
    if (sg != NULL) {
        recv_from(c, sg, elem);
        return true;
    }
    if (c->qcount > 0) {
        buf_take(c, elem);
        chan_unlock(c);
        return true;
    }
    if (likely(!c->closed))
        return chan_park(c, &c->recvq, elem, WAIT_chan_receive);
    chan_unlock(c);
    chanzero(c, elem);
    return false;
}

static noinline bool recv_slow(struct loam_hchan *c, void *elem)
{
    chan_enter("loam_recv");
    if (c == NULL)
        chan_park_forever(WAIT_chan_receive_nil);
    if (chan_drained(c)) {
        chanzero(c, elem);
        return false;
    }
    chan_lock(c);
    return recv_locked(c, elem);
}

bool loam_chan_recv(struct loam_hchan *c, void *elem)
{
    if (unlikely(chan_detour() || c == NULL || chan_drained(c) || !chan_lock_fast(c)))
        return recv_slow(c, elem);
    if (c->sendq.first == NULL && c->qcount > 0 && likely(c->odd == 0 && elem != NULL)) {
        chancopy_fast(c, elem, c->recvp);
        buf_taken(c);
        chan_unlock_odd(c, false);
        return true;
    }
    return recv_locked(c, elem);
}

static noinline int try_recv_slow(struct loam_hchan *c, void *elem)
{
    if (chan_drained(c)) {
        chanzero(c, elem);
        return 0;
    }
    chan_lock(c);
    struct sudog *sg = waitq_get(&c->sendq);
    if (sg != NULL) {
        recv_from(c, sg, elem);
        return 1;
    }
    if (c->qcount > 0) {
        buf_take(c, elem);
        chan_unlock(c);
        return 1;
    }
    bool closed = c->closed;
    if (!closed)
        store_release(&c->polled, 1); /* release: with the acquire of chan_rejects_* */
    chan_unlock(c);
    if (!closed)
        return -EAGAIN;
    chanzero(c, elem);
    return 0;
}

int loam_chan_try_recv(struct loam_hchan *c, void *elem)
{
    return c == NULL || chan_rejects_recv(c) ? -EAGAIN : try_recv_slow(c, elem);
}

/* ---- Close ----------------------------------------------------------------------------------------- */

/* Moves all whom we may wake from q to the end of the list. Lock held. */
static struct sudog **take_all(struct waitq *q, struct sudog **end)
{
    for (struct sudog *sg; (sg = waitq_get(q)) != NULL; end = &sg->next) {
        *end = sg;
        sg->next = NULL;
    }
    return end;
}

void loam_chan_close(struct loam_hchan *c)
{
    if (unlikely(c == NULL))
        panic_text("close of nil channel");
    chan_lock(c);
    if (unlikely(c->closed)) {
        chan_unlock(c);
        panic_text("close of closed channel");
    }
    store_release(&c->closed, 1); /* release: with chan_drained's acquire */
    chan_delay();
    struct sudog *all = NULL;
    take_all(&c->sendq, take_all(&c->recvq, &all));
    chan_unlock(c);
    if (all == NULL)
        return;
    if (all->next == NULL) {
        chan_ready(all, false); /* runs next */
        return;
    }
    for (struct sudog *sg = all, *next; sg != NULL; sg = next) {
        next = sg->next; /* its stack is its own again after goready */
        sg->success = false;
        sg->g->param = sg;
        goready_tail(sg->g); /* in the order of their coming */
    }
}

/* ---- Length and capacity ---------------------------------------------------------------------------- */

int64_t loam_chan_len(const struct loam_hchan *c)
{
    if (c == NULL || c->dataqsiz == 0)
        return 0;
    /* "Nothing there" is a rejection too: it holds to the same order as try_recv. */
    if (!load_acquire(&c->polled)) {
        struct loam_hchan *w = (struct loam_hchan *)(uintptr_t)c;
        chan_lock(w);
        store_release(&w->polled, 1); /* release: with the acquire above */
        chan_unlock(w);
    }
    return (int64_t)load_seqcst(&c->qcount);
}

int64_t loam_chan_cap(const struct loam_hchan *c)
{
    return c != NULL ? (int64_t)c->dataqsiz : 0;
}
