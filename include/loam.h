/* Loam: goroutines, channels and their scheduler for C.
 *
 * A program in which one goroutine sends a number to another:
 *
 *     #include <loam.h>
 *
 *     static void work(void *arg)
 *     {
 *         loam_chan(int) c = arg;
 *         loam_send(c, 42);
 *     }
 *     static int run(int argc, char **argv)
 *     {
 *         loam_chan(int) c = loam_chan_make(int, 0);
 *         loam_go(work, c);
 *         return loam_recv(c) == 42 ? 0 : 1;
 *     }
 *     int main(int argc, char **argv)
 *     {
 *         return loam_run(run, argc, argv);
 *     }
 *
 * This header brings the whole public interface. Unless its comment says otherwise a function may
 * be called from any goroutine, returns 0 or a non-negative value on success and -errno on failure,
 * and neither blocks nor switches goroutine. "Parks" means that the calling goroutine waits while
 * its thread runs others. "Foreign thread" means a thread that the program made itself.
 *
 * A goroutine keeps its processor until it waits, or until its turn is over, after 1 ms if others
 * wait, and it calls what gives way: loam_yield, loam_go, loam_go_with, loam_go_copy, loam_call,
 * loam_sleep, loam_blocking and its like, loam_on_thread_stack, loam_send, loam_recv, loam_recv_ok, every select,
 * loam_context_err, _cause and _sleep, loam_group_go and _wait, loam_pool_call and _try_call,
 * loam_semaphore_acquire, loam_cond_wait, loam_waitgroup_go. All others do not give way if they need not
 * wait, loam_mutex_lock and the try forms among them.
 *
 * Misuse that Go answers with a panic or a fatal error (send on a closed channel, unlock of an
 * unlocked mutex, ...) prints Go's message with a traceback and ends the process with status 2. So
 * does a program whose goroutines all wait for each other, if loam_run runs it. SIGQUIT prints all
 * goroutines with their stacks and ends the process with status 2, unless the program has a handler
 * of its own for it.
 *
 * A goroutine that overflows its stack ends the process with status 2 as well, with "fatal error: stack
 * overflow", after lines that name the goroutine, the function and line, the size of the stack and what to
 * do. It is found by a handler for SIGSEGV and SIGBUS, which passes every other fault on to the handler
 * that was there when the runtime was started, or lets it end the process as if there was none. A program
 * that installs a handler for them later replaces it.
 *
 * The library itself needs up to 8 KB of the stack that it is called on. Below each stack lie 64 KB that
 * fault; a function with more than that in its frame (large arrays, alloca) may step over them, unless the
 * compiler is told to touch every page, by -fstack-clash-protection, as `loam build` does.
 *
 * A goroutine that calls nothing of this library for a millisecond while another waits for its
 * processor loses it: by SIGURG, whose handler holds its thread until it has a processor again. It
 * goes on there, so that all that belongs to the thread stays right. Each such goroutine has a
 * thread then; with more than 64 of them others begin more slowly. Calls that it makes outside of
 * loam_blocking and that a handler with SA_RESTART does not begin again (nanosleep, poll, those
 * with time-outs on sockets, ...) may end with EINTR. A handler of the program's for SIGURG gets
 * what is not the runtime's, with all signals blocked; signal mask, flags and stack that it asked
 * for are not heeded. If it is installed while the runtime is started, it may see a few signals of
 * the runtime's. Where SIGURG is blocked by the thread that starts the runtime, with
 * LOAM_NO_SIGNALS and with LOAMDEBUG=asyncpreemptoff=1 there is none of this. */
#ifndef LOAM_H
#define LOAM_H

#include <loam/base.h>
#include <loam/version.h>

LOAM_BEGIN_DECLS

/* ---- Life of the runtime ------------------------------------------------------------------- */

