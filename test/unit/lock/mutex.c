/* The runtime's mutex: misuse is found, not passed on to whoever locks it next. */
#include "lock/lock.h"

#include "../../child.h"

static struct outcome o;
static struct mutex m = MUTEX_INIT(leaf);

static void unlock_free(void *arg)
{
    (void)arg;
    unlock(&m);
}

static void unlock_twice(void *arg)
{
    lock(&m);
    CHECK(!trylock(&m));
    unlock(&m);
    unlock_free(arg);
}

int main(void)
{
    in_child(&o, unlock_free, NULL);
    CHECK_OUTCOME(&o, 2, "fatal error: unlock: the mutex was not locked\n");
    in_child(&o, unlock_twice, NULL);
    CHECK_OUTCOME(&o, 2, "fatal error: unlock: the mutex was not locked\n");
    return 0;
}
