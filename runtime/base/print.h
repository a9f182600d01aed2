/* Text output without malloc, locks or stdio: usable in a signal handler and on a broken heap. */
#ifndef BASE_PRINT_H
#define BASE_PRINT_H

#include "base/base.h"

#include <stdarg.h>

/* Collects text and writes it to fd when full or flushed. fd < 0: keeps the first bytes only. */
struct printer {
    int fd;
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

/* One formatted write to fd. */
void print_fd(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Formats into buf, always terminated. */
void print_buf(char *buf, size_t cap, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
