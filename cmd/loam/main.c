/* loam: the command line tool. One file a subcommand, found through the table below.
 *
 * What main does itself: options that stand before the subcommand, `loam help`, and a helpful
 * answer to a subcommand that does not exist. A subcommand parses its own arguments and returns the
 * exit status. */
#include "tool.h"

#include <argp.h>
#include <loam/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int help_main(int argc, char **argv);
static int dispatch(int argc, char **argv);

static const struct command commands[] = {
    {"build", "compile a C program that uses Loam", build_main, false},
    {"run", "compile a C program that uses Loam, and run it", run_main, false},
#if LOAM_TOUR
    {"tour", "show the runtime at work: states, memory, machine code", tour_main, false},
#endif
    {"env", "print what the tool uses: directories, compiler, flags, settings", env_main, false},
    {"version", "print the version", version_main, false},
    {"help", "explain a subcommand", help_main, false},
    {"pcln", "add the table of functions and lines to a linked file", pcln_main, true},
};

#define HELP_LAYOUT "header-col=0,long-opt-col=2,rmargin=90"

#define STRING(x) #x
#define VERSION_STRING(a, b, c) STRING(a) "." STRING(b) "." STRING(c)

const char *tool_version(void)
{
    return VERSION_STRING(LOAM_VERSION_MAJOR, LOAM_VERSION_MINOR, LOAM_VERSION_PATCH);
}

enum { KEY_USAGE = 0x1000 };

/* --help and its kin for every parser: argp's own knows no -h. */
static error_t parse_help(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    switch (key) {
    case 'h':
        argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
        return 0;
    case KEY_USAGE:
        argp_state_help(state, state->out_stream, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void tool_parse(const struct argp *argp, int argc, char **argv, unsigned flags, int usage_status,
                void *input)
{
    static const struct argp_option options[] = {
        {"help", 'h', NULL, 0, "Explain this", -1},
        {"usage", KEY_USAGE, NULL, OPTION_HIDDEN, NULL, -1}, /* argp's messages name it */
        {0},
    };
    static const struct argp help = {.options = options, .parser = parse_help};
    struct argp_child children[8] = {0};
    struct argp whole = *argp;
    size_t n = 0;
    for (; argp->children != NULL && argp->children[n].argp != NULL && n < nelem(children) - 2; n++)
        children[n] = argp->children[n];
    children[n].argp = &help;
    whole.children = children;

    /* argp takes the layout of its help from the environment only. Headings at the margin: the
     * manual page is made from the help. Taken back, for the programs that we start. */
    bool ours = getenv("ARGP_HELP_FMT") == NULL && setenv("ARGP_HELP_FMT", HELP_LAYOUT, 1) == 0;
    argp_err_exit_status = usage_status;
    argp_parse(&whole, argc, argv, flags | ARGP_NO_HELP, NULL, input);
    if (ours)
        unsetenv("ARGP_HELP_FMT");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < nelem(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int no_such_command(const char *name)
{
    const char *names[nelem(commands)];
    size_t n = 0;
    for (size_t i = 0; i < nelem(commands); i++)
        if (!commands[i].hidden)
            names[n++] = commands[i].name;
    const char *meant = nearest(name, names, n);
    message_error("no subcommand '%s'", name);
    if (meant != NULL)
        message_hint("did you mean `loam %s`?", meant);
    else if (ends_with(name, ".c"))
        message_hint("to run it: loam run %s", name);
    else
        message_hint("`loam help` lists them");
    return STATUS_USAGE;
}

static int call(const struct command *c, int argc, char **argv)
{
    message_who = keep_format("loam %s", c->name);
    argv[0] = keep_format("loam %s", c->name);
    return c->main(argc, argv);
}

/* ---- loam help ------------------------------------------------------------------------------- */

static char *list_commands(void)
{
    char *text = keep_format("Commands:\n");
    for (size_t i = 0; i < nelem(commands); i++)
        if (!commands[i].hidden)
            text = keep_format("%s  %-10s %s\n", text, commands[i].name, commands[i].summary);
    return text;
}

static int help_main(int argc, char **argv)
{
    if (argc > 2) {
        message_error("one subcommand at a time");
        message_hint("usage: loam help [SUBCOMMAND]");
        return STATUS_USAGE;
    }
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        char *again[] = {(char *)"loam", (char *)"--help", NULL};
        return dispatch(2, again);
    }
    const struct command *c = find_command(argv[1]);
    if (c == NULL)
        return no_such_command(argv[1]);
    char *asked[] = {argv[0], (char *)"--help", NULL};
    return call(c, 2, asked);
}

/* ---- loam [OPTION] SUBCOMMAND ---------------------------------------------------------------- */

struct main_args {
    char **rest; /* from the subcommand on; NULL: none was given */
    int count;
};

static char *help_filter(int key, const char *text, void *input)
{
    (void)input;
    if (key == ARGP_KEY_HELP_EXTRA)
        return strdup(list_commands()); /* argp frees it */
    return (char *)text;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct main_args *a = state->input;
    (void)arg;
    switch (key) {
    case 'V':
        printf("loam %s\n", tool_version());
        exit(STATUS_OK);
    case ARGP_KEY_ARG:
        a->rest = state->argv + state->next - 1;
        a->count = state->argc - state->next + 1;
        state->next = state->argc;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int dispatch(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "Options:", -1},
        {"version", 'V', NULL, 0, "Print the version", -1},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "SUBCOMMAND [ARGUMENT...]",
        .doc = "Builds and runs C programs that use Loam: goroutines, channels and their scheduler "
               "for C.\v`loam help SUBCOMMAND` explains one of them.",
        .help_filter = help_filter,
    };
    struct main_args a = {0};

    argv[0] = (char *)"loam";
    tool_parse(&argp, argc, argv, ARGP_IN_ORDER, STATUS_USAGE, &a);
    if (a.rest == NULL) {
        message_error("which subcommand?");
        fputs(list_commands(), stderr);
        return STATUS_USAGE;
    }
    const struct command *c = find_command(a.rest[0]);
    return c != NULL ? call(c, a.count, a.rest) : no_such_command(a.rest[0]);
}

/* Whatever ends the tool: what it printed has to have arrived. */
static void check_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    message_error("cannot write to standard output");
    _exit(STATUS_FAILED);
}

int main(int argc, char **argv)
{
    atexit(check_output);
    return dispatch(argc, argv);
}
