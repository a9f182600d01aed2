/* Threads, CPUs and what /proc and cgroups say of them. */
#include "os/os.h"

#include "arch/arch.h"
#include "base/atomic.h"
#include "base/print.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct start {
    void (*fn)(void *);
    void *arg;
    uintptr_t *handle;
    sigset_t mask;
    char name[16];
};

static void *thread_main(void *p)
{
    struct start s = *(struct start *)p;
    free(p);
    /* relaxed: the same value as the creator stores, maybe later; whoever met this thread shall find
     * it there */
    store_relaxed(s.handle, (uintptr_t)pthread_self());
    (void)prctl(PR_SET_NAME, s.name, 0L, 0L, 0L);
    pthread_sigmask(SIG_SETMASK, &s.mask, NULL);
    s.fn(s.arg);
    return NULL;
}

int os_thread_start(void (*fn)(void *), void *arg, const char *name, size_t stack_size,
                    const sigset_t *mask, uintptr_t *handle)
{
    struct thread *t = libc_enter();
    int saved = errno;
    struct start *s = malloc(sizeof *s);
    if (s == NULL) {
        errno = saved;
        libc_leave(t);
        return -ENOMEM;
    }
    *s = (struct start){.fn = fn, .arg = arg, .handle = handle};
    print_buf(s->name, sizeof s->name, "%s", name);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    int err = 0;
    if (stack_size != 0)
        err = pthread_attr_setstacksize(&attr, stack_size);
    /* The new thread inherits the mask and must not take a signal before it has its own; the calling
     * thread, which may be one of the program's or sysmon, must not take any that it blocks. So
     * nothing is delivered to either meanwhile, and the new thread sets its mask itself. */
    sigset_t all, former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    s->mask = mask != NULL ? *mask : former;
    pthread_t thread;
    if (err == 0)
        err = pthread_create(&thread, &attr, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    pthread_attr_destroy(&attr);
    if (err == 0)
        store_relaxed(handle, (uintptr_t)thread);
    else
        free(s);
    errno = saved;
    libc_leave(t);
    return -err;
}

void os_thread_join(uintptr_t handle)
{
    pthread_join((pthread_t)handle, NULL);
}

bool os_thread_try_join(uintptr_t handle)
{
    return pthread_tryjoin_np((pthread_t)handle, NULL) == 0;
}

int os_gettid(void)
{
    return (int)syscall(SYS_gettid);
}

int os_getpid(void)
{
    return (int)getpid();
}

int os_tgkill(int tid, int sig)
{
    struct thread *t = libc_enter();
    int saved = errno;
    int err = syscall(SYS_tgkill, getpid(), tid, sig) != 0 ? -errno : 0;
    errno = saved;
    libc_leave(t);
    return err;
}

int os_tgkill_marked(int tid, int sig, void *mark)
{
    struct thread *t = libc_enter();
    int saved = errno;
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sig;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_ptr = mark;
    int err = syscall(SYS_rt_tgsigqueueinfo, info.si_pid, tid, sig, &info) != 0 ? -errno : 0;
    errno = saved;
    libc_leave(t);
    return err;
}

/* Reads a small file, terminated; its length or -errno. */
static ssize_t slurp(const char *path, char *buf, size_t cap)
{
    int saved = errno;
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, buf, cap - 1);
        close(fd);
    }
    n = n < 0 ? -errno : n;
    buf[n > 0 ? n : 0] = '\0';
    errno = saved;
    return n;
}

char os_thread_state(int tid)
{
    char path[64], buf[256];
    print_buf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    if (slurp(path, buf, sizeof buf) <= 0)
        return '?';
    const char *end = strrchr(buf, ')'); /* the name may hold anything, parentheses too */
    return end != NULL && end[1] == ' ' && end[2] != '\0' ? end[2] : '?';
}

int os_thread_count(void)
{
    int saved = errno;
    struct stat st;
    int n = -ENOENT;
    /* The links of a directory are two and one for each directory in it. No descriptor is needed, nor a
     * buffer that a long line of the process's status file could exceed. */
    if (stat("/proc/self/task", &st) == 0 && st.st_nlink > 2)
        n = (int)st.st_nlink - 2;
    errno = saved;
    return n;
}

/* Lowers *cpus to quota/period, rounded up, not below 2 (Go 1.25's rule: at 1 the collector and the
 * program could only take turns). */
static void apply_quota(int64_t quota, int64_t period, int *cpus)
{
    if (quota <= 0 || period <= 0)
        return;
    int64_t n = (quota + period - 1) / period;
    if (n < 2)
        n = 2;
    if (n < *cpus)
        *cpus = (int)n;
}

/* Reads a file about limits: missing where there is none, closed to us in some sandboxes. Its length;
 * 0: no limit that we could know of; -errno: another time perhaps. */
