/* Checks and verdicts, and the little of JSON that the tour's files need; see tour.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"
#include "tour.h"

/* ---- Checks ------------------------------------------------------------------------------------ */

static const char *text_of(const char *format, va_list args)
{
    char *text;
    if (vasprintf(&text, format, args) < 0)
        return "";
    const char *kept = keep_format("%s", text);
    free(text);
    return kept;
}

static void add_check(struct judge *j, bool ok, const char *check, const char *found)
{
    if (!ok && j->agrees) {
        j->agrees = false;
        j->trouble = keep_format("%s: %s", check, found);
    }
}

void judge_must(struct judge *j, bool good, const char *check, const char *found, ...)
{
    va_list args;
    va_start(args, found);
    const char *text = text_of(found, args);
    va_end(args);
    add_check(j, good, check, text);
    json_array_append_new(j->checks,
                          make("{s:s, s:s, s:b}", "check", check, "found", text, "ok", good));
}

void judge_claim(struct judge *j, bool is_true, bool expected, const char *claim, const char *found,
                 ...)
{
    va_list args;
    va_start(args, found);
    const char *text = text_of(found, args);
    va_end(args);
    add_check(j, is_true == expected, claim, text);
    if (!is_true)
        j->holds = false;
    json_array_append_new(j->checks,
                          make("{s:s, s:s, s:s, s:b}", "check", claim, "found", text, "claim",
                               is_true ? "true" : "false", "ok", is_true == expected));
}

enum verdict judge_verdict(const struct judge *j)
{
    return !j->agrees ? VERDICT_FAILED : j->holds ? VERDICT_HOLDS : VERDICT_DIFFERS;
}

const char *verdict_name(enum verdict v)
{
    return v == VERDICT_HOLDS ? "HOLDS" : v == VERDICT_DIFFERS ? "DIFFERS" : "FAILED";
}

/* ---- JSON -------------------------------------------------------------------------------------- */

json_t *make(const char *format, ...)
{
    va_list args;
    json_error_t error;
    va_start(args, format);
    json_t *value = json_vpack_ex(&error, 0, format, args);
    va_end(args);
    if (value == NULL) { /* no memory, or a text that is not UTF-8 */
        message_error("cannot note a measurement: %s", error.text);
        exit(STATUS_FAILED);
    }
    return value;
}

json_t *hex(uint64_t value)
{
    return make("s", keep_format("0x%llx", (unsigned long long)value));
}

const json_t *get(const json_t *m, const char *path)
{
    while (m != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");
        m = json_object_get(m, keep_bytes(path, n));
        path += n + (path[n] == '.');
    }
    return m;
}

const char *get_text(const json_t *m, const char *path)
{
    const char *text = json_string_value(get(m, path));
    return text != NULL ? text : "";
}

int64_t get_number(const json_t *m, const char *path)
{
    return json_integer_value(get(m, path));
}

const json_t *get_rows(const json_t *m, const char *path)
{
    static json_t *none;
    const json_t *rows = get(m, path);
    if (json_is_array(rows))
        return rows;
    if (none == NULL)
        none = make("[]");
    return none;
}

const char *get_chain(const json_t *m, const char *path)
{
    const char *chain = "";
    size_t i;
    json_t *name;
    json_array_foreach(get_rows(m, path), i, name)
        chain = keep_format("%s%s%s", chain, i > 0 ? " > " : "", json_string_value(name));
    return chain;
}

const json_t *find_row(const json_t *rows, const char *key, const char *text)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
        if (strcmp(get_text(row, key), text) == 0)
            return row;
    return NULL;
}

void put(json_t *m, const char *path, json_t *value)
{
    size_t n;
    while (path[n = strcspn(path, ".")] != '\0') {
        const char *key = keep_bytes(path, n);
        json_t *inner = json_object_get(m, key);
        if (inner == NULL) {
            inner = make("{}");
            json_object_set_new(m, key, inner);
        }
        m = inner;
        path += n + 1;
    }
    json_object_set_new(m, path, value);
}
