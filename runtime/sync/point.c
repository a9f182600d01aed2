/* The place in an inline operation where a test's goroutine may be made to yield. */
#include "sync/sync_int.h"

void loam_sync_point(void)
{
    struct m *mp = getm();
    if (mp == NULL || mp->curg == NULL || mp->p == NULL || mp->incall || locks_held() != 0)
        return;
    if (LOAM_TORTURE && choose(8) == 0)
        gosched();
    else
        preempt_point(mp);
}
