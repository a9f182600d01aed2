/* loam env: what the tool works with, as variables. */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "root.h"
#include "tool.h"

enum { ENTRIES_MAX = 32 };

struct entry {
    const char *name, *value;
};

struct env {
    bool json;
    bool no_cc; /* CC was asked for, and there is none: a message was given */
    struct words asked;
    struct entry entry[ENTRIES_MAX];
    size_t count;
};

static void add(struct env *e, const char *name, const char *value)
{
    e->entry[e->count++] = (struct entry){name, value != NULL ? value : ""};
}

static bool wants(const struct env *e, const char *name)
{
    for (size_t i = 0; i < e->asked.count; i++)
        if (strcmp(e->asked.word[i], name) == 0)
            return true;
    return e->asked.count == 0;
}

/* The first of two variables that is set. */
static const char *either(const char *first, const char *second)
{
    const char *value = getenv(first);
    return value != NULL ? value : getenv(second);
}

/* How many threads would run goroutines: as the runtime reads it at start. */
static const char *effective_maxprocs(void)
{
    const char *text = either("LOAMMAXPROCS", "GOMAXPROCS");
    if (text != NULL) {
        char *end;
        long n = strtol(text, &end, 10);
        if (*end == '\0' && n > 0)
            return text;
    }
    return keep_format("%d", loam_num_cpu());
}

static bool collect(struct env *e)
{
    struct root r;
    struct words cc = {0}, flags = {0}, link_flags = {0};
    if (!root_find(&r))
        return false;
    const char *sanitizer = compile_sanitizer_of(r.variant);
    if (!compile_flags(&r, "2", sanitizer, &flags) || !compile_link_flags(sanitizer, &link_flags))
        return false;

    add(e, "LOAMVERSION", tool_version());
    add(e, "LOAMROOT", r.root);
    add(e, "LOAMTOOL", r.tool);
    add(e, "LOAMINCLUDE", r.include);
    add(e, "LOAMLIBDIR", r.libdir);
    add(e, "LOAMVARIANT", r.variant);
    add(e, "LOAMOS", LOAM_OS);
    add(e, "LOAMARCH", LOAM_ARCH);
    add(e, "LOAMMAXPROCS", effective_maxprocs());
    add(e, "LOAMDEBUG", either("LOAMDEBUG", "GODEBUG"));
    bool has_cc = wants(e, "CC") && compile_find_cc(NULL, &cc);
    e->no_cc = wants(e, "CC") && !has_cc;
    add(e, "CC", has_cc ? words_join(&cc) : NULL);
    add(e, "CFLAGS", words_join(&flags));
    add(e, "LDFLAGS", words_join(&link_flags));
    add(e, "TMPDIR", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    return true;
}

static const struct entry *find(const struct env *e, const char *name)
{
    for (size_t i = 0; i < e->count; i++)
        if (strcmp(e->entry[i].name, name) == 0)
            return &e->entry[i];
    return NULL;
}

static int no_such_name(const struct env *e, const char *name)
{
    const char *names[ENTRIES_MAX];
    for (size_t i = 0; i < e->count; i++)
        names[i] = e->entry[i].name;
    const char *meant = nearest(name, names, e->count);
    message_error("no variable '%s'", name);
    if (meant != NULL)
        message_hint("did you mean %s?", meant);
    else
        message_hint("`loam env` lists them");
    return STATUS_USAGE;
}

/* For the shell: env's output can be sourced. */
static void print_assignment(const struct entry *entry)
{
    printf("%s='", entry->name);
    for (const char *p = entry->value; *p != '\0'; p++) {
        if (*p == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*p);
    }
    puts("'");
}

static int print_json(const struct entry *entries[], size_t n)
{
    json_t *object = json_object();
    int err = object == NULL ? -1 : 0;
    for (size_t i = 0; i < n && err == 0; i++) {
        json_t *value = json_string(entries[i]->value);
        if (value == NULL) { /* not UTF-8 */
            message_error("the value of %s is no text in UTF-8", entries[i]->name);
            json_decref(object);
            return STATUS_FAILED;
        }
        err = json_object_set_new(object, entries[i]->name, value);
    }
    if (err == 0)
        err = json_dumpf(object, stdout, JSON_INDENT(4));
    if (err == 0)
        putchar('\n');
    else
        message_error("cannot write JSON");
    json_decref(object);
    return err == 0 ? STATUS_OK : STATUS_FAILED;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct env *e = state->input;
    switch (key) {
    case 'j':
        e->json = true;
        return 0;
    case ARGP_KEY_ARG:
        words_add(&e->asked, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int env_main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "Options:", 1},
        {"json", 'j', NULL, 0, "As a JSON object (also -json)", 1},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[NAME...]",
        .doc = "Prints what the tool works with, as assignments for a shell; with NAMEs only their "
               "values, a line each.\v"
               "LOAMROOT, LOAMMAXPROCS, LOAMDEBUG, CC, CFLAGS, LDFLAGS and TMPDIR "
               "follow the environment. LOAMMAXPROCS is how many threads would run goroutines "
               "now.",
    };
    struct env e = {0};

    for (int i = 1; i < argc; i++) /* as go env spells it */
        if (strcmp(argv[i], "-json") == 0)
            argv[i] = (char *)"--json";
    tool_parse(&argp, argc, argv, 0, STATUS_USAGE, &e);
    if (!collect(&e))
        return STATUS_FAILED;

    const struct entry *wanted[ENTRIES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < e.asked.count; i++) {
        const struct entry *found = find(&e, e.asked.word[i]);
        if (found == NULL)
            return no_such_name(&e, e.asked.word[i]);
        if (n < ENTRIES_MAX)
            wanted[n++] = found;
    }
    if (e.asked.count == 0)
        for (; n < e.count; n++)
            wanted[n] = &e.entry[n];
    int status = e.json ? print_json(wanted, n) : STATUS_OK;
    for (size_t i = 0; i < n && !e.json; i++) {
        if (e.asked.count > 0)
            puts(wanted[i]->value);
        else
            print_assignment(wanted[i]);
    }
    return e.no_cc ? STATUS_FAILED : status;
}
