/* Where this tool's Loam lies: headers and libraries, in a build tree or installed. */
#ifndef ROOT_H
#define ROOT_H

#include <stdbool.h>

struct root {
    const char *tool;    /* the running executable */
    const char *root;    /* LOAMROOT: the source tree or the installation's prefix */
    const char *include; /* holds loam.h */
    const char *libdir;  /* holds libloam.a of variant */
    const char *variant; /* the tool's own, and what is linked unless asked otherwise */
    bool tree;           /* a source tree with a build directory: the variants are its siblings */
};

/* False after a message. */
bool root_find(struct root *r);

/* The archive of a variant (release, debug, asan, ubsan, tsan, torture); NULL after a message that
 * says how to build it. */
const char *root_library(const struct root *r, const char *variant);

#endif
