/* What libraries do to stacks of 2 KB, in the library of library.h: linked, or, with the path in argv[1],
 * opened. Each line printed is a thing that was right. argv[2] is for nothing but one thing that ends the program:
 * "elsewhere", a callback on a stack of the library's, from which there is no way to another; "overflow", of the
 * stack that the library runs on, after it has put the handler back that it found for that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <loam.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "library.h"

static const struct library *lib;

/* The stack is as it was left after fn has run: fn may stand anywhere on a segment. */
static int (*at_bottom)(void);
__attribute__((noipa)) static int sink(int n)
{
    volatile char b[48];
    memset((char *)b, n, sizeof b);
    int r = n == 0 ? at_bottom() : sink(n - 1);
    for (size_t i = 0; i < sizeof b; i++)
        r &= b[i] == (char)n;
    return r;
}

static int everywhere(int (*fn)(void))
{
    at_bottom = fn;
    for (int n = 0; n < 40; n++)
        if (!sink(n))
            return 0;
    return 1;
}

static int way;
static int one_way(void)
{
    return lib->signals(way);
}

static int by_signals(void)
{
    for (way = 0; way < lib->ways; way++)
        if (!everywhere(one_way)) {
            printf("way %d ", way);
            return 0;
        }
    return 1;
}

static int by_altstack(void)
{
    return everywhere(lib->without_altstack);
}

/* libc's own handler too, that of setuid, which runs on every thread; and one that was installed past libc
 * before the runtime started. */
static int by_flags(void)
{
    for (int sig = 1; sig < 65; sig++)
        if ((lib->flags_of(sig) & SA_ONSTACK) == 0) {
            printf("signal %d ", sig);
            return 0;
        }
    return setuid(getuid()) == 0;
}

__attribute__((noipa)) static int deep(int n)
{
    volatile char b[500];
    b[0] = 0;
    return n <= 0 ? 0 : deep(n - 1) + b[0];
}

static void (*leave)(void);
__attribute__((noipa)) static int leaves_from(int n)
{
    volatile char b[500];
    b[0] = 0;
    if (n > 0)
        return leaves_from(n - 1) + b[0];
    if (lib->use(20000) == 1)
        leave();
    return b[0];
}

/* From the library's own stack, */
static void fails(void *arg)
{
    (void)arg;
    leaves_from(2);
}

/* and from two behind it. */
static void fails_deep(void *arg)
{
    (void)arg;
    leaves_from(500);
}

/* More than the library's own stack has. */
static void goes_on(void *arg)
{
    *(int *)arg += lib->use(20000) == 1 && deep(1000) == 0;
}

static int jumps(void)
{
    int went_on = 0;
    leave = lib->fail;
    return lib->attempt(fails, goes_on, &went_on) && lib->attempt(fails_deep, goes_on, &went_on) &&
           went_on == 2 && deep(1000) == 0;
}

static int by_longjmp(void)
{
    return everywhere(jumps);
}

/* Nobody sees it go; who calls foreign code next finds out. */
static int jumps_by_builtin(void)
{
    int went_on = 0;
    uintptr_t before = library_guard();
    leave = lib->fail_builtin;
    lib->attempt_builtin(fails, goes_on, &went_on);
    lib->attempt_builtin(fails_deep, goes_on, &went_on);
    return went_on == 2 && library_guard() == before && deep(1000) == 0;
}

static int by_builtin(void)
{
    return everywhere(jumps_by_builtin);
}

static int cleaned;
static void clean(void *arg)
{
    cleaned += arg == &cleaned;
}

static void *exits(void *arg)
{
    pthread_cleanup_push(clean, &cleaned);
    deep(20);
    if (arg != NULL)
        pthread_exit(arg);
    pthread_cleanup_pop(1);
    return &cleaned;
}

static int by_cleanup(void)
{
    pthread_t t;
    void *r;
    cleaned = 0;
    return lib->cleanup_buffer() && exits(NULL) == &cleaned && cleaned == 1 &&
           pthread_create(&t, NULL, exits, &r) == 0 && pthread_join(t, &r) == 0 && r == &r &&
           cleaned == 2;
}

static const struct {
    const char *name;
    int (*fn)(void);
} tests[] = {
    {"signals", by_signals}, {"altstack", by_altstack}, {"flags", by_flags},
    {"longjmp", by_longjmp}, {"builtin", by_builtin},   {"cleanup", by_cleanup},
};

static loam_chan(int) gate;
static void waits(void *arg)
{
    (void)arg;
    loam_recv(gate);
}

static void calls(void)
{
    puts(lib->use(1000) == 1 ? "went on" : "");
}

static const char *only = "";
static void worker(void *arg)
{
    (void)arg;
    if (strcmp(only, "elsewhere") == 0)
        lib->elsewhere(calls);
    if (strcmp(only, "overflow") == 0 && lib->restores(SIGSEGV))
        lib->use(220000); /* into the guard */
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        int ok = tests[i].fn();
        printf("%s%s\n", tests[i].name, ok ? "" : " WRONG");
    }
}

static int run(int argc, char **argv)
{
    if (argc > 2)
        only = argv[2];
#ifdef LINKED
    lib = &library;
#else
    void *handle = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fputs(dlerror(), stderr);
        return 2;
    }
    lib = dlsym(handle, "library");
#endif
    gate = loam_chan_make(int, 0);
    for (int i = 0; i < 4; i++) /* so that there are threads with goroutines */
        if (loam_go(waits, NULL) != 0)
            return 2;
    loam_call(worker, NULL);
    loam_close(gate);
    return 0;
}

static void never(int sig)
{
    (void)sig;
}

int main(int argc, char **argv)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } act = {.handler = never};
    if (syscall(SYS_rt_sigaction, SIGWINCH, &act, NULL, sizeof act.mask) != 0)
        return 2;
    return loam_run(run, argc, argv);
}
