/* The tour on paper: a block a step, from the same object that --json prints.
 *
 * Tables are aligned by their columns; the last column is as long as it is. Colours on a terminal
 * only: the verdict, and the instruction or line that matters ("key": "*"). */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"
#include "tour.h"

enum { COLUMNS_MAX = 12, WIDTH = 100, WIDTH_MIN = 60, INDENT = 10 };

static const char *colour(const char *code)
{
    return message_colours(STDOUT_FILENO) ? code : "";
}

#define BOLD colour("\033[1m")
#define DIM colour("\033[2m")
#define PLAIN colour("\033[0m")

static const char *verdict_colour(const char *verdict)
{
    return strcmp(verdict, "HOLDS") == 0     ? colour("\033[1;32m")
           : strcmp(verdict, "DIFFERS") == 0 ? colour("\033[1;33m")
                                             : colour("\033[1;31m");
}

static int width(void)
{
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0)
        return WIDTH;
    return w.ws_col < WIDTH_MIN ? WIDTH_MIN : w.ws_col < WIDTH ? w.ws_col : WIDTH;
}

/* A paragraph behind a label, broken between words; its lines begin at a column. */
static void print_paragraph(const char *label, int column, const char *text)
{
    int at = column, right = width();
    printf("  %s%-*s%s", DIM, column - 2, label, PLAIN);
    for (const char *p = text; *p != '\0';) {
        int n = (int)strcspn(p, " \n");
        if (at > column && at + 1 + n > right) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, p);
        at += n;
        p += n;
        p += strspn(p, " \n");
    }
    putchar('\n');
}

static void print_text(const char *label, const char *text)
{
    print_paragraph(label, INDENT, text);
}

/* ---- Tables ------------------------------------------------------------------------------------------- */

static const char *cell(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    return json_is_string(value)    ? json_string_value(value)
           : json_is_integer(value) ? keep_format("%lld", (long long)json_integer_value(value))
           : json_is_boolean(value) ? (json_is_true(value) ? "yes" : "no")
                                    : "";
}

/* Numbers stand to the right, but for addresses. */
static bool is_number(const json_t *rows, const char *key)
{
    return json_is_integer(json_object_get(json_array_get(rows, 0), key));
}

static void print_table(const json_t *rows)
{
    const char *keys[COLUMNS_MAX], *key;
    int widths[COLUMNS_MAX];
    size_t n = 0, i;
    json_t *row, *value, *first = json_array_get(rows, 0);
    json_object_foreach(first, key, value)
        if (n < COLUMNS_MAX) {
            keys[n] = key;
            widths[n++] = (int)strlen(key);
        }
    json_array_foreach(rows, i, row)
        for (size_t k = 0; k < n; k++) {
            int length = (int)strlen(cell(row, keys[k]));
            widths[k] = length > widths[k] ? length : widths[k];
        }
    bool marks = n > 0 && strcmp(keys[0], "key") == 0;
    printf("%*s%s", INDENT + 2, "", DIM);
    for (size_t k = 0; k < n; k++)
        printf("%*s%s",
               is_number(rows, keys[k]) ? widths[k]
               : k + 1 < n              ? -widths[k]
                                        : 0,
               k == 0 && marks ? "" : keys[k], k + 1 < n ? "  " : "");
    printf("%s\n", PLAIN);
    json_array_foreach(rows, i, row) {
        bool marked = marks && strcmp(cell(row, "key"), "*") == 0;
        printf("%*s%s", INDENT + 2, "", marked ? BOLD : "");
        for (size_t k = 0; k < n; k++)
            printf("%*s%s",
                   is_number(rows, keys[k]) ? widths[k]
                   : k + 1 < n              ? -widths[k]
                                            : 0,
                   cell(row, keys[k]), k + 1 < n ? "  " : "");
        printf("%s\n", marked ? PLAIN : "");
    }
}

static void print_tables(const char *label, const json_t *tables)
{
    const char *name;
    json_t *rows;
    json_object_foreach((json_t *)tables, name, rows) {
        printf("  %s%-*s%s%s\n", DIM, INDENT - 2, label, PLAIN, name);
        print_table(rows);
        label = "";
    }
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

static void print_checks(const json_t *checks)
{
    const char *label = "checks";
    size_t i;
    json_t *check;
    json_array_foreach(checks, i, check) {
        bool ok = json_is_true(get(check, "ok"));
        const char *claim = get_text(check, "claim");
        const char *mark = !ok                          ? "WRONG  "
                           : claim[0] == '\0'           ? "ok     "
                           : strcmp(claim, "true") == 0 ? "true   "
                                                        : "untrue ";
        printf("  %s%-*s%s%s%s%s%s\n", DIM, INDENT - 2, label, PLAIN, ok ? "" : verdict_colour(""),
               mark, ok ? "" : PLAIN, get_text(check, "check"));
        if (get_text(check, "found")[0] != '\0')
            print_paragraph("", INDENT + 7, get_text(check, "found"));
        label = "";
    }
}

void print_step(const json_t *step)
{
    const char *verdict = get_text(step, "verdict");
    const char *head = keep_format("%s  %s", get_text(step, "id"), get_text(step, "title"));
    const char *section = keep_format("document, section %s", get_text(step, "section"));
    int gap = width() - (int)(strlen(head) + strlen(section) + 2 + strlen("DIFFERS"));
    printf("\n%s%s%s%*s%s%s%s  %s%s%s\n", BOLD, head, PLAIN, gap > 2 ? gap : 2, "", DIM, section,
           PLAIN, verdict_colour(verdict), verdict, PLAIN);
    print_text("claim", get_text(step, "claim"));
    print_tables("states", get(step, "states"));
    print_tables("memory", get(step, "memory"));
    print_tables("machine", get(step, "machine"));
    print_checks(get_rows(step, "checks"));
    print_text("Go", get_text(step, "go"));
    print_text("Loam", get_text(step, "loam"));
    print_text("verdict", keep_format("%s%s%s: %s", verdict_colour(verdict), verdict, PLAIN,
                                      get_text(step, "reason")));
    fflush(stdout);
}

void print_summary(const json_t *tour)
{
    const json_t *s = get(tour, "summary"), *step;
    size_t i;
    putchar('\n');
    json_array_foreach(get_rows(tour, "steps"), i, step) {
        const char *verdict = get_text(step, "verdict");
        printf("%s%-8s%s %-14s %s\n", verdict_colour(verdict), verdict, PLAIN, get_text(step, "id"),
               strcmp(verdict, "FAILED") == 0 ? get_text(step, "reason") : get_text(step, "title"));
    }
    printf("%lld steps: %lld held, %lld differ from the document as explained, %lld failed",
           (long long)get_number(s, "steps"), (long long)get_number(s, "held"),
           (long long)get_number(s, "differ"), (long long)get_number(s, "failed"));
    if (get(s, "files_per_second") != NULL)
        printf("; treehash on %s: %.0f files/s, %.1f MB/s", get_text(s, "watch_root"),
               json_real_value(get(s, "files_per_second")),
               json_real_value(get(s, "mb_per_second")));
    printf("; %.1f s\n", json_real_value(get(s, "seconds")));
}
