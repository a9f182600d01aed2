/* Text output without malloc, locks or stdio: usable in a signal handler and on a broken heap. */
#ifndef BASE_PRINT_H
#define BASE_PRINT_H

#include "base/base.h"

#include <stdarg.h>

/* Collects text and writes it to fd when full or flushed. fd < 0: keeps the first bytes only.
 *
 * Whether fd blocks or not, a reader that takes nothing for pr_patience_ms is given up: a process that
 * is about to end must not wait for ever. */
struct printer {
    int fd;
    int err; /* an errno: writing failed, and what came since is lost */
    unsigned len;
    unsigned cap;
    char *buf;
    bool (*grow)(struct printer *); /* or NULL: makes room by a larger buf; false if it cannot */
};

#define PRINTER(name, fd_)                                                                         \
    char name##_buf[512];                                                                          \
    struct printer name = {.fd = (fd_), .cap = sizeof name##_buf, .buf = name##_buf}

/* Conversions: %s %c %d %u %x %p %%, width and 0 for numbers, l (long) and z (size_t). */
void pr(struct printer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vpr(struct printer *p, const char *format, va_list args);
void pr_flush(struct printer *p);

extern int pr_patience_ms; /* const but for tests */

/* One formatted write to fd. */
void print_fd(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Formats into buf, always terminated. */
void print_buf(char *buf, size_t cap, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
