/* From C files to a linked program: which compiler, which flags, which library, in what order.
 *
 * One call of the compiler's driver compiles and links all files; with the files of a typical
 * program that is faster than a process for each step, and its messages come as everybody knows
 * them. The driver gets a TMPDIR of ours, so that what it leaves when it is killed goes with it.
 *
 * The order of flags lets the user win: Loam's own, then the environment's, then the command
 * line's. */
#include "compile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "module.h"
#include "pcln.h"
#include "split.h"

/* ---- Options --------------------------------------------------------------------------------- */

enum {
    KEY_CC = 0x100,
    KEY_CFLAGS,
    KEY_LDFLAGS,
    KEY_MIGRATABLE,
    KEY_SANITIZE,
    KEY_STACK,
    KEY_VARIANT
};

static const struct argp_option options[] = {
    {NULL, 'O', "LEVEL", 0, "Optimise as the compiler's -OLEVEL does (default 2)", 1},
    {NULL, 'D', "NAME[=VALUE]", 0, "Define a macro", 1},
    {NULL, 'I', "DIR", 0, "Look for headers in DIR too", 1},
    {NULL, 'l', "LIBRARY", 0, "Link a library", 1},
    {NULL, 'L', "DIR", 0, "Look for libraries in DIR too", 1},
    {"cflags", KEY_CFLAGS, "FLAGS", 0, "More flags for the compiler, split as by a shell", 1},
    {"ldflags", KEY_LDFLAGS, "FLAGS", 0, "More flags for linking", 1},
    {"cc", KEY_CC, "COMMAND", 0,
     "The C compiler (default: $CC, else the first of cc, gcc and clang on PATH)", 1},
    {"sanitize", KEY_SANITIZE, "WHAT", 0,
     "Build with a sanitizer: address, thread or undefined; needs that build of the library", 1},
    {"variant", KEY_VARIANT, "NAME", 0,
     "Link another build of the library: release, debug, torture, asan, tsan or ubsan", 1},
    {"stack", KEY_STACK, "KIND", 0,
     "Stacks of goroutines: slots (default), of a fixed size, for any code; small, which begin "
     "with "
     "2 KB and grow: gcc on x86-64 only, and code that cannot be guarded is refused",
     1},
    {"migratable", KEY_MIGRATABLE, NULL, 0,
     "The C files use nothing that belongs to a thread (errno, thread-locals, its locks): loops "
     "that "
     "never call Loam are preempted without keeping a thread each; x86-64 only",
     1},
    {"verbose", 'v', NULL, 0, "Show the commands", 1},
    {0},
};

static const struct {
    const char *variant, *sanitizer;
} variants[] = {
    {"release", NULL},   {"debug", NULL},    {"torture", NULL},
    {"asan", "address"}, {"tsan", "thread"}, {"ubsan", "undefined"},
};

const char *compile_sanitizer_of(const char *variant)
{
    for (size_t i = 0; i < nelem(variants); i++)
        if (strcmp(variants[i].variant, variant) == 0)
            return variants[i].sanitizer;
    return NULL;
}

static error_t set_variant(struct compile *c, const char *name, struct argp_state *state)
{
    for (size_t i = 0; i < nelem(variants); i++) {
        if (strcmp(variants[i].variant, name) == 0) {
            c->variant = name;
            c->sanitizer = variants[i].sanitizer;
            return 0;
        }
    }
    argp_error(state, "--variant=%s: there are release, debug, torture, asan, tsan and ubsan",
               name);
    return EINVAL;
}

static error_t set_sanitizer(struct compile *c, const char *name, struct argp_state *state)
{
    for (size_t i = 0; i < nelem(variants); i++) {
        if (variants[i].sanitizer != NULL && strcmp(variants[i].sanitizer, name) == 0) {
            c->variant = variants[i].variant;
            c->sanitizer = name;
            return 0;
        }
    }
    argp_error(state, "--sanitize=%s: there are address, thread and undefined", name);
    return EINVAL;
}

