/* Groups: goroutines that are waited for together, of which the first error counts and cancels the
 * rest (golang.org/x/sync/errgroup, with nothing left behind). */
#ifndef LOAM_GROUP_H
#define LOAM_GROUP_H

#include <loam/base.h>
#include <loam/context.h>

LOAM_BEGIN_DECLS

struct loam_group;

/* Makes a group under parent (NULL: the root). NULL: no memory. */
LOAM_API struct loam_group *loam_group_new(struct loam_context *parent);

/* The group's context: done after the first error, after wait, or when the parent is. Owned by the
 * group. */
LOAM_API struct loam_context *loam_group_context(struct loam_group *g);

/* At most n goroutines of the group at once; n <= 0: no limit. Set it before the first go. Errors:
 * -EBUSY goroutines are running. */
LOAM_API int loam_group_set_limit(struct loam_group *g, int n);

/* Starts fn(ctx, arg) in the group; parks while the limit is reached. fn returns 0 or -errno; the
 * first error cancels the context. Errors as of loam_go; the error of a start that failed is the
 * group's too. */
LOAM_API int loam_group_go(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg),
                           void *arg);

/* The same if that needs no waiting, else -EAGAIN. */
LOAM_API int loam_group_try_go(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg),
                               void *arg);

/* Parks until all have ended; returns the first error or 0. The group may be used again. */
LOAM_API int loam_group_wait(struct loam_group *g);

/* Cancels, waits for all (parks), frees. NULL is allowed. */
LOAM_API void loam_group_free(struct loam_group *g);

LOAM_END_DECLS

#endif
