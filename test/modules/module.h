/* What the host gives to a module's spin_alone. */
#ifndef TEST_MODULE_H
#define TEST_MODULE_H

#include <stdint.h>

struct alone {
    int stop;             /* atomic */
    const int64_t *turns; /* atomic: of another goroutine */
    int64_t meanwhile;
};

#endif
