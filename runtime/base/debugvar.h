/* The settings of LOAMDEBUG, parsed once at start. */
#ifndef BASE_DEBUGVAR_H
#define BASE_DEBUGVAR_H

#include "base/base.h"

struct debugvars {
#define DEBUGVAR(name, initial, text) int64_t name;
#define DEBUGSTR(name, text) char name[256];
#include "base/debugvar.tbl"
#undef DEBUGVAR
#undef DEBUGSTR
    bool dst_on; /* dst was given, whatever its value */
};

/* const after init */
extern struct debugvars debug;

void debugvar_reset(void);
/* Takes settings out of a comma-separated list; says once per text what is malformed. NULL: none. */
void debugvar_parse(const char *list, const char *variable);

#endif
