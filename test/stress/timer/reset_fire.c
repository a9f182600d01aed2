/* Reset and stop against fire, from several goroutines at once.
 *
 * Every activation of a timer (making it, each reset) ends in exactly one way: its value is received,
 * its function runs, or one stop or reset says that it kept it from that. So when all is quiet
 *
 *     activations == ends said by stop and reset + values received (functions run)
 *
 * A lost fire, a stale value, a value sent twice, a wrong answer of stop: each breaks it. */
#include "../../unit/time/timetest.h"

enum { TIMERS = 4, USERS = 4 };
#define LONG (INT64_C(3600) * LOAM_SECOND)

struct subject {
    struct loam_timer *t;
    loam_chan(int64_t) c; /* NULL: it has a function */
    int activations, prevented, ended;
    struct loam_waitgroup users;
};

struct user {
    struct subject *s;
    uint64_t rnd;
    int steps;
};

static void ran(void *arg)
{
    add(&((struct subject *)arg)->ended, 1);
}

static int64_t some_ns(uint64_t *r)
{
    static const int64_t ns[] = {0, 100, 1000, 10000, LONG};
    return ns[rnd(r, 5)];
}

static void use(void *arg)
{
    struct user *u = arg;
    struct subject *s = u->s;
    for (int i = 0; i < u->steps; i++) {
        switch (rnd(&u->rnd, 8)) {
        case 0:
        case 1:
        case 2:
            add(&s->activations, 1);
            if (loam_timer_reset(s->t, some_ns(&u->rnd)))
                add(&s->prevented, 1);
            break;
        case 3:
            if (loam_timer_stop(s->t))
                add(&s->prevented, 1);
            break;
        case 4:
            loam_sleep(rnd(&u->rnd, 2000));
            break;
        case 5:
            loam_yield();
            break;
        default:
            if (s->c != NULL && loam_try_recv(s->c, NULL))
                add(&s->ended, 1);
        }
    }
    loam_waitgroup_done(&s->users);
}

static void stopped(struct subject *s)
{
    if (loam_timer_stop(s->t))
        s->prevented++;
    CHECK(!loam_timer_stop(s->t));
    while (get(&s->ended) + s->prevented < s->activations)
        loam_sleep(10000); /* functions already started are on their way */
    loam_sleep(20000);
    CHECK_EQ(get(&s->ended) + s->prevented, s->activations);
    if (s->c != NULL)
        CHECK(!loam_try_recv(s->c, NULL));
}

static void fires_again(struct subject *s)
{
    int64_t begin = loam_now();
    int before = get(&s->ended); /* first: on a busy machine it may fire at once */
    CHECK(!loam_timer_reset(s->t, 20000));
    if (s->c != NULL) {
        CHECK(loam_recv(s->c) >= begin + 20000);
        return;
    }
    while (get(&s->ended) == before)
        loam_sleep(10000);
}

static void many_users(bool with_function)
{
    static uint64_t seed = 1;
    for (int round = times(60); round > 0; round--) {
        struct subject subjects[TIMERS];
        struct user users[TIMERS][USERS];
        for (int i = 0; i < TIMERS; i++) {
            struct subject *s = &subjects[i];
            *s = (struct subject){.activations = 1};
            s->t = with_function ? loam_after_func(1000, ran, s) : loam_timer_new(1000);
            s->c = loam_timer_chan(s->t);
            loam_waitgroup_add(&s->users, USERS);
            for (int k = 0; k < USERS; k++) {
                users[i][k] = (struct user){s, seed++, 200};
                start(use, &users[i][k]);
            }
        }
        for (int i = 0; i < TIMERS; i++) {
            loam_waitgroup_wait(&subjects[i].users);
            stopped(&subjects[i]);
            fires_again(&subjects[i]);
            loam_timer_free(subjects[i].t);
        }
    }
}

static void channels(void)
{
    many_users(false);
}

static void functions(void)
{
    many_users(true);
}

/* ---- One user, close to the moment of firing ------------------------------------------------------ */

static int left;

static void owner(void *arg)
{
    uint64_t r = (uint64_t)(intptr_t)arg;
    struct loam_timer *t = loam_timer_new(LONG);
    loam_chan(int64_t) c = loam_timer_chan(t);
    for (int i = times(3000); i > 0; i--) {
        int64_t ns = rnd(&r, 4000), begin = loam_now();
        loam_timer_reset(t, ns);
        while (loam_now() < begin + rnd(&r, 4000))
            if (rnd(&r, 16) == 0)
                loam_yield();
        int64_t v;
        switch (rnd(&r, 4)) {
        case 0: /* nothing comes of it any more */
            loam_timer_stop(t);
            CHECK(!loam_try_recv(c, &v));
            loam_yield();
            CHECK(!loam_try_recv(c, &v));
            break;
        case 1: /* what comes is of the new setting */
            begin = loam_now();
            loam_timer_reset(t, 5000);
            v = loam_recv(c);
            CHECK(v >= begin + 5000);
            break;
        default:
            v = loam_recv(c);
            CHECK(v >= begin + ns);
            CHECK(!loam_timer_stop(t));
        }
    }
    loam_timer_free(t);
    add(&left, -1);
}

static void owners(void)
{
    left = 6;
    for (int i = 0; i < 6; i++)
        start(owner, (void *)(intptr_t)(i + 1));
    while (get(&left) > 0)
        loam_sleep(100000);
}

/* ---- Tickers --------------------------------------------------------------------------------------- */

static void ticker_user(void *arg)
{
    uint64_t r = (uint64_t)(intptr_t)arg;
    struct loam_ticker *t = loam_ticker_new(1000);
    loam_chan(int64_t) c = loam_ticker_chan(t);
    for (int i = times(1000); i > 0; i--) {
        int64_t ns = 1000 + rnd(&r, 3000), begin = loam_now();
        loam_ticker_reset(t, ns);
        CHECK(loam_recv(c) >= begin + ns);
        if (rnd(&r, 2) == 0) {
            loam_ticker_stop(t);
            CHECK(!loam_try_recv(c, NULL));
            loam_yield();
            CHECK(!loam_try_recv(c, NULL));
        }
    }
    loam_ticker_free(t);
    add(&left, -1);
}

static void tickers(void)
{
    left = 6;
    for (int i = 0; i < 6; i++)
        start(ticker_user, (void *)(intptr_t)(i + 1));
    while (get(&left) > 0)
        loam_sleep(100000);
}

/* clang-format off */
static const struct test tests[] = {
    {"channels", channels},
    {"functions", functions},
    {"owners", owners},
    {"tickers", tickers},
    {NULL, NULL},
};
/* clang-format on */

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
