// loam: libs=crypto
/* treehash: SHA-256 of every regular file below a directory, as sha256sum prints it, sorted by path.
 *
 *     loam run examples/treehash.c -- DIR
 *
 * prints, with the work spread over all cores, byte for byte what this does on one:
 *
 *     find DIR -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
 *
 * What it shows of Loam, beside the Go form:
 *   go hash(t)                             loam_go(hash, t)
 *   jobs := make(chan *job, n)             loam_chan(struct job *) jobs = loam_chan_make(struct job *, n)
 *   for j := range t.work                  for (struct job *j; loam_recv_ok(t->work, &j);)
 *   f.Read(buf): the P goes to others      loam_blocking(read_first, &r): says so itself, because C
 *     while the thread sits in the kernel    cannot know which calls block
 *   var wg sync.WaitGroup                  struct loam_waitgroup, zero is ready to use
 *   select { case <-tick.C: case <-stop: } switch (loam_select(loam_on_recv(tick, ...), ...))
 *
 * How it goes:
 *
 *     walk (main) --order--> print --free--> walk
 *            \--work--> hash (many) --job->done--> print
 *
 * Jobs are a fixed set that circulates: walk takes a free one, puts a path in, and sends it down two
 * channels. Hashers take from `work` in any order; print takes from `order`, which keeps the order of
 * the walk, and waits for each job's own `done`. A slow file holds the output back and, once all jobs
 * are under way, the walk: memory is bounded by JOBS paths.
 *
 * Sorted without a sort of everything: a directory's entries are visited in the order of their names,
 * a directory's name taken with the slash that follows it in every path below ("a.b" < "a/" < "a0").
 * So paths come out sorted, and only the listings between the root and here are in memory, besides
 * those that are read ahead: while walk is busy here, goroutines already list the next directories,
 * at most AHEAD_MAX of them. Open at once are thus at most HASHERS_MAX files and AHEAD_MAX + 1
 * directories, and as many threads block in the kernel.
 *
 * Symbolic links are not followed, other kinds of files are left out. What cannot be read is reported
 * on stderr as sha256sum does, and counted. */
#define _GNU_SOURCE 1 /* qsort_r, vasprintf */

#include <loam.h>

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    JOBS = 512,          /* files between walk and print */
    HASHERS_MAX = 16,    /* files open at once */
    AHEAD_MAX = 16,      /* directories listed ahead at once */
    AHEAD_PER_LEVEL = 4, /* of these in one directory: the deeper ones are needed sooner */
    READ_SIZE = 128 << 10,
    OUT_SIZE = 64 << 10,
    DIGEST_SIZE = 32,
};

enum { STATUS_FINE = 0, STATUS_UNREADABLE = 1, STATUS_USAGE = 2 };

struct job {
    char *path;
    size_t path_size;
    uint64_t bytes;
    int err; /* errno's, 0: fine */
    unsigned char digest[DIGEST_SIZE];
    loam_chan(char) done; /* one value a round */
};

struct tree {
    loam_chan(struct job *) free;
    loam_chan(struct job *) work;
    loam_chan(struct job *) order;
    loam_chan(char) stop_progress;
    struct loam_waitgroup hashers, printer, progress;
    EVP_MD *sha256;
    int ahead;  /* walk: directories being listed ahead */
    char *path; /* walk: the current one */
    size_t path_size;
    struct loam_mutex terminal; /* one message at a time, and not amid the line of progress */
    bool show_progress, out_is_terminal, line_shown;
    char *out;       /* print: lines not written yet */
    size_t out_used; /* print */
    /* Counters: each has one writer or is added to atomically, progress reads them meanwhile. */
    uint64_t files, bytes, directories, bad_files, bad_directories;
};

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED); /* a statistic: orders nothing */
}

static uint64_t counted(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void *need(void *p)
{
    if (p == NULL) {
        static const char text[] = "treehash: out of memory\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        _exit(STATUS_UNREADABLE);
    }
    return p;
}

/* ---- Messages -------------------------------------------------------------------------------- */

struct text {
    int fd;
    const char *bytes;
    size_t size;
    int err;
};

/* Blocks: a terminal may be stopped, a pipe full. */
static void write_all(void *arg)
{
    struct text *t = arg;
    while (t->size > 0) {
        ssize_t n = write(t->fd, t->bytes, t->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            t->err = errno;
            return;
        }
        t->bytes += n;
        t->size -= (size_t)n;
    }
}

static void say(struct tree *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct tree *t, const char *format, ...)
{
    char *message = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&message, format, args);
    va_end(args);
    if (n < 0)
        return;
    struct text text = {.fd = STDERR_FILENO, .bytes = message, .size = (size_t)n};
    struct text clear = {.fd = STDERR_FILENO, .bytes = "\r\033[K", .size = 4};
    loam_mutex_lock(&t->terminal);
    if (t->line_shown)
        loam_blocking(write_all, &clear);
    t->line_shown = false;
    loam_blocking(write_all, &text);
    loam_mutex_unlock(&t->terminal);
    free(message);
}