/* Flags of struct loam_config. */
enum {
    /* Take no settings from the environment (LOAMDEBUG, GODEBUG, LOAMMAXPROCS, GOMAXPROCS, ...). */
    LOAM_NO_ENV = 1,
    /* Install no signal handler: SIGQUIT, SIGURG, SIGSEGV and SIGBUS keep the program's disposition. */
    LOAM_NO_SIGNALS = 2,
};

/* How to start the runtime. Zero every field that you do not set. */
struct loam_config {
    int maxprocs;      /* how many threads run goroutines at once; 0: LOAMMAXPROCS, GOMAXPROCS, or
                           what CPU affinity and the cgroup's quota allow, re-read while running */
    int max_threads;   /* most threads the runtime may own; 0: 10,000 as in Go */
    size_t stack_size; /* bytes of stack that a goroutine's own calls may use, at least; 0: 188 KB.
                           With a guard of 64 KB and a page rounded up to a power of two, from 256 KB
                           on: it may use all that is over */
    unsigned flags;    /* LOAM_NO_ENV, LOAM_NO_SIGNALS */
    const char *debug; /* settings in LOAMDEBUG's syntax; the environment's win over them */
};

/* Starts the runtime in this process; the work behind loam_start.
 *
 * version is the LOAM_VERSION that the caller was compiled with. */
LOAM_API int loam_start_version(const struct loam_config *config, int version);

/* Starts the runtime for embedding: after it, goroutines may be started from any thread.
 *
 *     int loam_start(const struct loam_config *config);
 *
 * config may be NULL. The calling thread stays a foreign thread. Until this call the library has
 * no thread, no handler and no memory map. Errors: -EALREADY started; -EINVAL a field of config is
 * out of range; -ENOMEM, -EAGAIN no memory or thread to be had; -EPROTO the program was compiled
 * against another major version of the headers (before 1.0: another minor version); -ECHILD this
 * process was forked from one whose runtime runs. loam_error_text() explains what happened. */
#define loam_start(config) loam_start_version(config, LOAM_VERSION)

/* Stops the runtime: ends its threads, gives all its memory, descriptors and handlers back.
 *
 * Parked and runnable goroutines are abandoned where they are: nothing of theirs runs any more (as
 * at the end of a Go program); goroutines that run are stopped at their next call into the runtime, those
 * that a signal holds with their thread count as running.
 * Waits at most timeout_ns (negative: for ever). Call it from a foreign thread. Afterwards
 * loam_start may be called again; the library itself stays loaded, dlclose or not. Objects (channels,
 * timers, ...) that the program has not freed stay valid only for their _free function. Errors: -EBUSY
 * a goroutine still runs, or is in a blocking call or a running call of a thread pool, after
 * timeout_ns: the runtime then goes on as before; -EDEADLK called on a goroutine; -EINVAL not started,
 * or by loam_run, which stops it itself; -ECHILD in a forked child.
 * Other threads may be in loam_go and loam_call meanwhile; those whose goroutine was abandoned get
 * -ECANCELED from loam_call. What they use beside that (channels, timers, ...) they must not use
 * during the stop. */
LOAM_API int loam_stop(int64_t timeout_ns);

/* Runs a whole program; the work behind loam_run.
 *
 * version is the LOAM_VERSION that the caller was compiled with. */
LOAM_API int loam_run_version(int (*fn)(int, char **), int argc, char **argv, int version);

/* Runs fn(argc, argv) as the main goroutine of a program, returns its result when it returns.
 *
 *     int loam_run(int (*fn)(int, char **), int argc, char **argv);
 *
 * The calling thread becomes one of the runtime's threads meanwhile, so that a main goroutine that
 * calls loam_lock_os_thread first thing stays on the process's main thread. As in Go the end of
 * main ends the program: other goroutines are abandoned. If one of them cannot be stopped (an
 * endless loop, a blocking call) loam_run ends the process by exit() with fn's result. When every
 * goroutine waits and nothing can wake one, the process ends with "fatal error: all goroutines are
 * asleep - deadlock!" and status 2. When the runtime cannot be started, loam_run says why on
 * standard error and returns 125. */
