/* Contexts: cancellation, deadlines and values along a tree of calls, as Go's package context.
 *
 * A context is owned by whoever made it and ended with loam_context_free, which also cancels it. A
 * context lives on inside its children: parents and children may be freed in any order. All
 * functions may be called from any thread, those that wait excepted. */
#ifndef LOAM_CONTEXT_H
#define LOAM_CONTEXT_H

#include <loam/base.h>
#include <loam/chan.h>

LOAM_BEGIN_DECLS

struct loam_context;

/* The root: never cancelled, no deadline, no values. One static object; free is a no-op. */
LOAM_API struct loam_context *loam_context_background(void);

/* A child that is done when cancelled or when parent is. parent NULL: the root. NULL: no memory. */
LOAM_API struct loam_context *loam_context_with_cancel(struct loam_context *parent);

/* A child that is also done at the time `when` of loam_now(). */
LOAM_API struct loam_context *loam_context_with_deadline(struct loam_context *parent, int64_t when);

/* A child that is also done after ns. */
LOAM_API struct loam_context *loam_context_with_timeout(struct loam_context *parent, int64_t ns);

/* A child in which key (compared by address) has the value; neither is owned. */
LOAM_API struct loam_context *loam_context_with_value(struct loam_context *parent, const void *key,
                                                      void *value);

/* Cancels it and its descendants; the first cause (a -errno, 0: -ECANCELED) stays. */
LOAM_API void loam_context_cancel(struct loam_context *ctx, int cause);

/* A channel that is closed when the context is done; NULL (waits for ever) for one that never can
 * be. Owned by the context. */
LOAM_API loam_chan(char) loam_context_done(struct loam_context *ctx);

/* 0 while not done; then -ECANCELED (Go's Canceled) or -ETIMEDOUT (DeadlineExceeded). */
LOAM_API int loam_context_err(struct loam_context *ctx);

/* 0 while not done; then the cause given to cancel, or what loam_context_err says. */
LOAM_API int loam_context_cause(struct loam_context *ctx);

/* True and *when set if it has a deadline. */
LOAM_API bool loam_context_deadline(struct loam_context *ctx, int64_t *when);

/* The value under key in ctx or its nearest ancestor that has one; NULL otherwise. */
LOAM_API void *loam_context_value(struct loam_context *ctx, const void *key);

/* Parks for ns or until ctx is done: 0 slept, else loam_context_err. */
LOAM_API int loam_context_sleep(struct loam_context *ctx, int64_t ns);

/* A function to be called when a context is done. */
struct loam_context_after;

/* Starts fn(arg) on a goroutine once ctx is done (at once if it is). NULL: no memory. */
LOAM_API struct loam_context_after *loam_context_after_func(struct loam_context *ctx,
                                                            void (*fn)(void *), void *arg);
/* True if that kept fn from being started. Frees a in any case. */
LOAM_API bool loam_context_after_stop(struct loam_context_after *a);

/* Cancels and frees it. NULL and the root are allowed. */
LOAM_API void loam_context_free(struct loam_context *ctx);

LOAM_END_DECLS

#endif