/* sha256sum's escapes: names may hold anything but a slash. Needs 2 * strlen(path) + 1 bytes. */
static size_t escape(char *out, const char *path)
{
    char *p = out;
    for (; *path != '\0'; path++) {
        const char *at = strchr("\\\n\r", *path);
        if (at != NULL)
            *p++ = '\\';
        *p++ = at != NULL ? "\\nr"[at - "\\\n\r"] : *path;
    }
    return (size_t)(p - out);
}

static const char special[] = "\\\n\r";

static void say_unreadable(struct tree *t, const char *path, int err)
{
    char *name = need(malloc(2 * strlen(path) + 1));
    name[escape(name, path)] = '\0';
    say(t, "treehash: %s: %s\n", name, strerror(err));
    free(name);
}

/* ---- Hashing: many goroutines ------------------------------------------------------------------ */

struct reader {
    const char *path;
    unsigned char *buf;
    size_t n; /* bytes in buf */
    int fd;   /* -1: closed, what is in buf is the rest */
    int err;
};

/* Blocks: fills buf; closes at the end of the file. */
static void read_more(void *arg)
{
    struct reader *r = arg;
    r->n = 0;
    while (r->n < READ_SIZE) {
        ssize_t n = read(r->fd, r->buf + r->n, READ_SIZE - r->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            r->err = n < 0 ? errno : 0;
            close(r->fd);
            r->fd = -1;
            return;
        }
        r->n += (size_t)n;
    }
}

/* Blocks: opens and begins to read; for most files that is all. */
static void read_first(void *arg)
{
    struct reader *r = arg;
    struct stat st;
    r->n = 0;
    r->err = 0;
    /* nonblock: what was a file when it was listed may be a pipe without a writer by now */
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (r->fd < 0) {
        r->err = errno;
        return;
    }
    if (fstat(r->fd, &st) != 0)
        r->err = errno;
    else if (!S_ISREG(st.st_mode))
        r->err = ESTALE;
    if (r->err != 0) {
        close(r->fd);
        r->fd = -1;
        return;
    }
    read_more(r);
}

static void hash_file(struct tree *t, struct job *j, EVP_MD_CTX *ctx, unsigned char *buf)
{
    struct reader r = {.path = j->path, .buf = buf};
    bool fine = EVP_DigestInit_ex2(ctx, t->sha256, NULL) == 1;
    j->bytes = 0;
    loam_blocking(read_first, &r);
    for (;;) {
        fine = fine && EVP_DigestUpdate(ctx, buf, r.n) == 1;
        j->bytes += r.n;
        count(&t->bytes, r.n);
        if (r.fd < 0)
            break;
        loam_blocking(read_more, &r);
    }
    fine = fine && EVP_DigestFinal_ex(ctx, j->digest, NULL) == 1;
    j->err = r.err != 0 ? r.err : fine ? 0 : ENOMEM;
}

static void hash(void *arg)
{
    struct tree *t = arg;
    unsigned char *buf = need(malloc(READ_SIZE));
    EVP_MD_CTX *ctx = need(EVP_MD_CTX_new());
    for (struct job *j; loam_recv_ok(t->work, &j);) {
        hash_file(t, j, ctx, buf);
        loam_send(j->done, 1);
    }
    EVP_MD_CTX_free(ctx);
    free(buf);
}

/* ---- Printing: one goroutine -------------------------------------------------------------------- */

static void flush(struct tree *t)
{
    struct text text = {.fd = STDOUT_FILENO, .bytes = t->out, .size = t->out_used};
    loam_blocking(write_all, &text);
    t->out_used = 0;
    if (text.err != 0) {
        say(t, "treehash: standard output: %s\n", strerror(text.err));
        _exit(STATUS_UNREADABLE); /* not exit: hashers are still using libcrypto */
    }
}

