/* The contract with the operating system: everything that the runtime asks of it, in one place.
 *
 * All functions return -errno on failure and leave errno as it was; none switches goroutine. The
 * folder of the system that the build chose implements them. */
#ifndef OS_OS_H
#define OS_OS_H

#include "base/base.h"

#include <signal.h>

/* ---- Memory (memory.c) --------------------------------------------------------------------- */

/* Zeroed memory, committed on first touch, not counted against overcommit. Named in /proc/.../maps
 * where the kernel can. NULL: none to be had. */
void *os_mem_map(size_t size, const char *name);
void os_mem_unmap(void *p, size_t size);
/* The same without huge pages, aligned to `align`. */
void *os_mem_map_small_pages(size_t size, size_t align, const char *name);
/* The same on huge pages where the system has them for who asks. */
void *os_mem_map_huge_pages(size_t size, size_t align, const char *name);
/* What was not touched yet of such a map comes on small pages. */
void os_mem_no_huge_pages(void *p, size_t size);
/* Commits [p, p+size) at once, which is cheaper than fault by fault, where the kernel can (5.14): a hint. */
void os_mem_populate(void *p, size_t size);
/* Gives the pages of [p, p+size) back: they are zero when they are touched again. */
void os_mem_give_back(void *p, size_t size);
/* The same for a whole map of os_mem_map_small_pages or a part of it, with page tables and guards: as if
 * it were mapped anew, readable all the time. False: nothing has changed. */
bool os_mem_renew(void *p, size_t size, const char *name);
/* Makes [p, p+size) fault on access, by guard markers, which cost no map (kernel 6.13); -EINVAL:
 * there are none. */
int os_mem_guard(void *p, size_t size);
/* os_mem_map_small_pages of n slots of size bytes each, of which the first `guard` bytes fault on
 * access (SIGBUS or SIGSEGV), without guard markers: a map a slot. All or nothing. */
void *os_mem_map_slots(size_t size, size_t n, size_t guard, size_t align, const char *name);
/* os_mem_map whose bytes are zero in a forked child. */
void *os_mem_map_wiped_on_fork(size_t size);

/* ---- Forked children (fork.c) -------------------------------------------------------------- */

/* A page of the library's own data that the kernel clears in a forked child while the guard is on:
 * so a child is told from its parent by a load. */
union os_fork_page {
    struct {
        uint32_t alive;   /* atomic: for the scheduler */
        uint32_t guarded; /* 1 here while the guard is on */
    };
    char page[4096];
};
extern union os_fork_page os_fork_page;
void os_fork_guard(bool on);
/* In a child of a process whose guard was on. */
bool os_forked(void);

/* ---- Threads (thread.c) -------------------------------------------------------------------- */

/* Starts a thread whose signal mask is *mask (NULL: the caller's). stack_size 0: the default.
 * *handle is set before fn is called. The caller takes no signal meanwhile. */
int os_thread_start(void (*fn)(void *), void *arg, const char *name, size_t stack_size,
                    const sigset_t *mask, uintptr_t *handle);
/* Waits for its end. */
void os_thread_join(uintptr_t handle);
/* True if the thread has ended; it is joined then. Never waits. */
bool os_thread_try_join(uintptr_t handle);
int os_gettid(void);
int os_getpid(void);
/* Sends a signal to one thread of this process. */
int os_tgkill(int tid, int sig);
/* The same with si_code SI_QUEUE and the mark in si_ptr. */
int os_tgkill_marked(int tid, int sig, void *mark);
/* One letter as in /proc/PID/stat: R running, S asleep, D disk, ...; '?' unknown. */
char os_thread_state(int tid);
/* The executable part of the module around an address; false: none is known there. */
bool os_code_around(uintptr_t pc, uintptr_t *lo, uintptr_t *hi);
/* The loader's function that finds the thread-locals of shared libraries. */
uintptr_t os_tls_function(void);
/* How many threads this process has; -errno. */
int os_thread_count(void);
/* CPUs of the affinity mask, at most what the cgroup's quota pays for (rounded up, 2 at least where
 * the mask has 2, as Go 1.25 does); -errno if that cannot be found out at the moment. */
