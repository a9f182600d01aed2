/* loam version: the version, and what this tool was built with. */
#include <argp.h>
#include <loam.h>
#include <stdio.h>

#include "root.h"
#include "tool.h"

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != 'v')
        return ARGP_ERR_UNKNOWN;
    *(bool *)state->input = true;
    return 0;
}

int version_main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "Options:", 1},
        {"verbose", 'v', NULL, 0, "Also the compiler, the library and where they are", 1},
        {0},
    };
    static const struct argp argp = {.options = options,
                                     .parser = parse,
                                     .doc = "Prints the version, the system and the processor."};
    bool verbose = false;
    tool_parse(&argp, argc, argv, 0, STATUS_USAGE, &verbose);
    printf("loam version %s %s/%s\n", tool_version(), LOAM_OS, LOAM_ARCH);
    if (verbose) {
        int v = loam_version();
        struct root r;
        printf("compiler %s\n",
#ifdef __clang__
               __VERSION__
#else
               "gcc " __VERSION__
#endif
        );
        printf("library %d.%d.%d, %s build\n", v >> 16, v >> 8 & 0xff, v & 0xff, LOAM_VARIANT);
        if (!root_find(&r))
            return STATUS_FAILED;
        printf("root %s\nheaders %s\nlibraries %s\n", r.root, r.include, r.libdir);
    }
    return STATUS_OK;
}
