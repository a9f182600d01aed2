/* The order of start and stop, in one place: loam_start, loam_run, loam_stop, loam_call.
 *
 * Start: settings, then the scheduler (trace, symbols, Ps, sysmon). Nothing happens before: the
 * library has no constructors. Stop: the reverse, by the scheduler; what remains are the program's
 * own objects. One thread at a time may start or stop (life_lock). */
#include "base/debugvar.h"
#include "base/print.h"
#include "base/throw.h"
#include "lock/lock.h"
#include "os/os.h"
#include "sched/life.h"
#include "sched/sched.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <loam.h>

enum { RUN_FAILED = 125, RUN_STOP_NS = 500000000 };

static struct mutex life_lock = MUTEX_INIT(stop);
static int life_pid; /* atomic: the process whose thread took life_lock last */
static bool by_run;  /* life_lock: started by loam_run */

int loam_version(void)
{
    return LOAM_VERSION;
}

const char *loam_error_text(void)
{
    return error_noted();
}

int loam_num_cpu(void)
{
    int n = os_cpu_count();
    return n > 0 ? n : 1;
}

/* ---- Settings ---------------------------------------------------------------------------------- */

/* LOAM's variant of a variable, or Go's; *name says which. */
static const char *env(const char *loam_name, const char *go_name, const char **name)
{
    const char *v = getenv(loam_name);
    *name = v != NULL ? loam_name : go_name;
    return v != NULL ? v : getenv(go_name);
}

static int env_maxprocs(void)
{
    const char *name;
    const char *v = env("LOAMMAXPROCS", "GOMAXPROCS", &name);
    if (v == NULL || *v == '\0')
        return 0;
    char *end;
    long n = strtol(v, &end, 10);
    if (*end != '\0' || n < 1) {
        print_fd(2, "loam: %s=%s is no number above 0 and ignored\n", name, v);
        return 0;
    }
    return n > MAX_PROCS ? MAX_PROCS : (int)n;
}

static int settings(const struct loam_config *c, struct life_config *life)
{
    if (c->maxprocs < 0 || c->maxprocs > MAX_PROCS)
        return error_note(-EINVAL, "maxprocs is %d: 0 to %d is allowed", c->maxprocs, MAX_PROCS);
    if (c->max_threads < 0)
        return error_note(-EINVAL, "max_threads is %d: it must not be negative", c->max_threads);
    if (c->stack_size > STACK_MAX)
        return error_note(-EINVAL, "stack_size is %zu: at most %u bytes are allowed", c->stack_size,
                          STACK_MAX);
    debugvar_reset();
    debugvar_parse(c->debug, "loam_config.debug");
    bool use_env = !(c->flags & LOAM_NO_ENV);
    if (use_env) {
        const char *name;
        const char *v = env("LOAMDEBUG", "GODEBUG", &name);
        debugvar_parse(v, name);
    }
    life->maxprocs = c->maxprocs;
    if (life->maxprocs == 0 && use_env)
        life->maxprocs = env_maxprocs();
    life->max_threads = c->max_threads != 0 ? c->max_threads : MAX_THREADS_DEFAULT;
    life->stack_size = c->stack_size;
    life->handlers = !(c->flags & LOAM_NO_SIGNALS);
    return 0;
}

static int check_version(int version)
{
    /* before 1.0 a minor version may change the ABI */
    int mask = LOAM_VERSION_MAJOR == 0 ? ~0xff : ~0xffff;
    if ((version & mask) == (LOAM_VERSION & mask))
        return 0;
    return error_note(-EPROTO,
                      "the program was compiled against loam.h %d.%d.%d, the library is %d.%d.%d: "
                      "compile it again",
                      version >> 16, (version >> 8) & 0xff, version & 0xff, LOAM_VERSION_MAJOR,
                      LOAM_VERSION_MINOR, LOAM_VERSION_PATCH);
}

/* ---- Start and stop ------------------------------------------------------------------------------ */

static void calls_cancel(void);

/* Takes life_lock. In a forked child another thread may have held it, for ever: -ECHILD. */
static int life_begin(void)
{
    while (os_forked() || !trylock(&life_lock)) {
        int holder = load_relaxed(&life_pid);
        if (os_forked() || (holder != 0 && holder != os_getpid()))
            return error_note(-ECHILD,
                              "this process was forked from one whose runtime runs: it may "
                              "only exec or _exit");
        os_usleep(500); /* a start takes a millisecond, a stop as long as its caller allows */
    }
    store_relaxed(&life_pid, os_getpid());
    return 0;
}

static int boot(const struct loam_config *config, int version, bool run_mode)
{
    static const struct loam_config none;
    int err = check_version(version);
    if (err != 0)
        return err;
    if (sched_started())
        return error_note(-EALREADY, "the runtime is already started");
    struct life_config life = {.run_mode = run_mode};
    err = settings(config != NULL ? config : &none, &life);
    if (err != 0)
        return err;
    err = sched_start(&life);
    if (err != 0)
        return err;
    by_run = run_mode;
    return 0;
}

/* On a goroutine life_begin could wait for a stop that waits for this goroutine's P. */
static int not_on_goroutine(void)
{
    return getm() != NULL && !os_forked() ? error_note(-EALREADY, "the runtime is already started")
                                          : 0;
}

int loam_start_version(const struct loam_config *config, int version)
{
    int err = not_on_goroutine();
    if (err == 0)
        err = life_begin();
    if (err != 0)
        return err;
    err = boot(config, version, false);
    unlock(&life_lock);
    return err;
}

