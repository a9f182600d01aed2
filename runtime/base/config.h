/* Sizes that a torture build shrinks, so that rare paths become common ones. */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#if LOAM_TORTURE
#define RUNQ_SIZE 4         /* local run queue: overflows to the global one all the time */
#define RUNQ_BATCH 2        /* how many go there at once */
#define GFREE_LOCAL_MAX 2   /* free goroutines a P keeps */
#define GOID_BATCH 1        /* goroutine numbers a P takes at once */
#define SCHED_TICK_GLOBAL 3 /* how often the global queue is looked at first */
#else
#define RUNQ_SIZE 1024
#define RUNQ_BATCH 128
#define GFREE_LOCAL_MAX 1024
#define GOID_BATCH 16
#define SCHED_TICK_GLOBAL 61
#endif

#define STACK_SLOT (256u << 10) /* the smallest; the others are powers of two above it */
#define STACK_GUARD (64u << 10) /* at its low end */
#define STACK_TOP 4096u /* at its high end: struct g at one of 32 offsets, the first frames */
#define STACK_DEFAULT (STACK_SLOT - STACK_GUARD - STACK_TOP)
/* What the library needs of the calling goroutine's stack, at most: a goroutine with one byte more than
 * that left may call every public function, and be switched to. Nothing asks at run time, so that the
 * gate `slack` compares it with the deepest chain of calls. Less than the guard: no call of the library
 * steps over it. Sanitizers and checks take more. */
#if LOAM_DEBUG_CHECKS
#define STACK_SLACK (32u << 10)
#else
#define STACK_SLACK (8u << 10)
#endif
#define STACK_MAX (1u << 30)
#define STACK_MAIN (8u << 20) /* the main goroutine gets what a main thread has */
/* Small stacks: see arch/segment.h. */
#if LOAM_DEBUG_CHECKS
#define STACK_FIRST 8192 /* checks and unoptimised code need more slack */
#define SEGMENT_SLACK 4096
#else
#define STACK_FIRST 2048
#define SEGMENT_SLACK 1024
#endif
#define STACK_BIG 192512       /* STACK_DEFAULT, for the assembler: what a big segment counts as */
#define STACK_FOREIGN 98304    /* what foreign code finds at least */
#define STACK_ARGUMENTS 65536  /* most that a call of foreign code may take on the stack */
#define STACK_LIMIT 1000000000 /* of one goroutine, unless set otherwise; Go's */
#define MAX_PROCS 1024
#define MAX_THREADS_DEFAULT 10000
#define LOCAL_KEYS 128

#endif
