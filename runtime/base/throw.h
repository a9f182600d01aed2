/* Ends of the program: throw = an invariant of the runtime is broken; panic = a fault of the
 * program, which the issue of panics will make recoverable. Both print a traceback and exit 2. */
#ifndef BASE_THROW_H
#define BASE_THROW_H

#include "base/base.h"

/* "fatal error: TEXT", a traceback of the calling goroutine, exit status 2. */
_Noreturn void throw(const char *text);
_Noreturn void throwf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A fatal error for which the caller is to blame (Go's fatal): no runtime frames wanted. */
_Noreturn void fatal(const char *text);
/* The same with lines before it, each ended by a newline. */
_Noreturn void fatal_after(const char *lines, const char *text);

/* "panic: TEXT" the same way. */
_Noreturn void panic_text(const char *text);

/* True from the first of these on: the process ends. */
bool throwing(void);

/* The last error that a call explained, for loam_error_text. Returns err. */
int error_note(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *error_noted(void);

#endif
