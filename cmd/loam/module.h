/* Migratable programs: what `loam build --migratable` does beyond compiling and linking. */
#ifndef MODULE_H
#define MODULE_H

#include <stdbool.h>

#include "tool.h"

/* Flags for the compiler, to stand behind all others; false after a message: with these it cannot be. */
bool module_flags(const struct words *flags, struct words *w);

/* Looks whether the code of an object, as compiled from `shown`, uses what belongs to a thread; small: it
 * is of a program with small stacks, where all sections of code become the module's. False after a message. */
bool module_check(const char *object, const char *shown, bool small);

/* Puts the code of a checked object into the module's section, in place. False after a message. */
bool module_rename(const char *object, const char *shown);

/* Writes the module's note as an assembler file; small: for a program with small stacks. False after a
 * message. */
bool module_note(const char *file, bool small);

#endif
