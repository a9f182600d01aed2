/* Foreign code called on stacks of 2 KB, in every way there is; each line printed is a thing that was
 * right. Ends by printing how many segments are left. */
#include <dlfcn.h>
#include <execinfo.h>
#include <glob.h>
#include <loam.h>
#include <math.h>
#include <netdb.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 40 };

__attribute__((noipa)) static int deep(int n)
{
    volatile char b[500];
    b[0] = 0;
    return n <= 0 ? 0 : deep(n - 1) + b[0];
}

/* A callback that goes deeper than the big stack is, and parks in between. */
static int compare(const void *a, const void *b)
{
    static int calls;
    if (++calls % 50 == 0)
        deep(1000);
    loam_yield();
    return *(const int *)a - *(const int *)b;
}

static int by_glob(void)
{
    glob_t g;
    int r = glob("/{usr,etc,bin}/../[uU]sr/l*/..", GLOB_BRACE, NULL, &g);
    int ok = r == 0 && g.gl_pathc > 0;
    globfree(&g);
    return ok;
}

static int by_getaddrinfo(void)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_flags = AI_NUMERICSERV}, *res = NULL;
    int ok = getaddrinfo("127.0.0.1", "80", &hints, &res) == 0 && res->ai_family == AF_INET;
    freeaddrinfo(res);
    return ok;
}

static int by_printf(void)
{
    char buf[100];
    snprintf(buf, sizeof buf, "%.30Lf %d %s %.3f %c", 0.5L, 42, "many arguments", 2.5, 'x');
    return strcmp(buf, "0.500000000000000000000000000000 42 many arguments 2.500 x") == 0;
}

static int by_qsort(void)
{
    int v[300];
    for (int i = 0; i < 300; i++)
        v[i] = i * 7919 % 300;
    qsort(v, 300, sizeof v[0], compare);
    for (int i = 0; i < 300; i++)
        if (v[i] != i)
            return 0;
    return 1;
}

static const struct ops {
    size_t (*length)(const char *);
    double (*root)(double);
    int (*print)(char *, size_t, const char *, ...);
} table = {strlen, sqrt, snprintf};

static int by_table(void)
{
    const struct ops *volatile t = &table;
    char buf[50];
    t->print(buf, sizeof buf, "%Lg %d %d %d %d %d", 2.5L, 1, 2, 3, 4, 5);
    return t->length("four") == 4 && t->root(16) == 4 && strcmp(buf, "2.5 1 2 3 4 5") == 0;
}

static int by_dlsym(void)
{
    int (*compile)(regex_t *, const char *, int);
    int (*match)(const regex_t *, const char *, size_t, regmatch_t *, int);
    *(void **)&compile = dlsym(RTLD_DEFAULT, "regcomp");
    *(void **)&match = dlsym(RTLD_DEFAULT, "regexec");
    regex_t re;
    int ok = compile(&re, "^(a|b)*c{2,3}[[:digit:]]+$", REG_EXTENDED) == 0 &&
             match(&re, "abbacc42", 0, NULL, 0) == 0 && match(&re, "abbac42", 0, NULL, 0) != 0;
    regfree(&re);
    return ok;
}

/* The address of a function is what everybody has. */
static int by_address(void)
{
    return (void *)qsort == dlsym(RTLD_DEFAULT, "qsort");
}

static void *in_thread(void *arg)
{
    return (void *)(deep(200) + (char *)arg);
}

static int by_thread(void)
{
    pthread_t t;
    void *r = NULL;
    return pthread_create(&t, NULL, in_thread, &t) == 0 && pthread_join(t, &r) == 0 && r == &t;
}

/* What functions compare their stack pointer with: of the segment that they are on. */
static uintptr_t guard(void)
{
    uintptr_t g;
    __asm__ volatile("movq %%fs:0x70, %0" : "=r"(g));
    return g;
}

static jmp_buf env;
static int jump_out(const void *a, const void *b)
{
    (void)a, (void)b;
    deep(50);
    longjmp(env, 1);
}