static void print_line(struct tree *t, const struct job *j)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = strlen(j->path);
    size_t most = 1 + 2 * DIGEST_SIZE + 2 + 2 * length + 1;
    if (t->out_used + most > OUT_SIZE)
        flush(t);
    char *p = t->out + t->out_used;
    bool escaped = strpbrk(j->path, special) != NULL;
    if (escaped)
        *p++ = '\\';
    for (int i = 0; i < DIGEST_SIZE; i++) {
        *p++ = digits[j->digest[i] >> 4];
        *p++ = digits[j->digest[i] & 15];
    }
    *p++ = ' ';
    *p++ = ' ';
    if (escaped)
        p += escape(p, j->path);
    else
        p = (char *)memcpy(p, j->path, length) + length;
    *p++ = '\n';
    t->out_used = (size_t)(p - t->out);
    if (t->out_is_terminal)
        flush(t);
}

static void print(void *arg)
{
    struct tree *t = arg;
    for (struct job *j; loam_recv_ok(t->order, &j);) {
        (void)loam_recv(j->done);
        if (j->err == 0) {
            print_line(t, j);
            count(&t->files, 1);
        } else {
            say_unreadable(t, j->path, j->err);
            count(&t->bad_files, 1);
        }
        loam_send(t->free, j);
    }
    flush(t);
}

/* ---- Progress: one goroutine, on a terminal ------------------------------------------------------ */

static void progress(void *arg)
{
    struct tree *t = arg;
    struct loam_ticker *ticker = need(loam_ticker_new(100 * LOAM_MILLISECOND));
    int64_t begin = loam_now(), now;
    char ignored;
    while (loam_select(loam_on_recv(loam_ticker_chan(ticker), &now),
                       loam_on_recv(t->stop_progress, &ignored)) == 0) {
        double s = (double)(loam_now() - begin) / 1e9;
        uint64_t files = counted(&t->files);
        double mb = (double)counted(&t->bytes) / 1e6;
        say(t, "%llu files, %.1f MB, %.0f files/s, %.1f MB/s", (unsigned long long)files, mb,
            (double)files / s, mb / s);
        t->line_shown = true;
    }
    loam_ticker_free(ticker);
    say(t, "%s", ""); /* takes the line away */
}

/* ---- Walking: the main goroutine, and those that list ahead --------------------------------------- */

struct ahead;

struct entry {
    size_t name; /* offset in names */
    bool is_dir;
    struct ahead *ahead; /* being listed already, or NULL */
};

struct listing {
    char *names;
    size_t names_used, names_size;
    struct entry *entries;
    size_t count, size;
    size_t look;      /* entries before it were looked at for listing ahead */
    int ahead;        /* of its directories, how many are being listed ahead */
    int err;          /* errno's; what was read before it is there all the same */
    const char *path; /* while it is read */
};

/* A directory that somebody lists while walk is elsewhere. */
struct ahead {
    struct listing listing;
    loam_chan(char) done;
    char path[];
};

static void add_entry(struct listing *l, const char *name, bool is_dir)
{
    size_t size = strlen(name) + 1;
    if (l->names_used + size > l->names_size) {
        l->names_size = 2 * l->names_size + size + 1024;
        l->names = need(realloc(l->names, l->names_size));
    }
    if (l->count == l->size) {
        l->size = 2 * l->size + 32;
        l->entries = need(realloc(l->entries, l->size * sizeof *l->entries));
    }
    l->entries[l->count++] = (struct entry){.name = l->names_used, .is_dir = is_dir};
    memcpy(l->names + l->names_used, name, size);
    l->names_used += size;
}

/* By the bytes of the paths that begin with them: a directory's name is followed by a slash. */
static int compare(const void *a, const void *b, void *names)
{
    const struct entry *x = a, *y = b;
    const unsigned char *p = (unsigned char *)names + x->name,
                        *q = (unsigned char *)names + y->name;
    while (*p == *q && *p != '\0')
        p++, q++;
    int c = *p != '\0' ? *p : x->is_dir ? '/' : 0;
    int d = *q != '\0' ? *q : y->is_dir ? '/' : 0;
    return c - d;
}

