/* loam run: compiles C files that use Loam, runs the program, ends as it ends. */
#include <argp.h>
#include <errno.h>
#include <string.h>

#include "child.h"
#include "compile.h"
#include "scratch.h"
#include "tool.h"

struct run {
    struct compile compile;
    struct words args; /* the program's */
};

/* Arguments come as FILE.c... [--] ARG...: what follows the files is the program's, whatever it
 * looks like. */
static void take_files(struct run *run, struct argp_state *state)
{
    char **rest = state->argv + state->next - 1;
    words_add(&run->compile.files, *rest++);
    while (*rest != NULL && compile_is_file(*rest))
        words_add(&run->compile.files, *rest++);
    if (*rest != NULL && strcmp(*rest, "--") == 0)
        rest++;
    while (*rest != NULL)
        words_add(&run->args, *rest++);
    state->next = state->argc;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *run = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &run->compile;
        return 0;
    case 'o':
        run->compile.output = arg;
        return 0;
    case ARGP_KEY_ARG:
        take_files(run, state);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which C files?");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run_program(const struct run *run, const char *program)
{
    struct words argv = {0};
    words_add(&argv, strchr(program, '/') != NULL ? program : keep_format("./%s", program));
    words_add_all(&argv, &run->args);
    if (run->compile.verbose)
        message_command(argv.word);
    struct child child = {.kind = CHILD_PROGRAM,
                          .no_random = compile_wants_fixed_addresses(&run->compile)};
    int status = child_run(&child, argv.word);
    if (status < 0) {
        message_error("cannot run %s: %s", program, strerror(-status));
        if (status == -EACCES)
            message_hint("if that file system forbids programs (noexec), set TMPDIR to another");
    }
    return status;
}

int run_main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "Options:", 1},
        {NULL, 'o', "NAME", 0, "Keep the program under this name", 1},
        {0},
    };
    static const struct argp_child children[] = {{&compile_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE.c [FILE.c ...] [--] [ARGUMENT...]",
        .doc =
            "Compiles C files as `loam build` does and runs the program with the arguments. "
            "Options stand before the files; everything from the first word on that is no file "
            "to compile or link belongs to the program, or everything behind `--`.\v" COMPILE_HELP
            "\nExit status:\n"
            "  125        the program was not started: not built, or wrong usage\n"
            "  otherwise  the program's, or death by the same signal; signals are passed on to "
            "it\n",
        .children = children,
    };
    struct run run = {0};

    compile_init(&run.compile);
    tool_parse(&argp, argc, argv, ARGP_IN_ORDER, STATUS_NOT_RUN, &run);
    const char *program = NULL;
    if (!compile_read_files(&run.compile) ||
        (run.compile.output != NULL && (program = compile_output(&run.compile)) == NULL))
        return STATUS_NOT_RUN;
    child_signals_begin();
    const char *scratch = scratch_make();
    if (scratch == NULL)
        return STATUS_NOT_RUN;
    if (program == NULL)
        program = keep_format("%s/%s", scratch, compile_default_name(&run.compile));
    int status = compile_program(&run.compile, program, scratch);
    bool built = status == STATUS_OK && child_signal() == 0;
    if (built)
        status = run_program(&run, program);
    scratch_remove();
    if (!built && child_signal() != 0)
        child_die_by(child_signal());
    if (!built || status < 0)
        return STATUS_NOT_RUN;
    child_die_like(status);
}
