/* Text output without malloc; see print.h.
 *
 * Rejected: dprintf and vsnprintf, which may allocate, take locale locks and use several KB of
 * stack, all of which a fault handler must not do. */
#include "base/print.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

int pr_patience_ms = 60000; /* somebody may be reading page by page */

static int64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Writes some of the text; 0 or an errno. In pieces of which a pipe that poll calls writable takes one
 * whole: so a blocking one does not block. */
static int write_some(int fd, const char **text, size_t n)
{
    for (int64_t deadline = now_ms() + pr_patience_ms, left; (left = deadline - now_ms()) >= 0;) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        int err = poll(&ready, 1, (int)left) < 0 ? errno : 0;
        if (err == 0 && ready.revents != 0) {
            ssize_t done = write(fd, *text, n < PIPE_BUF ? n : PIPE_BUF);
            if (done > 0) {
                *text += done;
                return 0;
            }
            err = done < 0 ? errno : EIO;
        }
        if (err != 0 && err != EINTR && err != EAGAIN)
            return err;
    }
    return EAGAIN;
}

void pr_flush(struct printer *p)
{
    if (p->fd < 0)
        return;
    int saved = errno;
    for (const char *at = p->buf, *end = at + p->len; at < end && p->err == 0;)
        p->err = write_some(p->fd, &at, (size_t)(end - at));
    p->len = 0;
    errno = saved;
}

static bool make_room(struct printer *p)
{
    if (p->grow != NULL) {
        if (!p->grow(p))
            p->err = ENOMEM; /* once is enough: it is asked for every character */
        return p->err == 0;
    }
    if (p->fd < 0)
        return false;
    pr_flush(p);
    return true;
}

static void put(struct printer *p, char c)
{
    if (p->len == p->cap && (p->err != 0 || !make_room(p)))
        return;
    p->buf[p->len++] = c;
}

static void put_number(struct printer *p, uint64_t v, unsigned base, bool negative, int width,
                       char pad)
{
    char digits[24];
    int n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    int total = n + (negative ? 1 : 0);
    if (negative && pad == '0')
        put(p, '-');
    for (; width > total; width--)
        put(p, pad);
    if (negative && pad != '0')
        put(p, '-');
    while (n > 0)
        put(p, digits[--n]);
}

void vpr(struct printer *p, const char *format, va_list args)
{
    for (const char *f = format; *f != '\0'; f++) {
        if (*f != '%') {
            put(p, *f);
            continue;
        }
        char pad = ' ';
        int width = 0;
        int longs = 0;
        f++;
        if (*f == '0') {
            pad = '0';
            f++;
        }
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (*f - '0');
        for (; *f == 'l' || *f == 'z'; f++)
            longs++;
        switch (*f) {
        case 's': {
            const char *s = va_arg(args, const char *);
            for (s = s != NULL ? s : "(null)"; *s != '\0'; s++)
                put(p, *s);
            break;
        }
        case 'c':
            put(p, (char)va_arg(args, int));
            break;
        case 'd': {
            int64_t v = longs ? va_arg(args, int64_t) : va_arg(args, int);
            put_number(p, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, v < 0, width, pad);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t v = longs ? va_arg(args, uint64_t) : va_arg(args, unsigned);
            put_number(p, v, *f == 'x' ? 16 : 10, false, width, pad);
            break;
        }
        case 'p':
            put(p, '0');
            put(p, 'x');
            put_number(p, (uint64_t)(uintptr_t)va_arg(args, void *), 16, false, 0, ' ');
            break;
        case '\0':
            return;
        default:
            put(p, *f);
        }
    }
}

void pr(struct printer *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vpr(p, format, args);
    va_end(args);
}

void print_fd(int fd, const char *format, ...)
{
    PRINTER(p, fd);
    va_list args;
    va_start(args, format);
    vpr(&p, format, args);
    va_end(args);
    pr_flush(&p);
}

void print_buf(char *buf, size_t cap, const char *format, ...)
{
    struct printer p = {.fd = -1, .cap = (unsigned)cap - 1, .buf = buf};
    va_list args;
    va_start(args, format);
    vpr(&p, format, args);
    va_end(args);
    buf[p.len] = '\0';
}
