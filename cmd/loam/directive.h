/* `// loam: libs=crypto`: what a source file says about how to build it. */
#ifndef DIRECTIVE_H
#define DIRECTIVE_H

#include <stdbool.h>

#include "tool.h"

/* What all files of a program ask for together. */
struct directives {
    struct words libs;     /* names for -l */
    struct words packages; /* names for pkg-config */
    struct words where;    /* "FILE:LINE asks for NAME", for the message when linking fails */
};

/* Adds the directives of one C file. False after a message: the file cannot be read, or a directive
 * in it is wrong. */
bool directives_read(struct directives *d, const char *path);

#endif