#define loam_run(fn, argc, argv) loam_run_version(fn, argc, argv, LOAM_VERSION)

/* A sentence that explains the last failure of loam_start, loam_stop or loam_go in this process.
 *
 * Static text of the library; overwritten by the next failure. Empty if none. */
LOAM_API const char *loam_error_text(void);

/* The library's own version; LOAM_VERSION, a number of the same form, is the headers'. */
LOAM_API int loam_version(void);

/* Runs fn(arg) on a new goroutine and waits for its end: the way in from a foreign thread.
 *
 * Blocks the calling thread. On a goroutine it parks. Errors as of loam_go; -ECANCELED the runtime
 * was stopped before fn had returned, which nobody runs any more. */
LOAM_API int loam_call(void (*fn)(void *), void *arg);

/* ---- Goroutines ---------------------------------------------------------------------------- */

/* How to start a goroutine. Zero every field that you do not set. */
struct loam_go_options {
    const char *name;  /* shown in dumps; not copied, must outlive the goroutine */
    size_t stack_size; /* bytes, at most 1 GB; as in struct loam_config. 0: what is configured */
};

/* Starts a goroutine that runs fn(arg): Go's `go f(x)`.
 *
 * May be called from any thread while the runtime is started. NULL fn is Go's fatal error "go of
 * nil func value". Errors: -ENOMEM no stack to be had (loam_error_text says how many there are and
 * which limit was met); -EINVAL the runtime is not started; -ECHILD called in a forked child. */
LOAM_API int loam_go(void (*fn)(void *), void *arg);

/* Starts a goroutine that runs fn(arg), with a name or a stack size of its own.
 *
 * options may be NULL. Errors as of loam_go; -EINVAL stack_size is above 1 GB. */
LOAM_API int loam_go_with(const struct loam_go_options *options, void (*fn)(void *), void *arg);

/* Starts a goroutine that runs fn on its own copy of the size bytes at data: arguments by value.
 *
 * The copy lies on the new goroutine's stack, aligned to 16, and lives as long as it. Errors as of
 * loam_go; -E2BIG size is above 16 KB. */
LOAM_API int loam_go_copy(void (*fn)(void *), const void *data, size_t size);

/* Lets other goroutines run: Go's runtime.Gosched. The caller goes to the end of its queue.
 *
 * On a foreign thread it does nothing. */
LOAM_API void loam_yield(void);

/* Ends the calling goroutine: Go's runtime.Goexit. Destructors of its local values run. */
LOAM_API LOAM_NORETURN void loam_goexit(void);

/* The calling goroutine's number as dumps show it; 0 on a foreign thread.
 *
 * The main goroutine's is 1. Each processor gives out numbers of its own, sixteen at a time: they
 * tell goroutines apart, not their order. */
LOAM_API uint64_t loam_goid(void);

/* Names the calling goroutine in dumps. name is not copied and must outlive the goroutine. */
LOAM_API void loam_set_name(const char *name);

/* Wires the calling goroutine to its thread: it alone runs there, and nowhere else.
 *
 * Until loam_unlock_os_thread was called as many times. A goroutine that ends while wired ends the
 * thread too. */
LOAM_API void loam_lock_os_thread(void);

/* Undoes one loam_lock_os_thread; without one it does nothing. */
LOAM_API void loam_unlock_os_thread(void);

/* Sets how many threads run goroutines at once, returns the former number; n < 1 only asks.
 *
 * Stops the world. Ends the automatic following of affinity and quota. */
LOAM_API int loam_gomaxprocs(int n);

/* How many CPUs this process may use (affinity and cgroup quota); Go's default for GOMAXPROCS. */
LOAM_API int loam_num_cpu(void);

