/* errno found anew on every call: libc's accessor is declared const, so that a compiler may keep its
 * result across a switch to another thread. */
#include "arch/arch.h"

#include <loam/base.h>

opaque int *loam_errno_location(void)
{
    return __errno_location(); /* what libc's errno is made of */
}
