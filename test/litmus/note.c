/* The note: what the waker wrote is seen by the sleeper, and no wake-up is lost, with and without a
 * time limit. Two threads in ping-pong. */
#include "lock/lock.h"

#include "litmus.h"

static struct note ping, pong;
static int64_t message; /* not atomic on purpose */
static int64_t rounds;

static void sleep_on(struct note *n, uint64_t *seed)
{
    if (draw(seed) % 2) {
        notesleep(n);
    } else {
        while (!notetsleep(n, (int64_t)(draw(seed) % 20000)))
            ;
    }
    noteclear(n);
}

static void *other(void *arg)
{
    uint64_t seed = 2;
    (void)arg;
    for (int64_t i = 0; i < rounds; i++) {
        sleep_on(&ping, &seed);
        CHECK_EQ(message, 2 * i + 1);
        message++;
        delay(&seed);
        notewakeup(&pong);
    }
    return NULL;
}

int main(void)
{
    uint64_t seed = 1;
    pthread_t thread;
    rounds = times(40000);
    CHECK_EQ(pthread_create(&thread, NULL, other, NULL), 0);
    for (int64_t i = 0; i < rounds; i++) {
        message = 2 * i + 1;
        delay(&seed);
        notewakeup(&ping);
        sleep_on(&pong, &seed);
        CHECK_EQ(message, 2 * i + 2);
    }
    pthread_join(thread, NULL);
    return 0;
}
