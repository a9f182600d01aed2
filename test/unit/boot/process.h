/* What of a process the runtime must leave as it was: threads, maps, descriptors, handlers. */
#ifndef TEST_PROCESS_H
#define TEST_PROCESS_H

#include "../../check.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

static inline int count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        FAIL("%s cannot be read", dir);
    int n = 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static inline int count_threads(void)
{
    return count_entries("/proc/self/task");
}

static inline int count_fds(void)
{
    return count_entries("/proc/self/fd") - 1; /* the one that reads it */
}

enum { MAPS_CAP = 1 << 20 };

/* The address ranges, protections and names of all maps, without the heap's (malloc keeps what it
 * got) and the main thread's stack (it grows). Into a static block: no malloc. */
static inline const char *read_maps(char *out)
{
    static char raw[MAPS_CAP];
    int fd = open("/proc/self/maps", O_RDONLY);
    size_t len = 0;
    for (ssize_t n; (n = read(fd, raw + len, sizeof raw - 1 - len)) > 0;)
        len += (size_t)n;
    close(fd);
    raw[len] = '\0';
    char *to = out;
    for (char *line = raw, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strstr(line, "[heap]") != NULL || strstr(line, "[stack]") != NULL)
            continue;
        size_t n = strlen(line);
        memcpy(to, line, n);
        to[n] = '\n';
        to += n + 1;
    }
    *to = '\0';
    return out;
}

struct process {
    int threads, fds;
    struct sigaction handlers[65];
    stack_t altstack;
    sigset_t mask;
    char maps[MAPS_CAP];
};

static inline void process_look(struct process *p)
{
    memset(p, 0, offsetof(struct process, maps));
    p->threads = count_threads();
    p->fds = count_fds();
    for (int sig = 1; sig < 65; sig++)
        (void)sigaction(sig, NULL, &p->handlers[sig]);
    CHECK_EQ(sigaltstack(NULL, &p->altstack), 0);
    CHECK_EQ(sigprocmask(SIG_SETMASK, NULL, &p->mask), 0);
    read_maps(p->maps);
}

static inline bool same_handler(const struct sigaction *a, const struct sigaction *b)
{
    int ours = ~0x04000000; /* SA_RESTORER: libc sets it on whatever goes through it */
    if (a->sa_handler != b->sa_handler || (a->sa_flags & ours) != (b->sa_flags & ours))
        return false;
    for (int sig = 1; sig < 65; sig++)
        if (sigismember(&a->sa_mask, sig) != sigismember(&b->sa_mask, sig))
            return false;
    return true;
}

/* The first line in which two texts differ. */
static inline void print_difference(const char *was, const char *is)
{
    while (*was != '\0' && *is != '\0') {
        size_t a = strcspn(was, "\n"), b = strcspn(is, "\n");
        if (a != b || memcmp(was, is, a) != 0)
            break;
        was += a + 1;
        is += b + 1;
    }
    fprintf(stderr, "it was:  %.*s\nit is:   %.*s\n", (int)strcspn(was, "\n"), was,
            (int)strcspn(is, "\n"), is);
}

/* maps: also that no map has come or gone. */
static inline void process_same(const struct process *was, bool maps)
{
    static struct process is;
    /* A joined thread may be seen for a moment after its end has been told. */
    for (int i = 0; i < 1000 && count_threads() != was->threads; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    process_look(&is);
    CHECK_EQ(is.threads, was->threads);
    CHECK_EQ(is.fds, was->fds);
    for (int sig = 1; sig < 65; sig++)
        if (!same_handler(&is.handlers[sig], &was->handlers[sig]))
            FAIL("the handler of signal %d is another: %p, flags %x; it was %p, flags %x", sig,
                 (void *)(uintptr_t)is.handlers[sig].sa_handler, is.handlers[sig].sa_flags,
                 (void *)(uintptr_t)was->handlers[sig].sa_handler, was->handlers[sig].sa_flags);
    CHECK(is.altstack.ss_sp == was->altstack.ss_sp &&
          is.altstack.ss_flags == was->altstack.ss_flags);
    for (int sig = 1; sig < 65; sig++)
        CHECK_EQ(sigismember(&is.mask, sig), sigismember(&was->mask, sig));
    if (maps && strcmp(is.maps, was->maps) != 0) {
        print_difference(was->maps, is.maps);
        FAIL("the maps of the process are others than before");
    }
}

#endif
