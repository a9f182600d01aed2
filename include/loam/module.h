/* What a program or shared object tells the runtime about its code: the module note.
 *
 * Without one, everything works: its goroutines are preempted together with their threads. A module that
 * wants more carries an ELF note. `loam build` writes it, where it is asked for something that needs one
 * (--migratable); who links by other means puts LOAM_MODULE into one C file of each program and shared
 * object. The runtime looks for notes when it starts, and soon after dlopen, when a signal finds code that it
 * does not know; loam_modules_look does it at once. A shared object with a note is never unloaded again. Its
 * constructors must not wait for goroutines: the runtime may wait for their end before it makes a thread.
 *
 * A note that the runtime cannot use is reported on standard error and ignored. */
#ifndef LOAM_MODULE_H
#define LOAM_MODULE_H

#include <loam/base.h>

/* The note: its name, its type, the version of its content. */
#define LOAM_NOTE_NAME "Loam"
#define LOAM_NOTE_MODULE 1
#define LOAM_MODULE_VERSION 1

/* Flag: the code of LOAM_MODULE_TEXT uses nothing of the thread that it runs on, between any two of its
 * instructions: no errno, no thread-locals, no lock that belongs to a thread, no signal mask, no address of
 * such a thing kept. So the runtime may cut it anywhere and go on with it on another thread. Code that it
 * calls and that is not of such text is free to use all of these; while that runs the goroutine stays with
 * its thread. Where this code itself must use them, a function that is LOAM_NOPREEMPT does it. */
#define LOAM_MODULE_MIGRATABLE 1

/* The content of the note. A range is two numbers, its first byte and the one behind its last, each as a
 * distance from the place of the number itself; 0: there is no such range. Later versions of the runtime
 * append fields, told by `size`, and read what they find; a change that older ones must not overlook gets
 * another `version` or flag: a note whose version or flags a runtime does not know is ignored by it. A module
 * may have several notes. */
struct loam_module_note {
    uint32_t version;                   /* LOAM_MODULE_VERSION */
    uint32_t size;                      /* of this struct as the module knows it */
    uint32_t flags;                     /* LOAM_MODULE_MIGRATABLE or 0 */
    uint32_t unused;                    /* 0 */
    int64_t text_lo, text_hi;           /* the code of LOAM_MODULE_TEXT */
    int64_t nopreempt_lo, nopreempt_hi; /* that of LOAM_NOPREEMPT */
    int64_t types_lo, types_hi;         /* 0: kept for tables of types */
    int64_t pointers_lo, pointers_hi;   /* 0: kept for data in which the collector finds pointers */
};

/* Puts a function into the module's text, to which the flags of LOAM_MODULE apply. `loam build
 * --migratable` puts all functions of the files that it compiles there. */
#define LOAM_MODULE_TEXT __attribute__((__section__("loam_module")))

/* A function that no signal preempts, be the module migratable or not: the runtime tries again later. What
 * it calls may be preempted, but goes on on the same thread. To be used for short functions: nobody else has
 * the processor meanwhile, and stops of the world wait. */
#if defined(__has_attribute)
#if __has_attribute(__noipa__)
#define LOAM_NOPREEMPT __attribute__((__noipa__, __section__("loam_nopreempt")))
#endif
#endif
#ifndef LOAM_NOPREEMPT
#define LOAM_NOPREEMPT __attribute__((__noinline__, __section__("loam_nopreempt")))
#endif

LOAM_BEGIN_DECLS

/* Looks for the notes of shared objects that came by dlopen, and returns when they are known.
 *
 * Whoever opens one with LOAM_NOPREEMPT functions calls it before they run: those that are not known are
 * preempted like others. From any thread; on a goroutine a blocking call, as by loam_blocking, for it takes
 * the loader's lock. Does nothing while the runtime is not started. */
LOAM_API void loam_modules_look(void);

LOAM_END_DECLS

/* Defines the note of this program or shared object, with these flags; at file scope, without a semicolon
 * behind it being needed. The linker knows where the two sections lie; a few bytes keep either from being
 * empty. */
#define LOAM_MODULE(flags) LOAM_MODULE_WITH(flags)
#define LOAM_MODULE_WITH(flags)                                                                    \
    __asm__(".pushsection loam_module,\"ax\",@progbits\n\t.long 0\n\t.popsection\n\t"              \
            ".pushsection loam_nopreempt,\"ax\",@progbits\n\t.long 0\n\t.popsection\n\t"           \
            ".hidden __start_loam_module\n\t.hidden __stop_loam_module\n\t"                        \
            ".hidden __start_loam_nopreempt\n\t.hidden __stop_loam_nopreempt\n\t"                  \
            ".pushsection .note.loam,\"a\",@note\n\t.balign 4\n\t"                                 \
            ".long 5, 80, 1\n\t.asciz \"Loam\"\n\t.balign 4\n\t"                                   \
            ".long 1, 80, " #flags ", 0\n\t"                                                       \
            ".quad __start_loam_module - .\n\t.quad __stop_loam_module - .\n\t"                    \
            ".quad __start_loam_nopreempt - .\n\t.quad __stop_loam_nopreempt - .\n\t"              \
            ".quad 0, 0, 0, 0\n\t.popsection");

#endif