static int by_longjmp(void)
{
    int v[3] = {3, 2, 1};
    volatile int ok = 0;
    uintptr_t before = guard();
    if (setjmp(env) == 0)
        qsort(v, 3, sizeof v[0], jump_out);
    else
        ok = guard() == before && before != 0;
    return ok && deep(100) == 0;
}

static volatile sig_atomic_t caught;
static void handler(int sig)
{
    caught = sig + deep(20);
}

static int by_signal(void)
{
    struct sigaction act = {.sa_handler = handler}, old;
    if (sigaction(SIGUSR1, &act, NULL) != 0 || raise(SIGUSR1) != 0 || caught != SIGUSR1)
        return 0;
    return sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == handler &&
           signal(SIGUSR1, SIG_DFL) == handler;
}

/* By the library: what it calls back is on a big stack. */
static void flush(void *arg)
{
    *(int *)arg = by_printf() && deep(100) == 0;
}

static int by_library(void)
{
    int ok = 0;
    loam_blocking(flush, &ok);
    return ok;
}

static void leave(void *arg)
{
    loam_waitgroup_done(arg);
    loam_goexit();
}

static int compare_and_leave(const void *a, const void *b)
{
    (void)b;
    deep(10);
    leave(*(void *const *)a);
    return 0;
}

/* Ends deep in foreign code. */
static void ends(void *arg)
{
    void *v[2] = {arg, arg};
    deep(30);
    qsort(v, 2, sizeof v[0], compare_and_leave);
}

static int by_goexit(void)
{
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < 20; i++) {
        loam_waitgroup_add(&wg, 1);
        if (loam_go(ends, &wg) != 0)
            return 0;
    }
    loam_waitgroup_wait(&wg);
    return 1;
}

/* libgcc's unwinder, _Unwind_Backtrace, sees each of the frames, over all segments: all but the
 * last one are at the same place. __morestack, where it was called, is among them. */
__attribute__((noipa)) static int climb(int n)
{
    volatile char b[200];
    b[0] = 1;
    if (n > 0)
        return climb(n - 1) + b[0] - 1;
    void *pc[200];
    int found = backtrace(pc, 200);
    for (int i = 0; i < found; i++) {
        int same = 0;
        for (int k = 0; k < found; k++)
            same += pc[k] == pc[i];
        if (same == 60 && (char *)pc[i] > (char *)climb && (char *)pc[i] < (char *)climb + 300)
            return 60;
    }
    return 0;
}

static int by_backtrace(void)
{
    return climb(60) == 60;
}

/* STATIC: linked with -static, where dlsym finds nothing. */
static const struct {
    const char *name;
    int (*fn)(void);
    int together; /* by many goroutines at once */
} tests[] = {
    {"glob", by_glob, 1},           {"getaddrinfo", by_getaddrinfo, 1},
    {"printf", by_printf, 1},       {"qsort", by_qsort, 1},
    {"table", by_table, 1},         {"thread", by_thread, 1},
#ifndef STATIC
    {"dlsym", by_dlsym, 1},         {"address", by_address, 1},
#endif
    {"longjmp", by_longjmp, 0},     {"signal", by_signal, 0},
    {"library", by_library, 1},     {"goexit", by_goexit, 1},
    {"backtrace", by_backtrace, 1},
};

struct job {
    int (*fn)(void);
    int good;
};

static void worker(void *arg)
{
    struct job *j = arg;
    j->good = j->fn();
}

static int run(int argc, char **argv)
{
    (void)argc, (void)argv;
    static struct job jobs[WORKERS];
    for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
        struct loam_waitgroup wg = {0};
        int n = tests[t].together ? WORKERS : 1, good = 0;
        for (int i = 0; i < n; i++) {
            jobs[i] = (struct job){tests[t].fn, 0};
            if (loam_waitgroup_go(&wg, worker, &jobs[i]) != 0)
                return 2;
        }
        loam_waitgroup_wait(&wg);
        for (int i = 0; i < n; i++)
            good += jobs[i].good;
        printf("%s%s\n", tests[t].name, good == n ? "" : " WRONG");
    }
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
