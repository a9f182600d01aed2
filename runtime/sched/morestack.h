/* Stacks that grow, inside the scheduler: morestack.c and gsmall.c. */
#ifndef SCHED_MORESTACK_H
#define SCHED_MORESTACK_H

#include "sched/sched_int.h"

#include <signal.h>

/* ---- morestack.c ----------------------------------------------------------------------------------- */

/* Memory of alloca, and where its caller's stack pointer goes. */
struct morestack_memory {
    void *p;
    uintptr_t sp;
};
/* What morestack.S calls, on the thread's own stack. */
void morestack_grow(size_t frame, size_t arguments, uintptr_t sp);
void morestack_found(uintptr_t sp);
struct morestack_memory morestack_alloca(size_t size, uintptr_t sp, uintptr_t fp);
void morestack_free_blocks(struct segment *seg);
void morestack_big_get(void);
void morestack_big_put(struct segment *big);
void morestack_big_left(struct segment *big);

/* A segment of a power of two of bytes; NULL with a noted text. On the system stack. *source: the enum
 * stack_source that it came from. */
struct segment *segment_new(struct m *mp, size_t size, int *source);
/* Back to the allocator, with its memory of alloca; a hook of a switch may. gp: whose it is, NULL if that
 * has ended. */
void segment_free(struct m *mp, struct g *gp, struct segment *seg);
/* All behind seg. */
void segments_free_next(struct m *mp, struct g *gp, struct segment *seg);
/* A big one, on which nobody runs, becomes everybody's. */
void big_put(struct m *mp, struct g *gp, struct segment *big);
/* The thread's big segments become everybody's. */
void bigs_release(struct m *mp);
/* Gives back what the calling goroutine's stack does not use. */
void morestack_trim(struct g *gp);

/* ---- gsmall.c -------------------------------------------------------------------------------------- */

/* Whether the program has such code: it was built with small stacks. */
static always_inline bool stacks_grow(void)
{
    return morestack_text_lo != morestack_text_hi;
}

/* Whether fn is registered: compiled with -fsplit-stack, by `loam build --stack=small`. */
static always_inline bool grows(uintptr_t fn)
{
    return fn - morestack_text_lo < morestack_text_hi - morestack_text_lo;
}

/* A dead G with a stack that grows, whose first segment has room for so many bytes beside its frames:
 * 0 or -errno with a noted text. pp may be NULL. */
int gsmall_get(struct p *pp, size_t room, struct g **out);
/* In a hook of the switch away from it. */
void gsmall_put(struct m *mp, struct g *gp);
/* n of those that a P kept go where others find them, without their stacks: its owner, or, while it is
 * idle, whoever has sched.lock. */
void gsmall_retire_locked(struct p *pp, int n);
/* Its memory may become another goroutine's: it is dead, on no list, and not on allg. */
void gsmall_bury(struct g *gp);
/* At shutdown. */
void gsmall_fini(void);

/* ---- splitsignal.c --------------------------------------------------------------------------------- */

/* The program's sigaction, signal, ...: what libc's do, but that handlers run on the alternate stack. */
int __morestack_sigaction(int sig, const struct sigaction *act, struct sigaction *old);
void (*__morestack_signal(int sig, void (*fn)(int)))(int);
void (*__morestack_sysv_signal(int sig, void (*fn)(int)))(int);
void (*__morestack_sigset(int sig, void (*fn)(int)))(int);
int __morestack_siginterrupt(int sig, int on);
int __morestack_sigaltstack(const stack_t *set, stack_t *old);
/* At start: handlers that are installed by then. */
void splitsignal_start(void);

#endif
