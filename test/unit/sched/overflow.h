/* For tests of overflowing stacks: a goroutine that overflows its own, and kernels as they were before
 * they could guard stacks without a map each. */
#ifndef TEST_OVERFLOW_H
#define TEST_OVERFLOW_H

#include "../../child.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define noinline __attribute__((noinline))

static struct outcome o;

/* ---- Kernels --------------------------------------------------------------------------------------- */

static struct kernel {
    const char *name;  /* the test's argument */
    const char *debug; /* LOAMDEBUG */
    bool old;          /* before Linux 6.3: no guard markers, no MFD_NOEXEC_SEAL */
    bool no_memfd;     /* and a sandbox that refuses that */
} kernels[] = {
    {"now", NULL, false, false},
    {"setting", "stackguard=1", false, false},
    {"old", NULL, true, false},
    {"older", NULL, true, true},
};
static const struct kernel *kernel = &kernels[0];

/* From now on this process has the kernel that was asked for. */
static void be_old(void)
{
    enum { GUARD_INSTALL = 102, NOEXEC_SEAL = 8 };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GUARD_INSTALL, 0, 4),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kernel->no_memfd ? ~0u : NOEXEC_SEAL, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        _exit(77);
}

static void start_procs(int procs)
{
    if (kernel->old)
        be_old();
    struct loam_config config = {.maxprocs = procs, .debug = kernel->debug};
    if (loam_start(&config) != 0)
        FAIL("loam_start: %s", loam_error_text());
}

static void only_be_old(void *arg)
{
    (void)arg;
    be_old();
}

static void choose_kernel(const char *name)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i].name, name) == 0)
            kernel = &kernels[i];
    CHECK(strcmp(kernel->name, name) == 0);
    in_child(&o, only_be_old, NULL);
    if (kernel->old && o.exit == 77) {
        fprintf(stderr, "filters of system calls are not to be had here\n");
        exit(77);
    }
}

/* ---- A way to overflow ------------------------------------------------------------------------------ */

static volatile unsigned sink;
static volatile unsigned end = 1u << 31; /* never reached */

/* TSan holds 65,536 frames: not so small that they would end before the main goroutine's stack. */
enum { FRAME = 400 };

static noinline unsigned recurse(unsigned n)
{
    volatile unsigned char frame[FRAME];
    frame[n % FRAME] = (unsigned char)n;
    unsigned below = n < end ? recurse(n + 1) : 0;
    return below + frame[n % FRAME]; /* no tail call */
}

static noinline void recurses(void *arg)
{
    (void)arg;
    sink = recurse(0);
}

#endif
