/* Waiting on a context together with something else: what semaphores, thread pools and sleeps use.
 *
 * A wait that a context may end goes like this; the lock is the waiting thing's own:
 *
 *     struct waiter { struct context_waiter cw; ... } w;    on the waiting goroutine's stack
 *     err = context_wait_begin(ctx, &w.cw, on_done);        done already: nothing to end
 *     lock; if it is there, or w.cancelled: no wait; else queue w and park, releasing the lock
 *     context_wait_end(&w.cw);                              after it on_done neither runs nor will
 *
 *     on_done(cw): lock; if w is queued: take it out, goready; if not queued yet:
 *                  w.cancelled = true; if it was woken already: nothing; unlock
 *
 * The lock decides who was first, the wake-up or the context, and the loser does nothing; so
 * nothing is lost and nothing is woken twice. on_done runs with the context's mutex held, on
 * whatever thread cancels: it may take mutexes that come after RANK_context and may goready, and
 * nothing else. context_wait_end takes the context's mutex: call it with no mutex held. */
#ifndef SYNC_CONTEXT_H
#define SYNC_CONTEXT_H

#include "base/base.h"

#include <loam/context.h>

/* The context's mutex protects it; its memory is the waiter's. */
struct context_waiter {
    struct context_waiter *next, *prev;
    struct loam_context *ctx; /* const while registered; NULL: not registered */
    void (*fn)(struct context_waiter *w);
    bool linked, on_goroutine;
};

/* Registers w: fn(w), not NULL, is called once when ctx is done. ctx may be NULL. Returns 0, also
 * for a context that never can be done; what loam_context_err says, and nothing registered, if it
 * is done already. Keeps the context's memory until context_wait_end. */
int context_wait_begin(struct loam_context *ctx, struct context_waiter *w,
                       void (*fn)(struct context_waiter *w));

/* Ends what context_wait_begin began, after an error too. True if fn was called (and returned). */
bool context_wait_end(struct context_waiter *w);

/* For threads that watch a deadline by themselves, which works without a running runtime: the
 * deadline of ctx has passed, so it is done. */
void context_expire(struct loam_context *ctx);

/* What loam_context_err says, without a look at the clock; neither switches nor cancels. */
int context_err(struct loam_context *ctx);

/* True if the context can ever be done. NULL is the root, which cannot. */
bool context_cancellable(const struct loam_context *ctx);

/* A context's memory: one more holder, one less. NULL and the root are allowed. */
void context_ref(struct loam_context *ctx);
void context_unref(struct loam_context *ctx);

#endif
