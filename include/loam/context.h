/* Contexts: cancellation, deadlines and values along a tree of calls, as Go's package context.
 *
 * A context is owned by whoever made it and ended with loam_context_free, which also cancels it. A
 * context lives on inside its children: parents and children may be freed in any order. It may be
 * freed as soon as it is seen to be done, also while the call of loam_context_cancel that ended it has
 * yet to return. Who waits on a context by loam_context_sleep, loam_semaphore_acquire or
 * loam_pool_call is woken when it is freed; on its channel nobody may wait then. NULL stands for the
 * root everywhere. All functions may be called from any thread; on a foreign thread
 * loam_context_sleep blocks. Functions that make a context return NULL if there is no memory; one with
 * a deadline needs the runtime started. */
#ifndef LOAM_CONTEXT_H
#define LOAM_CONTEXT_H

#include <loam/base.h>
#include <loam/chan.h>

LOAM_BEGIN_DECLS

struct loam_context;

/* The root of all contexts: never cancelled, no deadline, no values.
 *
 * One static object, which need not be freed. */
LOAM_API struct loam_context *loam_context_background(void);

/* Makes a child that is done when it is cancelled or parent is done.
 *
 * The program owns it: loam_context_free. parent NULL: the root. NULL: no memory. */
LOAM_API struct loam_context *loam_context_with_cancel(struct loam_context *parent);

/* Makes a child that is also done at the time `when` of loam_now(); at once if that has passed.
 *
 * A parent's earlier deadline holds. For the rest see loam_context_with_cancel. */
LOAM_API struct loam_context *loam_context_with_deadline(struct loam_context *parent, int64_t when);

/* Makes a child that is also done after ns: loam_context_with_deadline from now. */
LOAM_API struct loam_context *loam_context_with_timeout(struct loam_context *parent, int64_t ns);

/* Makes a child in which key (compared by address) has the value; neither is owned.
 *
 * For the rest see loam_context_with_cancel. */
LOAM_API struct loam_context *loam_context_with_value(struct loam_context *parent, const void *key,
                                                      void *value);

/* Cancels a context and its descendants; the first cause (a -errno, 0: -ECANCELED) stays.
 *
 * One that is done already is left as it is. When it returns all are done, except those that
 * another thread is cancelling at the same time. */
LOAM_API void loam_context_cancel(struct loam_context *ctx, int cause);

/* A channel that is closed when the context is done, to receive from or to select on.
 *
 * NULL, on which a receive waits for ever, for the root. Owned by the context. Without memory to make
 * it: a fatal error. */
LOAM_API loam_chan(char) loam_context_done(struct loam_context *ctx);

/* Whether the context is done: 0 not; else -ECANCELED (Go's Canceled) or -ETIMEDOUT
 * (DeadlineExceeded).
 *
 * It looks at the deadline itself. A goroutine whose turn is over gives way: a loop that computes and
 * asks this between its steps needs no loam_yield. */
LOAM_API int loam_context_err(struct loam_context *ctx);

/* Why the context is done: 0 it is not; else the cause given to loam_context_cancel, or what
 * loam_context_err says. Gives way as that does. */
LOAM_API int loam_context_cause(struct loam_context *ctx);

/* Whether the context has a deadline, its own or an ancestor's: true, and *when is set. */
LOAM_API bool loam_context_deadline(struct loam_context *ctx, int64_t *when);

/* The value under key in ctx or its nearest ancestor that has one; NULL otherwise. */
LOAM_API void *loam_context_value(struct loam_context *ctx, const void *key);

/* Parks for ns or until ctx is done: 0 slept, else what loam_context_err says; -ENOMEM. */
LOAM_API int loam_context_sleep(struct loam_context *ctx, int64_t ns);

/* A function to be called when a context is done; made by loam_context_after_func. */
struct loam_context_after;

/* Starts fn(arg) on a goroutine once ctx is done (at once if it is): Go's context.AfterFunc.
 *
 * End it with loam_context_after_stop, also after fn was started. NULL: no memory, or ctx is done and
 * no goroutine can be started. NULL fn is Go's fatal error "go of nil func value". */
LOAM_API struct loam_context_after *loam_context_after_func(struct loam_context *ctx,
                                                            void (*fn)(void *), void *arg);
/* Undoes loam_context_after_func: true if that kept fn from being started. Frees a in any case. */
LOAM_API bool loam_context_after_stop(struct loam_context_after *a);

/* Cancels a context and frees it. NULL and the root are allowed. */
LOAM_API void loam_context_free(struct loam_context *ctx);

LOAM_END_DECLS

#endif
