/* Memory that lives as long as the tool, and lists of words: argument vectors and their text. */
#include "tool.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every block begins with a link to the one before: all of them stay reachable. */
struct block {
    struct block *before;
    _Alignas(max_align_t) char bytes[];
};
static struct block *blocks;

void *keep(size_t size)
{
    struct block *b = calloc(1, sizeof *b + size);
    if (b == NULL)
        err(STATUS_NOT_RUN, "%s", message_who);
    b->before = blocks;
    blocks = b;
    return b->bytes;
}

char *keep_bytes(const char *text, size_t n)
{
    char *s = keep(n + 1);
    memcpy(s, text, n);
    return s;
}

char *keep_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *s = keep((size_t)n + 1);
    va_start(args, format);
    vsnprintf(s, (size_t)n + 1, format, args);
    va_end(args);
    return s;
}

void words_add(struct words *w, const char *word)
{
    if (w->count + 2 > w->capacity) {
        w->capacity = w->capacity == 0 ? 16 : 2 * w->capacity;
        char **bigger = keep(w->capacity * sizeof *bigger);
        if (w->count > 0)
            memcpy(bigger, w->word, w->count * sizeof *bigger);
        w->word = bigger;
    }
    w->word[w->count++] = (char *)word; /* execv's type; nobody writes through it */
    w->word[w->count] = NULL;
}

void words_add_all(struct words *w, const struct words *more)
{
    for (size_t i = 0; i < more->count; i++)
        words_add(w, more->word[i]);
}

bool words_split(struct words *w, const char *text)
{
    size_t before = w->count;
    char *out = keep(strlen(text) + 1), *start = out;
    bool in_word = false;
    char quote = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (quote == 0 && (*p == ' ' || *p == '\t' || *p == '\n')) {
            if (in_word) {
                *out++ = '\0';
                words_add(w, start);
                start = out;
                in_word = false;
            }
        } else if (quote == 0 && (*p == '\'' || *p == '"')) {
            quote = *p;
            in_word = true;
        } else if (*p == quote) {
            quote = 0;
        } else {
            if (*p == '\\' && quote != '\'' && p[1] != '\0' &&
                (quote == 0 || p[1] == '"' || p[1] == '\\'))
                p++;
            *out++ = *p;
            in_word = true;
        }
    }
    if (quote != 0) {
        w->count = before;
        if (w->word != NULL)
            w->word[before] = NULL;
        return false;
    }
    if (in_word)
        words_add(w, start);
    return true;
}

char *words_join(const struct words *w)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "_-+=./,:@%^";
    size_t size = 1;
    for (size_t i = 0; i < w->count; i++)
        size += 3 + 4 * strlen(w->word[i]); /* each ' becomes '\'' */
    char *text = keep(size), *out = text;
    for (size_t i = 0; i < w->count; i++) {
        const char *s = w->word[i];
        if (i > 0)
            *out++ = ' ';
        if (s[0] != '\0' && s[strspn(s, plain)] == '\0') {
            out = stpcpy(out, s);
            continue;
        }
        *out++ = '\'';
        for (; *s != '\0'; s++) {
            if (*s == '\'')
                out = stpcpy(out, "'\\''");
            else
                *out++ = *s;
        }
        *out++ = '\'';
    }
    return text;
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}
