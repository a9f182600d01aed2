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

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <loam.h>

enum { RUN_FAILED = 125, RUN_STOP_NS = 100000000 };

static struct mutex life_lock = MUTEX_INIT(stop);
static void *pin; /* life_lock: our own handle while started, so that nobody unloads running code */

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
    return os_cpu_count();
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

#if LOAM_SHARED
static void pin_library(void)
{
    Dl_info self;
    if (dladdr((void *)(uintptr_t)pin_library, &self) != 0)
        pin = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
}

static void unpin_library(void)
{
    if (pin != NULL)
        dlclose(pin);
    pin = NULL;
}
#else
static void pin_library(void)
{
}

static void unpin_library(void)
{
    (void)pin;
}
#endif

/* ---- Start and stop ------------------------------------------------------------------------------ */

static int boot(const struct loam_config *config, int version, bool run_mode)
{
    static const struct loam_config none;
    int err = check_version(version);
    if (err != 0)
        return err;
    if (getm() != NULL || sched_started())
        return sched_started() && !sched_alive()
                   ? error_note(-ECHILD, "this process was forked from one whose runtime runs: it "
                                         "may only exec or _exit")
                   : error_note(-EALREADY, "the runtime is already started");
    struct life_config life = {.run_mode = run_mode};
    err = settings(config != NULL ? config : &none, &life);
    if (err != 0)
        return err;
    err = sched_start(&life);
    if (err == 0)
        pin_library();
    return err;
}

int loam_start_version(const struct loam_config *config, int version)
{
    lock(&life_lock);
    int err = boot(config, version, false);
    unlock(&life_lock);
    return err;
}

int loam_stop(int64_t timeout_ns)
{
    if (getm() != NULL)
        return error_note(-EDEADLK, "loam_stop was called on a goroutine, which it would wait for");
    lock(&life_lock);
    int err;
    if (!sched_started())
        err = error_note(-EINVAL, "the runtime is not started");
    else if (!sched_alive())
        err = error_note(-ECHILD, "a forked child cannot stop its parent's runtime");
    else
        err = sched_stop(timeout_ns);
    if (err == 0)
        unpin_library();
    unlock(&life_lock);
    return err;
}

int loam_run_version(int (*fn)(int, char **), int argc, char **argv, int version)
{
    lock(&life_lock);
    int err = boot(NULL, version, true);
    unlock(&life_lock);
    int result = 0;
    bool booted = err == 0;
    if (booted)
        err = sched_run_main(fn, argc, argv, &result);
    if (err != 0) {
        print_fd(2, "loam: cannot start: %s\n", error_noted());
        if (booted) /* no memory for main: nothing runs yet, so that this does not wait */
            (void)loam_stop(-1);
        return RUN_FAILED;
    }
    if (loam_stop(RUN_STOP_NS) == -EBUSY)
        exit(result); /* an endless loop or a blocking call: the end of main ends it, as in Go */
    return result;
}

/* ---- The way in from foreign threads --------------------------------------------------------------- */

struct call {
    void (*fn)(void *);
    void *arg;
    struct g *caller; /* NULL: a foreign thread, which sleeps on note */
    struct note done;
    struct mutex lock;
    bool ended, parked; /* lock */
};

static void call_main(void *p)
{
    struct call *c = p;
    c->fn(c->arg);
    if (c->caller == NULL) {
        notewakeup(&c->done);
        return;
    }
    lock(&c->lock);
    c->ended = true;
    bool parked = c->parked;
    unlock(&c->lock);
    if (parked)
        goready(c->caller);
}

static bool call_unlock(struct g *gp, void *p)
{
    (void)gp;
    struct call *c = p;
    c->parked = true;
    unlock(&c->lock);
    return true;
}

int loam_call(void (*fn)(void *), void *arg)
{
    if (fn == NULL)
        fatal("go of nil func value");
    struct call c = {.fn = fn, .arg = arg, .caller = getg(), .lock = MUTEX_INIT(leaf)};
    int err = newproc(call_main, &c, NULL, 0, NULL, 0, (uintptr_t)__builtin_return_address(0));
    if (err != 0)
        return err;
    if (c.caller == NULL) {
        notesleep(&c.done);
        return 0;
    }
    lock(&c.lock);
    if (c.ended)
        unlock(&c.lock);
    else
        gopark(call_unlock, &c, WAIT_call);
    return 0;
}

void loam_panic(const char *format, ...)
{
    char buf[1024];
    struct printer p = {-1, 0, sizeof buf - 1, buf};
    va_list args;
    va_start(args, format);
    vpr(&p, format, args);
    va_end(args);
    buf[p.len] = '\0';
    panic_text(buf);
}