/* Blocks: reads and sorts a directory. */
static void list(void *arg)
{
    struct listing *l = arg;
    int fd = open(l->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        l->err = errno;
        if (fd >= 0)
            close(fd);
        return;
    }
    for (;;) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (d == NULL) {
            l->err = errno;
            break;
        }
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        int type = d->d_type;
        struct stat st;
        if (type == DT_UNKNOWN) /* a file system that does not say */
            type = fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0
                       ? DT_REG /* to be reported when it is opened */
                       : IFTODT(st.st_mode);
        if (type == DT_REG || type == DT_DIR)
            add_entry(l, d->d_name, type == DT_DIR);
    }
    closedir(dir);
    if (l->count > 0)
        qsort_r(l->entries, l->count, sizeof *l->entries, compare, l->names);
}

static void free_listing(struct listing *l)
{
    free(l->names);
    free(l->entries);
}

/* A goroutine: lists one directory ahead. */
static void list_ahead(void *arg)
{
    struct ahead *a = arg;
    loam_blocking(list, &a->listing);
    loam_send(a->done, 1);
}

/* t->path becomes its first `length` bytes and the name; returns the new length. */
static size_t set_path(struct tree *t, size_t length, const char *name)
{
    size_t size = length + strlen(name) + 2;
    if (size > t->path_size) {
        t->path_size = 2 * size;
        t->path = need(realloc(t->path, t->path_size));
    }
    if (length > 0 && t->path[length - 1] != '/')
        t->path[length++] = '/';
    strcpy(t->path + length, name);
    return length + strlen(name);
}

/* Starts listing the next directories of l, as far as the limits allow. */
static void look_ahead(struct tree *t, struct listing *l, size_t length)
{
    for (; l->look < l->count && l->ahead < AHEAD_PER_LEVEL && t->ahead < AHEAD_MAX; l->look++) {
        struct entry *e = &l->entries[l->look];
        if (!e->is_dir)
            continue;
        size_t end = set_path(t, length, l->names + e->name);
        struct ahead *a = need(calloc(1, sizeof *a + end + 1));
        memcpy(a->path, t->path, end + 1);
        a->listing.path = a->path;
        a->done = loam_chan_make(char, 1);
        if (loam_go(list_ahead, a) != 0) { /* no memory for its stack: walk does it itself */
            loam_chan_free(a->done);
            free(a);
            l->look++;
            return;
        }
        e->ahead = a;
        l->ahead++;
        t->ahead++;
    }
}

/* The listing of the directory at t->path, which is the entry e of l. */
static struct listing take_listing(struct tree *t, struct listing *l, struct entry *e)
{
    struct listing sub = {.path = t->path};
    struct ahead *a = e->ahead;
    if (a == NULL) {
        loam_blocking(list, &sub);
        return sub;
    }
    (void)loam_recv(a->done);
    sub = a->listing;
    loam_chan_free(a->done);
    free(a);
    l->ahead--;
    t->ahead--;
    return sub;
}

static void send_file(struct tree *t)
{
    struct job *j = loam_recv(t->free);
    size_t size = strlen(t->path) + 1;
    if (size > j->path_size) {
        j->path_size = size + 128;
        free(j->path);
        j->path = need(malloc(j->path_size));
    }
    memcpy(j->path, t->path, size);
    loam_send(t->order, j);
    loam_send(t->work, j);
}

/* Everything below the directory at t->path, whose listing this is. Recursion as deep as the tree,
 * at most PATH_MAX / 2: the main goroutine has the stack of a main thread. */
static void walk(struct tree *t, struct listing *l)
{
    size_t length = strlen(t->path);
    count(&t->directories, 1);
    if (l->err != 0) {
        say_unreadable(t, t->path, l->err);
        count(&t->bad_directories, 1);
    }
    for (size_t i = 0; i < l->count; i++) {
        struct entry *e = &l->entries[i];
        if (l->look < i)
            l->look = i;
        look_ahead(t, l, length);
        (void)set_path(t, length, l->names + e->name);
        if (e->is_dir) {
            struct listing sub = take_listing(t, l, e);
            walk(t, &sub);
            free_listing(&sub);
        } else {
            send_file(t);
        }
        t->path[length] = '\0';
    }
}

/* ---- The program ---------------------------------------------------------------------------------- */

static void walk_root(struct tree *t, const char *root)
{
    struct stat st;
    (void)set_path(t, 0, root);
    if (lstat(root, &st) != 0) {
        say_unreadable(t, root, errno);
        count(&t->bad_files, 1);
    } else if (S_ISREG(st.st_mode)) {
        send_file(t);
    } else if (S_ISDIR(st.st_mode)) {
        struct listing l = {.path = root};
        loam_blocking(list, &l);
        walk(t, &l);
        free_listing(&l);
    } else if (S_ISLNK(st.st_mode)) {
        say(t, "treehash: %s is a symbolic link and not followed; %s/ would be\n", root, root);
    }
}

