/* Groups: goroutines that are waited for together, of which the first error counts and cancels the
 * rest (golang.org/x/sync/errgroup, with nothing left behind). */
#ifndef LOAM_GROUP_H
#define LOAM_GROUP_H

#include <loam/base.h>
#include <loam/context.h>

LOAM_BEGIN_DECLS

/* Goroutines that are waited for together; made by loam_group_new. */
struct loam_group;

/* Makes a group whose context is a child of parent (NULL: the root). NULL: no memory.
 *
 * The program owns it: loam_group_free. */
LOAM_API struct loam_group *loam_group_new(struct loam_context *parent);

/* The group's context: done after the first error, after wait, or when the parent is.
 *
 * Owned by the group. The first loam_group_go after a wait begins with a new one. */
LOAM_API struct loam_context *loam_group_context(struct loam_group *g);

/* Limits the group to n goroutines at once; n <= 0: no limit. Errors: -EBUSY goroutines of it are
 * running. */
LOAM_API int loam_group_set_limit(struct loam_group *g, int n);

/* Starts fn(ctx, arg) on a goroutine of the group; parks while the limit is reached.
 *
 * ctx is the group's context. fn returns 0 or -errno; the first error cancels the context. A member
 * that ends by loam_goexit has ended without an error. Members may start others. The error of a
 * start that failed is the group's too. NULL fn is Go's fatal error "go of nil func value". Errors as of
 * loam_go. */
LOAM_API int loam_group_go(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg),
                           void *arg);

/* Does what loam_group_go does if the limit is not reached, else returns -EAGAIN. Never parks. */
LOAM_API int loam_group_try_go(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg),
                               void *arg);

/* Waits until all goroutines of the group have ended (parks); returns the first error, or 0.
 *
 * The group may be used again, as if new. */
LOAM_API int loam_group_wait(struct loam_group *g);

/* Cancels the group, waits for all its goroutines (parks), frees it. NULL is allowed. */
LOAM_API void loam_group_free(struct loam_group *g);

LOAM_END_DECLS

#endif
