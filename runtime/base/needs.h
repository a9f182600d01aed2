/* What base/ needs from the floors above; the linker binds it. */
#ifndef BASE_NEEDS_H
#define BASE_NEEDS_H

/* sched/: prints the dying goroutine and, where that is wanted, all others; writes out the event
 * trace. On whatever stack and thread; no malloc. */
void throw_traceback(int fd);

/* sched/: runs fn(arg) where there is room for it: not on a goroutine's small stack. The second is for
 * throw alone. */
void systemstack(void (*fn)(void *), void *arg);
void throw_systemstack(void (*die)(void *), void *arg);

#endif
