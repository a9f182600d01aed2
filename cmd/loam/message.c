/* Messages of the tool: who, what, where, and below it what to do.
 *
 * Everything goes to stderr in one write per line, so that lines of concurrent tools do not mix. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *message_who = "loam";

bool message_colours(int fd)
{
    const char *no_color = getenv("NO_COLOR"); /* https://no-color.org: set and not empty */
    const char *term = getenv("TERM");
    if (no_color != NULL && no_color[0] != '\0')
        return false;
    return term != NULL && strcmp(term, "dumb") != 0 && isatty(fd);
}

static void say(const char *kind, const char *colour, const char *format, va_list args)
{
    bool colours = message_colours(STDERR_FILENO);
    char *text;
    if (vasprintf(&text, format, args) < 0)
        return;
    fflush(stdout);
    fprintf(stderr, "%s: %s%s:%s %s\n", message_who, colours ? colour : "", kind,
            colours ? "\033[0m" : "", text);
    free(text);
}

void message_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("error", "\033[1;31m", format, args);
    va_end(args);
}

void message_warning(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("warning", "\033[1;35m", format, args);
    va_end(args);
}

void message_hint(const char *format, ...)
{
    va_list args;
    char *text;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return;
    fprintf(stderr, "  %s\n", text);
    free(text);
}

void message_command(char *const argv[])
{
    bool colours = message_colours(STDERR_FILENO);
    struct words w = {0};
    for (size_t i = 0; argv[i] != NULL; i++)
        words_add(&w, argv[i]);
    fflush(stdout);
    fprintf(stderr, "%s+ %s%s\n", colours ? "\033[2m" : "", words_join(&w),
            colours ? "\033[0m" : "");
}

/* How many letters must be added, removed, changed or swapped with their neighbour (Damerau and
 * Levenshtein, optimal string alignment); at least `limit` if it is that many or more. */
static size_t distance(const char *a, const char *b, size_t limit)
{
    enum { MAX = 64 };
    size_t row[3][MAX + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > MAX || lb > MAX || (la > lb ? la - lb : lb - la) >= limit)
        return limit;
    for (size_t j = 0; j <= lb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[la % 3][lb];
}

const char *nearest(const char *word, const char *const names[], size_t n)
{
    size_t len = strlen(word);
    /* One slip in a short word, two or three in a long one: more would be guessing. */
    size_t best = len <= 3 ? 2 : len <= 6 ? 3 : 4;
    const char *found = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i], best);
        if (d < best && d < strlen(names[i])) {
            best = d;
            found = names[i];
        }
    }
    /* A beginning of a name: `loam vers`. */
    for (size_t i = 0; found == NULL && len >= 2 && i < n; i++)
        if (strncmp(names[i], word, len) == 0)
            found = names[i];
    return found;
}

bool file_written(FILE *f, bool ok, const char *path)
{
    int err = ok ? 0 : errno;
    if (f != NULL && ferror(f) && ok) {
        ok = false;
        err = EIO; /* which call it was, and why, nobody has kept */
    }
    if (f != NULL && fclose(f) != 0 && ok) {
        ok = false;
        err = errno;
    }
    if (!ok)
        message_error("cannot write %s: %s", path, strerror(err));
    return ok;
}
