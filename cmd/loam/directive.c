/* Directives: comments at the top of a C file that say what to link, so that `loam run FILE.c` needs
 * no options and the file stays an ordinary C file.
 *
 *   // loam: libs=crypto,z
 *   // loam: pkgs=libcurl
 *
 * Where: before the first line that is neither comment nor blank, on a line that begins with exactly
 * `// loam:` (in a block comment the same words are prose).
 * What: KEY=NAME[,NAME...], several separated by blanks. Keys:
 *   libs    libraries, as -lNAME on the command line, in the order written
 *   pkgs    packages that pkg-config knows: their compiler flags and libraries
 *
 * A name consists of letters, digits and _ . + -, and begins with a letter or digit: a directive can
 * name libraries and nothing else. Rejected: free compiler flags (cgo had to list the harmless ones
 * after -fplugin= was used to run code while compiling); #pragma (compilers warn of unknown ones). */
#include "directive.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "// loam:"

static bool is_name(const char *s, size_t n)
{
    if (n == 0 || !isalnum((unsigned char)s[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && strchr("_.+-", s[i]) == NULL)
            return false;
    return true;
}

/* One KEY=NAME,NAME of n letters. */
static bool take_setting(struct directives *d, const char *s, size_t n, const char *path, int line)
{
    static const char *const keys[] = {"libs", "pkgs"};
    const char *equals = memchr(s, '=', n);
    if (equals == NULL) {
        message_error("%s:%d: '%.*s' in a loam directive is not KEY=NAME", path, line, (int)n, s);
        message_hint("for example: // loam: libs=crypto");
        return false;
    }
    const char *key = keep_bytes(s, (size_t)(equals - s));
    struct words *list = strcmp(key, "libs") == 0   ? &d->libs
                         : strcmp(key, "pkgs") == 0 ? &d->packages
                                                    : NULL;
    if (list == NULL) {
        const char *meant = nearest(key, keys, nelem(keys));
        message_error("%s:%d: unknown key '%s' in a loam directive", path, line, key);
        if (meant != NULL)
            message_hint("did you mean %s=?", meant);
        else
            message_hint("there are libs= (names for -l) and pkgs= (names for pkg-config)");
        return false;
    }
    const char *end = s + n;
    for (const char *p = equals + 1;; p++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma != NULL ? comma : end;
        if (!is_name(p, (size_t)(stop - p))) {
            message_error("%s:%d: '%.*s' is no name of a library", path, line, (int)(stop - p), p);
            message_hint("names are letters, digits and _ . + -, separated by commas alone");
            return false;
        }
        const char *name = keep_bytes(p, (size_t)(stop - p));
        words_add(list, name);
        words_add(&d->where, keep_format("%s:%d asks for %s (%s)", path, line, name, key));
        if (comma == NULL)
            return true;
        p = comma;
    }
}

/* The settings behind "loam:". */
static bool take_directive(struct directives *d, const char *p, const char *path, int line)
{
    int settings = 0;
    for (;;) {
        p += strspn(p, " \t\r\n");
        if (*p == '\0')
            break;
        size_t n = strcspn(p, " \t\r\n");
        if (!take_setting(d, p, n, path, line))
            return false;
        settings++;
        p += n;
    }
    if (settings == 0) {
        message_error("%s:%d: this loam directive says nothing", path, line);
        message_hint("for example: // loam: libs=crypto");
        return false;
    }
    return true;
}

/* What a line at the top of a file is. *in_block: a block comment is open, before and after it. */
static enum kind { CODE, COMMENT, DIRECTIVE } classify(const char *line, bool *in_block)
{
    const char *p = line + strspn(line, " \t\r\n");
    if (!*in_block) {
        if (*p == '\0' || strncmp(p, "//", 2) == 0)
            return strncmp(line, MARK, strlen(MARK)) == 0 ? DIRECTIVE : COMMENT;
        if (strncmp(p, "/*", 2) != 0)
            return CODE;
        p += 2;
    }
    const char *close = strstr(p, "*/");
    *in_block = close == NULL;
    return close != NULL && close[2 + strspn(close + 2, " \t\r\n")] != '\0' ? CODE : COMMENT;
}

bool directives_read(struct directives *d, const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        message_error("cannot read %s: %s", path, strerror(errno));
        return false;
    }
    char *line = NULL;
    size_t capacity = 0;
    bool in_block = false, ok = true;
    for (int number = 1; ok && getline(&line, &capacity, f) > 0; number++) {
        enum kind kind = classify(line, &in_block);
        if (kind == CODE)
            break;
        if (kind == DIRECTIVE)
            ok = take_directive(d, line + strlen(MARK), path, number);
    }
    if (ok && ferror(f)) {
        message_error("cannot read %s: %s", path, strerror(errno));
        ok = false;
    }
    free(line);
    fclose(f);
    return ok;
}
