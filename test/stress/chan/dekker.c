/* Channels have one order that all agree on: of two goroutines, one of which sends on x and then looks
 * at y, the other sends on y and then looks at x, at least one finds the other's value. */
#include "../../unit/chan/chan_test.h"

enum { LOOKS = 4 };

struct shared {
    struct loam_hchan *x, *y;
    int64_t last;     /* atomic: the last round */
    int64_t round[2]; /* atomic: where each is, on its way in */
    int64_t done[2];  /* atomic: and out */
    int found[2];
    struct loam_waitgroup *wg;
};

struct side {
    struct shared *s;
    int me;
};

/* Waits for the other side without leaving the thread, mostly. */
static void meet(int64_t *other, int64_t round)
{
    for (int spins = 0; load(other) < round; spins++)
        if (spins % 256 == 255)
            loam_yield();
}

static bool look(struct loam_hchan *c, int64_t how)
{
    int64_t v;
    struct loam_case k = {c, &v, NULL, 0};
    switch (how) {
    case 0:
        return loam_chan_try_recv(c, &v) == 1;
    case 1:
        return loam_chan_len(c) > 0;
    case 2:
        return loam_select_n(&k, 1, LOAM_SELECT_DEFAULT) == 0;
    default: {
        struct loam_case two[] = {{NULL, NULL, NULL, 0}, k};
        return loam_select_n(two, 2, LOAM_SELECT_DEFAULT) == 1;
    }
    }
}

static void play(void *arg)
{
    struct side *side = arg;
    struct shared *s = side->s;
    int me = side->me;
    struct loam_hchan *mine = me == 0 ? s->x : s->y, *theirs = me == 0 ? s->y : s->x;
    int64_t end = loam_now() + 2 * LOAM_SECOND; /* on a busy machine rounds take long */
    for (int64_t r = 1; r <= load(&s->last); r++) {
        store(&s->round[me], r);
        meet(&s->round[!me], r);
        loam_chan_send(mine, &r);
        s->found[me] = look(theirs, r % LOOKS);
        store(&s->done[me], r);
        meet(&s->done[!me], r);
        if (me == 0) {
            if (!s->found[0] && !s->found[1])
                FAIL("round %d, look %d: neither found the other's value", (int)r,
                     (int)(r % LOOKS));
            int64_t v;
            loam_chan_try_recv(s->x, &v);
            loam_chan_try_recv(s->y, &v);
            if (r % 1024 == 0 && loam_now() > end)
                store(&s->last, r + 1); /* before we enter that one, so the other sees it */
        }
    }
    loam_waitgroup_done(s->wg);
}

static void body(void)
{
    struct loam_waitgroup wg = {0};
    struct shared s = {.last = times(300000), .wg = &wg};
    /* far from each other: a store to one line says nothing about the other's */
    s.x = loam_chan_new_or_panic(8, 1000);
    s.y = loam_chan_new_or_panic(8, 1000);
    loam_waitgroup_add(&wg, 2);
    struct side sides[2] = {{&s, 0}, {&s, 1}};
    go(play, &sides[0]);
    go(play, &sides[1]);
    loam_waitgroup_wait(&wg);
    loam_chan_delete(s.x);
    loam_chan_delete(s.y);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