static error_t add_words(struct words *w, const char *text, struct argp_state *state)
{
    if (words_split(w, text))
        return 0;
    argp_error(state, "a quote is not closed in: %s", text);
    return EINVAL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct compile *c = state->input;
    switch (key) {
    case 'O':
        c->level = arg;
        return 0;
    case 'D':
    case 'I':
        words_add(&c->flags, keep_format("-%c%s", key, arg));
        return 0;
    case 'l':
    case 'L':
        words_add(&c->link_flags, keep_format("-%c%s", key, arg));
        return 0;
    case 'v':
        c->verbose = true;
        return 0;
    case KEY_CC:
        c->cc = arg;
        return 0;
    case KEY_CFLAGS:
        return add_words(&c->flags, arg, state);
    case KEY_LDFLAGS:
        return add_words(&c->link_flags, arg, state);
    case KEY_MIGRATABLE:
        c->migratable = true;
        return 0;
    case KEY_SANITIZE:
        return set_sanitizer(c, arg, state);
    case KEY_STACK:
        c->small_stacks = strcmp(arg, "small") == 0;
        if (c->small_stacks || strcmp(arg, "slots") == 0)
            return 0;
        argp_error(state, "--stack=%s: there are slots and small", arg);
        return EINVAL;
    case KEY_VARIANT:
        return set_variant(c, arg, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp compile_argp = {.options = options, .parser = parse};

void compile_init(struct compile *c)
{
    *c = (struct compile){.level = "2"};
}

/* ---- Files ----------------------------------------------------------------------------------- */

bool compile_is_file(const char *name)
{
    static const char *const endings[] = {".c", ".S", ".s", ".o", ".a"};
    for (size_t i = 0; i < nelem(endings); i++)
        if (ends_with(name, endings[i]) && base_name(name)[0] != '.')
            return true;
    return false;
}

/* Something like `path` in its directory; NULL: nothing is. */
static const char *similar_file(const char *path)
{
    size_t dir_length = (size_t)(base_name(path) - path);
    DIR *d = opendir(dir_length > 0 ? keep_bytes(path, dir_length) : ".");
    if (d == NULL)
        return NULL;
    struct words names = {0};
    for (struct dirent *e; (e = readdir(d)) != NULL && names.count < 1000;)
        if (compile_is_file(e->d_name))
            words_add(&names, keep_format("%s", e->d_name));
    closedir(d);
    const char *meant = nearest(base_name(path), (const char *const *)names.word, names.count);
    return meant == NULL ? NULL : keep_format("%.*s%s", (int)dir_length, path, meant);
}

bool compile_read_files(struct compile *c)
{
    for (size_t i = 0; i < c->files.count; i++) {
        const char *path = c->files.word[i];
        struct stat st;
        if (stat(path, &st) != 0) {
            int err = errno;
            const char *meant = err == ENOENT ? similar_file(path) : NULL;
            message_error("cannot read %s: %s", path, strerror(err));
            if (meant != NULL)
                message_hint("did you mean %s?", meant);
            return false;
        }
        if (S_ISDIR(st.st_mode)) {
            message_error("%s is a directory", path);
            message_hint("name its C files: %s %s%s*.c", message_who, path,
                         ends_with(path, "/") ? "" : "/");
            return false;
        }
        if (!S_ISREG(st.st_mode)) {
            message_error("cannot read %s: it is no regular file", path);
            return false;
        }
        if (!compile_is_file(path)) {
            const char *source = keep_format("%s.c", path);
            message_error("%s: not a file that a C compiler knows by its ending", path);
            if (access(source, R_OK) == 0)
                message_hint("did you mean %s?", source);
            else
                message_hint("there are .c, .S and .s to compile, .o and .a to link");
            return false;
        }
        if (ends_with(path, ".c") && !directives_read(&c->directives, path))
            return false;
    }
    return true;
}

const char *compile_default_name(const struct compile *c)
{
    const char *name = base_name(c->files.word[0]);
    return keep_bytes(name, (size_t)(strrchr(name, '.') - name));
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *compile_output(const struct compile *c)
{
    const char *out = compile_default_name(c);
    if (c->output != NULL)
        out = is_directory(c->output) ? keep_format("%s/%s", c->output, out) : c->output;
    if (!is_directory(out))
        return out;
    message_error("cannot write the program %s: it is a directory", out);
    message_hint("choose a name with -o");
    return NULL;
}

/* ---- The compiler ------------------------------------------------------------------------------ */

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool on_path(const char *command)
{
    if (strchr(command, '/') != NULL)
        return is_program(command);
    const char *path = getenv("PATH");
    if (path == NULL)
        path = "/usr/bin:/bin";
    while (true) {
        size_t n = strcspn(path, ":");
        const char *file = keep_format("%.*s/%s", n > 0 ? (int)n : 1, n > 0 ? path : ".", command);
        if (is_program(file))
            return true;
        if (path[n] == '\0')
            return false;
        path += n + 1;
    }
}

bool compile_find_cc(const char *option, struct words *cc)
{
    static const char *const usual[] = {"cc", "gcc", "clang"};
    const char *from = option != NULL ? "--cc" : "CC";
    const char *text = option != NULL ? option : getenv("CC");
    *cc = (struct words){0};
    if (text != NULL && !words_split(cc, text)) {
        message_error("a quote is not closed in %s: %s", from, text);
        return false;
    }
    if (cc->count > 0) {
        if (on_path(cc->word[0]))
            return true;
        message_error("no compiler '%s', which %s names, on PATH", cc->word[0], from);
        message_hint("install it, or name another with --cc=COMMAND");
        return false;
    }
    for (size_t i = 0; i < nelem(usual); i++) {
        if (on_path(usual[i])) {
            words_add(cc, usual[i]);
            return true;
        }
    }
    message_error("no C compiler: none of cc, gcc and clang is on PATH");
    message_hint("install one (Debian: apt-get install gcc libc6-dev), or name it with --cc or CC");
    return false;
}

/* Adds the words of an environment variable, if it is set. */
static bool add_environment(struct words *w, const char *name)
{
    const char *text = getenv(name);
    if (text == NULL || words_split(w, text))
        return true;
    message_error("a quote is not closed in the environment's %s: %s", name, text);
    return false;
}

bool compile_flags(const struct root *r, const char *level, const char *sanitizer, struct words *w)
{
    words_add(w, "-std=gnu17");
    words_add(w, keep_format("-O%s", level));
    words_add(w, "-g");
    words_add(w, "-fno-omit-frame-pointer");  /* tracebacks walk them */
    words_add(w, "-fstack-clash-protection"); /* no frame steps over a stack's guard */
    words_add(w, "-Wall");
    if (sanitizer != NULL)
        words_add(w, keep_format("-fsanitize=%s", sanitizer));
    words_add(w, keep_format("-I%s", r->include));
    return add_environment(w, "CPPFLAGS") && add_environment(w, "CFLAGS");
}

bool compile_link_flags(const char *sanitizer, struct words *w)
{
    (void)sanitizer; /* -fsanitize is among the compiler's flags, which the linking gets too */
    words_add(w, "-Wl,-z,now");
    words_add(w, "-Wl,--build-id"); /* by which a table and its program know each other */
    return add_environment(w, "LDFLAGS");
}

/* ---- Packages ---------------------------------------------------------------------------------- */

char *compile_capture(struct words *argv, int *status)
{
    /* A file, not a pipe: nobody has to read while it runs. */
    int fd = memfd_create("output", MFD_CLOEXEC);
    if (fd < 0) {
        *status = -errno;
        return keep(1);
    }
    *status = child_run(&(struct child){.kind = CHILD_TOOL, .output = fd}, argv->word);
    struct stat st = {0};
    fstat(fd, &st);
    char *text = keep((size_t)st.st_size + 1); /* zeroed */
    if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size && *status == 0)
        *status = -EIO;
    close(fd);
    return text;
}

/* Runs pkg-config with one option and adds what it prints. */
static bool ask_pkg_config(const struct compile *c, const char *option, struct words *out)
{
    const struct directives *d = &c->directives;
    const char *command = getenv("PKG_CONFIG");
    struct words argv = {0};

    words_add(&argv, command != NULL && command[0] != '\0' ? command : "pkg-config");
    words_add(&argv, option);
    words_add_all(&argv, &d->packages);
    if (c->verbose)
        message_command(argv.word);
    int status;
    char *text = compile_capture(&argv, &status);
    if (status < 0) {
        message_error("cannot run %s: %s", argv.word[0], strerror(-status));
        message_hint("install it (Debian: apt-get install pkg-config)");
    }
    if (status != 0) {
        for (size_t i = 0; i < d->where.count; i++)
            message_hint("%s", d->where.word[i]);
        return false;
    }
    if (words_split(out, text))
        return true;
    message_error("a quote is not closed in what %s prints", words_join(&argv));
    return false;
}

/* ---- Compiling --------------------------------------------------------------------------------- */

/* What all commands begin with: the compiler and its flags. */
static bool make_flags(const struct compile *c, const struct root *r, struct words *cc,
                       struct words *flags)
{
    const char *sanitizer = compile_sanitizer_of(c->variant != NULL ? c->variant : r->variant);
    const char *no_color = getenv("NO_COLOR");
    if (!compile_find_cc(c->cc, cc) || !compile_flags(r, c->level, sanitizer, flags))
        return false;
    if (no_color != NULL && no_color[0] != '\0')
        words_add(flags, "-fdiagnostics-color=never");
    if (c->directives.packages.count > 0 && !ask_pkg_config(c, "--cflags", flags))
        return false;
    words_add_all(flags, &c->flags);
    return true;
}

/* The command line that links, and compiles what files are sources. */
static bool make_command(const struct compile *c, const struct root *r, const char *out,
                         const struct words *flags, const struct words *files, struct words *argv)
{
    const struct directives *d = &c->directives;
    const char *variant = c->variant != NULL ? c->variant : r->variant;
    const char *library = root_library(r, variant);

    if (library == NULL)
        return false;
    words_add_all(argv, flags);
    words_add(argv, "-o");
    words_add(argv, out);
    for (size_t i = 0; i < files->count; i++) {
        const char *file = files->word[i]; /* a name that begins with - is no option */
        words_add(argv, file[0] == '-' ? keep_format("./%s", file) : file);
    }
    if (!compile_link_flags(compile_sanitizer_of(variant), argv))
        return false;
    words_add_all(argv, &c->link_flags);
    for (size_t i = 0; i < d->libs.count; i++)
        words_add(argv, keep_format("-l%s", d->libs.word[i]));
    if (d->packages.count > 0 && !ask_pkg_config(c, "--libs", argv))
        return false;
    words_add(argv, library);
    words_add(argv, "-lpthread");
    return true;
}

/* Runs a compiler's command; false after its message or ours. */
static bool run_compiler(const struct compile *c, struct words *argv, const char *scratch)
{
    if (c->verbose)
        message_command(argv->word);
    if (child_signal() != 0)
        return false;
    int status = child_run(&(struct child){.kind = CHILD_TOOL, .tmpdir = scratch}, argv->word);
    if (status < 0)
        message_error("cannot run %s: %s", argv->word[0], strerror(-status));
    return status == 0 && child_signal() == 0;
}

/* One C file to an object. */
static bool compile_object(const struct compile *c, const struct words *cc,
                           const struct words *flags, const char *source, const char *object,
                           const char *scratch)
{
    struct words argv = {0};
    words_add_all(&argv, cc);
    words_add_all(&argv, flags);
    if (c->small_stacks)
        split_flags(&argv);
    words_add(&argv, "-c");
    words_add(&argv, "-o");
    words_add(&argv, object);
    words_add(&argv, source[0] == '-' ? keep_format("./%s", source) : source);
    return run_compiler(c, &argv, scratch);
}

/* For small stacks: compiles the C files, checks and rewrites all objects that are for them, and makes
 * the bridges. `files` is then what is to be linked. */
static bool make_split(const struct compile *c, const struct words *cc, const struct words *flags,
                       const char *scratch, struct words *files)
{
    struct split s = {0};
    size_t n = 0;
    struct object *objects = keep(c->files.count * sizeof *objects);
    struct words all = {0};
    words_add_all(&all, flags);
    words_add_all(&all, &c->link_flags);
    if (!split_compiler(cc, flags, &all))
        return false;
    for (size_t i = 0; i < c->files.count; i++) {
        const char *file = c->files.word[i], *object = file;
        struct object *o = &objects[n];
        if (ends_with(file, ".a") && !archive_check(file))
            return false;
        if (ends_with(file, ".c")) {
            object = keep_format("%s/%zu.o", scratch, i);
            if (!compile_object(c, cc, flags, file, object, scratch))
                return false;
        }
        bool split = ends_with(object, ".o");
        if (split && !object_read(object, file, o))
            return false;
        split = split && (object != file || object_is_split(o));
        if (split && c->migratable && !module_check(object, file, true))
            return false;
        o->ours = object != file;
        if (split && !object_check(o, &s))
            return false;
        if (split) {
            o->place = files->count;
            n++;
        }
        words_add(files, object);
    }
    for (size_t i = 0; i < n; i++) {
        const char *object = keep_format("%s/s%zu.o", scratch, i);
        if (!object_write(&objects[i], &s, object))
            return false;
        files->word[objects[i].place] = keep_format("%s", object);
    }
    const char *bridges = keep_format("%s/bridges.s", scratch);
    words_add(files, bridges);
    return split_bridges(&s, bridges);
}

/* For migratable code on slots: compiles the C files, checks and renames their code. `files` is then what is
 * to be linked. */
static bool make_module(const struct compile *c, const struct words *cc, const struct words *flags,
                        const char *scratch, struct words *files)
{
    for (size_t i = 0; i < c->files.count; i++) {
        const char *file = c->files.word[i], *object = file;
        if (ends_with(file, ".c")) {
            object = keep_format("%s/%zu.o", scratch, i);
            if (!compile_object(c, cc, flags, file, object, scratch) ||
                !module_check(object, file, false) || !module_rename(object, file))
                return false;
        }
        words_add(files, object);
    }
    return true;
}

static bool add_note(const struct compile *c, const char *scratch, struct words *files)
{
    const char *note = keep_format("%s/module.s", scratch);
    words_add(files, note);
    return module_note(note, c->small_stacks);
}

int compile_program(const struct compile *c, const char *out, const char *scratch)
{
    struct root r;
    struct words cc = {0}, flags = {0}, argv = {0}, files = {0};
    if (!root_find(&r) || !make_flags(c, &r, &cc, &flags))
        return STATUS_FAILED;
    struct words all = {0};
    words_add_all(&all, &flags);
    words_add_all(&all, &c->link_flags);
    if (c->migratable && !module_flags(&all, &flags))
        return STATUS_FAILED;
    if (c->small_stacks) {
        if (!make_split(c, &cc, &flags, scratch, &files))
            return STATUS_FAILED;
    } else if (c->migratable) {
        if (!make_module(c, &cc, &flags, scratch, &files))
            return STATUS_FAILED;
    } else {
        words_add_all(&files, &c->files);
    }
    if (c->migratable && !add_note(c, scratch, &files))
        return STATUS_FAILED;
    words_add_all(&argv, &cc);
    if (c->migratable)
        words_add(&flags, "-Wl,--eh-frame-hdr"); /* not by itself with -static */
    if (!make_command(c, &r, out, &flags, &files, &argv))
        return STATUS_FAILED;
    if (!run_compiler(c, &argv, scratch)) {
        /* The compiler has said what is wrong. If a library is missing it cannot say who asked. */
        for (size_t i = 0; child_signal() == 0 && i < c->directives.where.count; i++)
            message_hint("%s", c->directives.where.word[i]);
        return STATUS_FAILED;
    }
    if (c->small_stacks && !split_check_program(out))
        return STATUS_FAILED;
    /* Without its table a program runs as well; its tracebacks just name no lines. */
    const char *why;
    if (!pcln_add(out, &why)) {
        message_warning("tracebacks will name no functions and lines: %s: %s", out, why);
        message_hint("to make the program smaller, build without -s and strip it afterwards");
    }
    return STATUS_OK;
}

bool compile_wants_fixed_addresses(const struct compile *c)
{
    const char *sanitizer = compile_sanitizer_of(c->variant != NULL ? c->variant : LOAM_VARIANT);
    return sanitizer != NULL && strcmp(sanitizer, "undefined") != 0;
}
