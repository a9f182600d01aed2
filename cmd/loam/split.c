/* loam build --stack=small: programs whose goroutines begin on 2 KB of stack, which grows by segments.
 *
 * Every C file is compiled with gcc's -fsplit-stack, so that each function looks how much stack is
 * left and calls __morestack, which is the runtime's own (runtime/arch/amd64/morestack.S): the driver
 * does not get -fsplit-stack when it links, with which it would link libgcc's. The objects are
 * checked and rewritten (split_object.c); calls of everything that was not compiled so go through bridges
 * that are made here. What cannot be guarded is refused. */
#include "split.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "compile.h"

/* ---- Names ------------------------------------------------------------------------------------------- */

static size_t names_slot(const struct names *n, const char *name)
{
    size_t h = 5381;
    for (const char *p = name; *p != '\0'; p++)
        h = h * 33 + (unsigned char)*p;
    h &= n->slot_count - 1;
    while (n->slots[h] != 0 && strcmp(n->words.word[n->slots[h] - 1], name) != 0)
        h = (h + 1) & (n->slot_count - 1);
    return h;
}

size_t names_index(const struct names *n, const char *name)
{
    return n->slot_count == 0 ? 0 : n->slots[names_slot(n, name)];
}

bool names_add(struct names *n, const char *name)
{
    if (names_index(n, name) != 0)
        return false;
    words_add(&n->words, name);
    if (2 * n->words.count > n->slot_count) {
        n->slot_count = n->slot_count != 0 ? 2 * n->slot_count : 64;
        n->slots = keep(n->slot_count * sizeof *n->slots);
        for (size_t i = 0; i < n->words.count; i++)
            n->slots[names_slot(n, n->words.word[i])] = i + 1;
    } else {
        n->slots[names_slot(n, name)] = n->words.count;
    }
    return true;
}

/* ---- The compiler ------------------------------------------------------------------------------------ */

void split_flags(struct words *w)
{
    static const char *const flags[] = {
        "-fsplit-stack",
        /* every call through a pointer goes to a thunk of the runtime */
        "-mindirect-branch=thunk-extern",
        "-mindirect-branch-register",
        "-fno-jump-tables", /* their jumps would too */
        "-fno-omit-frame-pointer",
        "-maccumulate-outgoing-args", /* split_arguments.c */
        "-fplt",
        "-fcf-protection=none",
        "-fno-stack-clash-protection", /* it would touch the stack before the look */
        "-fno-lto",
        "-D__builtin_setjmp=loam_refused_builtin_setjmp",
        "-D__builtin_longjmp=loam_refused_builtin_longjmp",
        "-D__builtin_apply=loam_refused_builtin_apply",
    };
    for (size_t i = 0; i < nelem(flags); i++)
        words_add(w, flags[i]);
}

static bool refuse(const char *what, const char *hint)
{
    message_error("--stack=small: %s", what);
    message_hint("%s", hint);
    message_hint("or build with --stack=slots, the default, where any code runs");
    return false;
}

static bool check_flags(const struct words *flags)
{
    for (size_t i = 0; i < flags->count; i++) {
        const char *f = flags->word[i];
        if (strncmp(f, "-flto", 5) == 0)
            return refuse(
                keep_format("%s leaves the code to the linker, where nothing checks it", f),
                "leave it out");
        if (strncmp(f, "-fsanitize", 10) == 0)
            return refuse(keep_format("%s: sanitizers know nothing of stacks in pieces", f),
                          "leave it out");
        if (strcmp(f, "-pg") == 0 || strcmp(f, "-p") == 0)
            return refuse(keep_format("%s: its calls come before the look at the stack", f),
                          "leave it out");
    }
    return true;
}

bool split_compiler(const struct words *cc, const struct words *flags, const struct words *all)
{
    if (!check_flags(all))
        return false;
    struct words argv = {0};
    words_add_all(&argv, cc);
    words_add_all(&argv, flags);
    words_add(&argv, "-dM");
    words_add(&argv, "-E");
    words_add(&argv, "-xc");
    words_add(&argv, "/dev/null");
    int status;
    const char *macros = compile_capture(&argv, &status);
    if (status != 0)
        return refuse(keep_format("%s cannot be asked what it is", cc->word[0]),
                      "name another compiler with --cc");
    if (strstr(macros, "#define __clang__ ") != NULL)
        return refuse(
            keep_format("%s is clang, whose calls through pointers nothing guards", cc->word[0]),
            "use gcc: --cc=gcc (Debian: apt-get install gcc)");
    if (strstr(macros, "#define __GNUC__ ") == NULL ||
        strstr(macros, "#define __x86_64__ 1") == NULL ||
        strstr(macros, "#define __ILP32__") != NULL)
        return refuse(keep_format("%s with these flags is no gcc for x86-64 (64 bit)", cc->word[0]),
                      "use gcc: --cc=gcc (Debian: apt-get install gcc)");
    return true;
}

/* ---- Bridges ------------------------------------------------------------------------------------------- */

/* A function of the library that wants room is called like one of the program's. Any other bridge goes by the thunk
 * for pointers, which looks where the function is: a weak one may be the program's after all. r11 is nobody's
 * during a call. */
static void write_bridge(FILE *f, const struct split *s, const char *prefix, const char *thunk,
                         const char *name)
{
    const char *bridge = keep_format("%s%s", prefix, name);
    if (names_index(&s->weak, name) != 0 && names_index(&s->strong, name) == 0)
        fprintf(f, "\t.weak\t\"%s\"\n", name);
    const char *body = keep_format("\tmovq\t\"%s\"@GOTPCREL(%%rip), %%r11\n"
                                   "\tjmp\t%sr11\n",
                                   name, thunk);
    int room = split_room(name);
    if (room > 0)
        body = keep_format("\tleaq\t-%d(%%rsp), %%r11\n\tcmpq\t%%fs:0x70, %%r11\n\tjb\t2f\n"
                           "1:\tjmp\t%s\n"
                           "2:\tmovl\t$%d, %%r10d\n\txorl\t%%r11d, %%r11d\n"
                           "\tcall\t__morestack\n\tret\n\tjmp\t1b\n",
                           room, name, room);
    fprintf(f,
            "\t.globl\t\"%s\"\n\t.hidden\t\"%s\"\n\t.type\t\"%s\", @function\n"
            "\t.p2align 4\n\"%s\":\n\t.cfi_startproc\n"
            "%s\t.cfi_endproc\n"
            "\t.size\t\"%s\", .-\"%s\"\n",
            bridge, bridge, bridge, bridge, body, bridge, bridge);
}

bool split_bridges(const struct split *s, const char *file)
{
    FILE *f = fopen(file, "we");
    bool ok = f != NULL;
    if (ok) {
        fprintf(f, "\t.text\n");
        split_write_places(f);
    }
    for (size_t i = 0; ok && i < s->calls.words.count; i++)
        write_bridge(f, s, BRIDGE_PREFIX, THUNK_PREFIX, s->calls.words.word[i]);
    for (size_t i = 0; ok && i < s->bare.words.count; i++)
        write_bridge(f, s, BARE_PREFIX, BARE_THUNK_PREFIX, s->bare.words.word[i]);
    if (ok)
        fprintf(f, "\t.section .note.GNU-stack,\"\",@progbits\n");
    return file_written(f, ok, file);
}