static ssize_t slurp_limit(const char *path, char *buf, size_t cap)
{
    ssize_t n = slurp(path, buf, cap);
    return n >= 0 || os_transient((int)-n) ? n : 0;
}

static int cgroup2_quota(char *path, size_t root, int *cpus)
{
    /* a parent's limit binds its children: walk up to the root */
    for (;;) {
        char file[600], buf[64];
        print_buf(file, sizeof file, "%s/cpu.max", path);
        ssize_t n = slurp_limit(file, buf, sizeof buf);
        if (n < 0)
            return (int)n;
        if (n > 0 && strncmp(buf, "max", 3) != 0) {
            char *end;
            long long quota = strtoll(buf, &end, 10);
            apply_quota(quota, strtoll(end, NULL, 10), cpus);
        }
        char *slash = strrchr(path + root, '/');
        if (slash == NULL)
            return 0;
        *slash = '\0';
    }
}

static int cgroup1_quota(const char *dir, int *cpus)
{
    char file[600], quota[32], period[32];
    print_buf(file, sizeof file, "%s/cpu.cfs_quota_us", dir);
    ssize_t n = slurp_limit(file, quota, sizeof quota);
    if (n <= 0)
        return (int)n;
    print_buf(file, sizeof file, "%s/cpu.cfs_period_us", dir);
    n = slurp_limit(file, period, sizeof period);
    if (n <= 0)
        return (int)n;
    apply_quota(strtoll(quota, NULL, 10), strtoll(period, NULL, 10), cpus);
    return 0;
}

/* A line of /proc/self/cgroup. */
static int cgroup_quota(const char *line, int *cpus)
{
    char dir[512];
    if (strncmp(line, "0::", 3) == 0) {
        static const char root[] = "/sys/fs/cgroup";
        print_buf(dir, sizeof dir, "%s%s", root, line[3] == '/' && !line[4] ? "" : line + 3);
        return cgroup2_quota(dir, sizeof root - 1, cpus);
    }
    const char *controllers = strchr(line, ':');
    const char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL || memmem(controllers, (size_t)(path - controllers), "cpu", 3) == NULL)
        return 0;
    /* inside a container the path of the host is not mounted: the root is ours */
    print_buf(dir, sizeof dir, "/sys/fs/cgroup/cpu%s", path + 1);
    int err = cgroup1_quota(dir, cpus);
    return err != 0 ? err : cgroup1_quota("/sys/fs/cgroup/cpu", cpus);
}

struct around {
    uintptr_t pc, lo, hi;
};

static int look_around(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct around *a = arg;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t lo = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        uintptr_t hi = lo + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && a->pc >= lo && a->pc < hi) {
            a->lo = lo;
            a->hi = hi;
            return 1;
        }
    }
    return 0;
}

bool os_code_around(uintptr_t pc, uintptr_t *lo, uintptr_t *hi)
{
    struct around a = {.pc = pc};
    bool found = dl_iterate_phdr(look_around, &a) != 0;
    *lo = a.lo;
    *hi = a.hi;
    return found;
}

extern void *__tls_get_addr(void *) __attribute__((weak)); /* static programs have none */

uintptr_t os_tls_function(void)
{
    return (uintptr_t)__tls_get_addr;
}

bool os_transient(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == EINTR;
}

int os_cpu_count(void)
{
    int saved = errno;
    unsigned long set[4096 / (8 * sizeof(long))]; /* not by CPU_ALLOC, which can fail */
    int cpus = sched_getaffinity(0, sizeof set, (cpu_set_t *)set) != 0
                   ? -errno
                   : CPU_COUNT_S(sizeof set, (cpu_set_t *)set);
    enum { BUF_SIZE = 4096 };
    char *buf =
        os_mem_map(BUF_SIZE, "loam cgroups"); /* a goroutine may not have so much stack left */
    ssize_t n = buf != NULL ? slurp_limit("/proc/self/cgroup", buf, BUF_SIZE) : -ENOMEM;
    int err = n < 0 ? (int)n : 0;
    char *save = NULL;
    for (char *line = err == 0 ? strtok_r(buf, "\n", &save) : NULL; line != NULL && err == 0;
         line = strtok_r(NULL, "\n", &save))
        err = cgroup_quota(line, &cpus);
    os_mem_unmap(buf, BUF_SIZE);
    errno = saved;
    return err != 0 ? err : cpus;
}

void os_thread_stack(uintptr_t *lo, uintptr_t *hi)
{
    pthread_attr_t attr;
    void *addr = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &addr, &size);
        pthread_attr_destroy(&attr);
    }
    *lo = (uintptr_t)addr;
    *hi = (uintptr_t)addr + size;
}

int64_t os_timer_slack(int64_t ns)
{
    int saved = errno;
    int former = prctl(PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L);
    (void)prctl(PR_SET_TIMERSLACK, (unsigned long)ns, 0L, 0L, 0L);
    errno = saved;
    return former;
}