static int stop(int64_t timeout_ns, bool run_ends)
{
    if (!sched_started())
        return error_note(-EINVAL, "the runtime is not started");
    if (by_run && !run_ends)
        return error_note(-EINVAL, "the runtime was started by loam_run, which stops it when its "
                                   "function returns");
    int err = sched_halt(timeout_ns);
    if (err != 0)
        return err;
    calls_cancel(); /* a thread of ours may be one of the callers, in a destructor of the program's */
    sched_end();
    return 0;
}

int loam_stop(int64_t timeout_ns)
{
    if (getm() != NULL && !os_forked())
        return error_note(-EDEADLK, "loam_stop was called on a goroutine, which it would wait for");
    int err = life_begin();
    if (err != 0)
        return err;
    err = stop(timeout_ns, false);
    unlock(&life_lock);
    return err;
}

int loam_run_version(int (*fn)(int, char **), int argc, char **argv, int version)
{
    int err = not_on_goroutine();
    if (err == 0)
        err = life_begin();
    if (err == 0) {
        err = boot(NULL, version, true);
        unlock(&life_lock);
    }
    if (err != 0) {
        print_fd(2, "loam: cannot start: %s\n", error_noted());
        return RUN_FAILED;
    }
    int result = RUN_FAILED;
    err = sched_run_main(fn, argc, argv, &result);
    if (err != 0) /* no memory for main: nothing runs yet, so that the stop does not wait */
        print_fd(2, "loam: cannot start: %s\n", error_noted());
    lock(&life_lock);
    bool stopped = stop(err != 0 ? -1 : RUN_STOP_NS, true) == 0;
    unlock(&life_lock);
    if (!stopped)
        exit(result); /* an endless loop or a blocking call: the end of main ends it, as in Go */
    return result;
}

/* ---- The way in from foreign threads --------------------------------------------------------------- */

/* On the caller's stack. It ends when fn returns, or ends the goroutine by loam_goexit, or, for a
 * foreign caller, when the runtime is stopped before. */
struct call {
    void (*fn)(void *);
    void *arg;
    struct g *caller; /* NULL: a foreign thread, which sleeps on done */
    /* ---- a foreign caller: calls_lock ---- */
    struct call *next, **prev_link; /* those that wait */
    bool over;
    int result;
    struct note done;
    /* ---- a goroutine ---- */
    struct mutex lock;  /* held into gopark, which may take the scheduler's: no leaf */
    bool ended, parked; /* lock */
};

static struct mutex calls_lock = MUTEX_INIT(leaf);
static struct call *calls; /* calls_lock */

/* Under calls_lock, which the foreign caller takes before it gives up its stack. */
static void call_over(struct call *c, int result)
{
    if (c->prev_link != NULL) {
        *c->prev_link = c->next;
        if (c->next != NULL)
            c->next->prev_link = c->prev_link;
    }
    c->over = true;
    c->result = result;
    notewakeup(&c->done);
}

/* The runtime is stopped: what foreign threads wait for does not come any more. */
static void calls_cancel(void)
{
    lock(&calls_lock);
    while (calls != NULL)
        call_over(calls, -ECANCELED);
    unlock(&calls_lock);
}

static void call_end(void *p)
{
    struct call *c = p;
    if (c->caller == NULL) {
        lock(&calls_lock);
        call_over(c, 0);
        unlock(&calls_lock);
        return;
    }
    lock(&c->lock);
    c->ended = true;
    bool parked = c->parked;
    unlock(&c->lock);
    if (parked)
        goready(c->caller);
}

static void call_main(void *p)
{
    struct call *c = p;
    struct g *gp = getg();
    gp->at_goexit = call_end;
    c->fn(c->arg);
    gp->at_goexit = NULL;
    call_end(c);
}

static bool call_unlock(struct g *gp, void *p)
{
    (void)gp;
    struct call *c = p;
    c->parked = true;
    unlock(&c->lock);
    return true;
}

/* On the stack that fn gets from loam_go. */
static int call_start(struct call *c, uintptr_t callerpc)
{
    return newproc_with(&(struct newborn){
        .fn = call_main, .arg = c, .code = (uintptr_t)c->fn, .callerpc = callerpc});
}

static int call_foreign(struct call *c, uintptr_t callerpc)
{
    /* In one visit, so that a stop finds either no goroutine or a caller to cancel. */
    if (!visit_begin())
        return not_alive();
    int err = call_start(c, callerpc);
    lock(&calls_lock);
    if (err == 0 && !c->over) {
        c->next = calls;
        c->prev_link = &calls;
        if (calls != NULL)
            calls->prev_link = &c->next;
        calls = c;
    }
    unlock(&calls_lock);
    visit_end();
    if (err != 0)
        return err;
    notesleep(&c->done);
    lock(&calls_lock); /* whoever woke us is done with c */
    int result = c->result;
    unlock(&calls_lock);
    if (result != 0)
        return error_note(result, "the runtime was stopped before the function had returned");
    return 0;
}

int loam_call(void (*fn)(void *), void *arg)
{
    if (fn == NULL)
        fatal("go of nil func value");
    uintptr_t callerpc = arch_callerpc();
    /* sema: it is held while its caller parks, which takes the scheduler's and the trace's */
    struct call c = {.fn = fn, .arg = arg, .caller = getg(), .lock = MUTEX_INIT(sema)};
    if (os_forked() || c.caller == NULL)
        return call_foreign(&c, callerpc);
    int err = call_start(&c, callerpc);
    if (err != 0)
        return err;
    lock(&c.lock);
    if (c.ended)
        unlock(&c.lock);
    else
        gopark(call_unlock, &c, WAIT_call);
    return 0;
}

void loam_panic(const char *format, ...)
{
    /* libc's, not print.h's: the program may use any conversion, and its heap is in order */
    char buf[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(buf, sizeof buf, format, args);
    va_end(args);
    panic_text(buf);
}
