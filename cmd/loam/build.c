/* loam build: compiles C files that use Loam into one program. */
#include <argp.h>
#include <errno.h>

#include "child.h"
#include "compile.h"
#include "scratch.h"
#include "tool.h"

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct compile *c = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = c;
        return 0;
    case 'o':
        c->output = arg;
        return 0;
    case ARGP_KEY_ARG:
        words_add(&c->files, arg);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which C files?");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int build_main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "Options:", 1},
        {NULL, 'o', "NAME", 0,
         "Name of the program (default: the first file's, without .c); in NAME if that is a "
         "directory",
         1},
        {0},
    };
    static const struct argp_child children[] = {{&compile_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE.c [FILE.c ...]",
        .doc = "Compiles C files, links them with Loam's static library, and adds the table from "
               "which tracebacks take functions and lines.\v" COMPILE_HELP "\nExit status:\n"
               "  0          the program was built\n"
               "  1          it was not\n"
               "  2          wrong usage\n",
        .children = children,
    };
    struct compile c;

    compile_init(&c);
    tool_parse(&argp, argc, argv, 0, STATUS_USAGE, &c);
    if (!compile_read_files(&c))
        return STATUS_FAILED;
    const char *out = compile_output(&c);
    if (out == NULL)
        return STATUS_FAILED;
    child_signals_begin();
    const char *scratch = scratch_make();
    int status = scratch != NULL ? compile_program(&c, out, scratch) : STATUS_FAILED;
    scratch_remove();
    if (child_signal() != 0)
        child_die_by(child_signal());
    return status;
}