/* How many goroutines exist. */
LOAM_API int64_t loam_num_goroutine(void);

/* ---- Calls that block the thread ----------------------------------------------------------- */

/* Runs fn(arg) here while other goroutines go on elsewhere: for any call that may block in the
 * kernel or compute for long without calling the runtime.
 *
 * In fn functions of Loam that park and loam_goexit are fatal errors, loam_sleep blocks the thread
 * and loam_yield does nothing; what does not wait is allowed (loam_go, loam_try_send,
 * loam_mutex_unlock, ...). On a foreign thread it just runs fn. */
LOAM_API void loam_blocking(void (*fn)(void *), void *arg);

/* Begins a stretch in which the calling goroutine may block its thread; see loam_blocking.
 *
 * Until loam_blocking_leave the goroutine is bound by the same rules as loam_blocking's fn, and its
 * end is a fatal error too. Not nested. */
LOAM_API void loam_blocking_enter(void);

/* Ends the stretch that loam_blocking_enter began; parks if no processor is free. errno is kept. */
LOAM_API void loam_blocking_leave(void);

/* Runs fn(arg) on the stack of the thread that the calling goroutine is on: for foreign code that
 * needs more stack than a goroutine has.
 *
 * That is 8 MB as a rule (`ulimit -s`). The goroutine keeps its processor and stays on its thread. In fn
 * whatever waits, yields, ends the goroutine, stops the world or begins or ends a loam_blocking is a fatal
 * error; what does not is allowed (loam_go, loam_try_send, loam_mutex_unlock, ...). So is a jump out of
 * fn by longjmp forbidden. Until fn returns nothing takes the processor from it. Within loam_blocking it may be called, and in fn: then, and on a foreign
 * thread, it just runs fn. errno is as fn leaves it. */
LOAM_API void loam_on_thread_stack(void (*fn)(void *), void *arg);

/* ---- Values of a goroutine ----------------------------------------------------------------- */

/* Sets a label of the calling goroutine, shown in dumps; goroutines that it starts inherit it.
 *
 * key and value are copied; value NULL removes the label. Errors: -ENOMEM no memory, the label is as
 * before; -EINVAL key is NULL, or called on a foreign thread. */
LOAM_API int loam_set_label(const char *key, const char *value);

/* The value of the calling goroutine's label key, or NULL. Valid until it sets that label again or
 * ends. */
LOAM_API const char *loam_label(const char *key);

/* A key of goroutine-local values; made by loam_local_key_new. */
typedef int loam_local_key;

/* Makes a key; the destructor (may be NULL) gets each non-NULL value when its goroutine ends.
 *
 * Destructors run on the goroutine, after its function: whoever waits for the function only (with
 * loam_waitgroup_go, loam_group_wait) does not wait for them. Errors: -EAGAIN 128 keys are in use. */
LOAM_API int loam_local_key_new(loam_local_key *key, void (*destructor)(void *));

/* Gives a key back; values under it are forgotten without their destructor. Errors: -EINVAL no such
 * key. */
LOAM_API int loam_local_key_free(loam_local_key key);

/* Sets the calling goroutine's value under key. Errors: -ENOMEM no memory; -EINVAL no such key, or
 * called on a foreign thread. */
LOAM_API int loam_local_set(loam_local_key key, void *value);

/* The calling goroutine's value under key, NULL if it has none. */
LOAM_API void *loam_local_get(loam_local_key key);

/* ---- Faults -------------------------------------------------------------------------------- */

/* Go's panic: prints "panic: " and the text, a traceback of the calling goroutine, exits 2. */
LOAM_API LOAM_NORETURN void loam_panic(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

LOAM_END_DECLS

#include <loam/chan.h>
#include <loam/context.h>
#include <loam/debug.h>
#include <loam/group.h>
#include <loam/module.h>
#include <loam/pool.h>
#include <loam/sync.h>
#include <loam/time.h>

#endif