int os_cpu_count(void);
/* Is it for want of descriptors or memory, so that the same may succeed another time? */
bool os_transient(int err);
/* The lowest and highest address of the calling thread's stack, without its guard. */
void os_thread_stack(uintptr_t *lo, uintptr_t *hi);
/* Timers of this thread are exact to 1 ns instead of 50 us. Returns the former slack. */
int64_t os_timer_slack(int64_t ns);

/* ---- Waiting (futex.c) --------------------------------------------------------------------- */

/* Sleeps while *addr == val, at most ns (< 0: for ever); may return early. */
void os_futex_wait(uint32_t *addr, uint32_t val, int64_t ns);
/* Wakes at most n sleepers. */
void os_futex_wake(uint32_t *addr, int n);
/* Once os_barrier_register returned 0, os_barrier_all makes every thread of the process pass a full memory
 * barrier between its call and its return, wherever that thread is. Linux 4.14; -ENOSYS and others: there is
 * no such thing; of the latter -ENOMEM: not now. */
int os_barrier_register(void);
int os_barrier_all(void);
void os_usleep(unsigned us);
void os_yield(void);

/* ---- Clock (clock.c) ----------------------------------------------------------------------- */

int64_t os_nanotime(void); /* monotonic */
/* The same without libc_enter: a loop of the program's that only looks at the clock can be preempted. */
int64_t os_nanotime_open(void);
/* When ns from now are over; INT64_MAX, which never comes: ns < 0, or too far away. */
int64_t os_deadline(int64_t ns);

/* ---- Signals (signal.c) -------------------------------------------------------------------- */

typedef void os_handler(int sig, siginfo_t *info, void *ucontext);
/* Installs a handler on the alternate stack, with SA_RESTART, if the disposition is the default;
 * -EEXIST if the program has one of its own. */
int os_signal_install(int sig, os_handler *fn);
/* Puts the default back if ours is still installed. */
void os_signal_remove(int sig, os_handler *fn);
/* A handler that stands before the program's own, whatever that is, and hands on what is not meant for it. */
struct os_front {
    int sig;
    os_handler *fn;
    bool
        as_theirs; /* with the flags and the mask of theirs, else with all signals blocked, SA_RESTART */
    /* The rest is signal.c's. */
    struct sigaction theirs; /* busy */
    uint32_t busy;           /* atomic: somebody changes the disposition */
    /* Of `theirs` what the handler needs. One that runs while the program changes its own calls the one
     * before or the one after. */
    os_handler *action;   /* atomic: takes three arguments, or NULL */
    void (*handler)(int); /* atomic: takes one, or SIG_DFL or SIG_IGN */
};
/* On the alternate stack. -errno. */
int os_front_install(struct os_front *f);
/* Puts it in front again if the program has installed another since. */
void os_front_keep(struct os_front *f);
/* Puts theirs back if ours is still installed; false: the program has another now. */
bool os_front_remove(struct os_front *f);
/* In the handler: does what theirs would do. It may return, and then so must the handler. */
void os_front_pass_on(struct os_front *f, siginfo_t *info, void *ucontext);
/* The kernel found it while the thread ran the instruction at hand: nobody sent it. */
bool os_signal_is_fault(const siginfo_t *info);
/* In a handler that leaves its frames on the alternate stack and sleeps on another, where this is called:
 * from here to its return, which undoes it, the thread has no alternate stack, so that nobody writes over
 * those frames, and lets in libc's own signals alone, by which setuid reaches every thread and waits for
 * it. */
void os_handler_sleeps(void);
/* The address that handlers return to, which libc gives to the kernel: as of the installed handler. 0:
 * not known. */
uintptr_t os_signal_return(int sig);
/* libc's sigaction, and the kernel's sigaltstack, whatever the program has put in their places. */
int os_sigaction(int sig, const struct sigaction *act, struct sigaction *old);
int os_sigaltstack(const stack_t *set, stack_t *old);
/* Puts the handlers that are installed for these signals on the alternate stack, libc's own ones too. */
void os_signal_on_altstack(int first, int last);
/* Gives the calling thread an alternate signal stack unless it has one; the size in bytes of what
 * was mapped into *size, NULL if it had one. */
void *os_altstack_set(size_t *size);
bool os_altstack_is_set(void);
/* Makes what os_altstack_set gave the alternate stack again: 0, or -1 and errno. */
int os_altstack_restore(const void *stack, stack_t *old);
void os_altstack_clear(void *stack, size_t size);

#endif