static int hash_tree(struct tree *t, const char *root, bool summary)
{
    struct job *jobs = need(calloc(JOBS, sizeof *jobs));
    int64_t begin = loam_now();
    t->sha256 = need(EVP_MD_fetch(NULL, "SHA256", NULL));
    t->out = need(malloc(OUT_SIZE));
    t->free = loam_chan_make(struct job *, JOBS);
    t->work = loam_chan_make(struct job *, JOBS);
    t->order = loam_chan_make(struct job *, JOBS);
    t->stop_progress = loam_chan_make(char, 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].done = loam_chan_make(char, 1);
        loam_send(t->free, &jobs[i]);
    }
    int hashers = 4 * loam_gomaxprocs(0), err = 0;
    for (int i = 0; i < (hashers < HASHERS_MAX ? hashers : HASHERS_MAX) && err == 0; i++)
        err = loam_waitgroup_go(&t->hashers, hash, t);
    if (err == 0)
        err = loam_waitgroup_go(&t->printer, print, t);
    if (err == 0 && t->show_progress)
        err = loam_waitgroup_go(&t->progress, progress, t);
    if (err != 0) {
        say(t, "treehash: cannot start a goroutine: %s\n", loam_error_text());
        return STATUS_UNREADABLE;
    }

    walk_root(t, root);
    loam_close(t->work);
    loam_waitgroup_wait(&t->hashers);
    loam_close(t->order);
    loam_waitgroup_wait(&t->printer);
    loam_close(t->stop_progress);
    loam_waitgroup_wait(&t->progress);

    double s = (double)(loam_now() - begin) / 1e9;
    if (t->bad_files + t->bad_directories > 0)
        say(t, "treehash: %llu files and %llu directories could not be read\n",
            (unsigned long long)t->bad_files, (unsigned long long)t->bad_directories);
    if (summary)
        say(t, "treehash: files=%llu directories=%llu bytes=%llu unreadable=%llu seconds=%.6f\n",
            (unsigned long long)t->files, (unsigned long long)t->directories,
            (unsigned long long)t->bytes, (unsigned long long)(t->bad_files + t->bad_directories),
            s);
    for (int i = 0; i < JOBS; i++) {
        loam_chan_free(jobs[i].done);
        free(jobs[i].path);
    }
    free(jobs);
    loam_chan_free(t->free);
    loam_chan_free(t->work);
    loam_chan_free(t->order);
    loam_chan_free(t->stop_progress);
    free(t->path);
    free(t->out);
    EVP_MD_free(t->sha256);
    return t->bad_files + t->bad_directories > 0 ? STATUS_UNREADABLE : STATUS_FINE;
}

static const char help[] =
    "Usage: treehash [OPTION] DIR\n"
    "Prints the SHA-256 of every regular file below DIR, sorted by path, as sha256sum does.\n"
    "Symbolic links are not followed.\n"
    "\n"
    "  -s, --summary      print a line of figures on standard error at the end\n"
    "  -q, --no-progress  show no progress; it is shown on a terminal only\n"
    "  -h, --help         print this\n"
    "\n"
    "Exit status: 0 all read, 1 some files or directories could not be read, 2 wrong usage.\n";

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "treehash: %s%s\nTry 'treehash --help'.\n", what, word);
    return STATUS_USAGE;
}

static int tree_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"summary", no_argument, NULL, 's'},
        {"no-progress", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct tree t = {.show_progress = isatty(STDERR_FILENO), .out_is_terminal = isatty(1)};
    bool summary = false;
    for (int c; (c = getopt_long(argc, argv, ":sqh", options, NULL)) != -1;) {
        switch (c) {
        case 's':
            summary = true;
            break;
        case 'q':
            t.show_progress = false;
            break;
        case 'h':
            fputs(help, stdout);
            return fflush(stdout) == 0 ? STATUS_FINE : STATUS_UNREADABLE;
        default:
            return usage("unknown option ", argv[optind - 1]);
        }
    }
    if (optind == argc)
        return usage("which directory?", "");
    if (optind + 1 < argc)
        return usage("one directory at a time, not also ", argv[optind + 1]);
    if (argv[optind][0] == '\0')
        return usage("the directory's name is empty", "");
    return hash_tree(&t, argv[optind], summary);
}

int main(int argc, char **argv)
{
    return loam_run(tree_main, argc, argv);
}
