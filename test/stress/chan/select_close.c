/* Selects against close: a waiting select learns of it exactly once, whichever of its channels closes
 * first, and others that close or send at the same time find it gone. */
#include "../../unit/chan/chan_test.h"

enum { CHANS = 4, SELECTORS = 6 };

struct round {
    struct loam_hchan *c[CHANS];
    struct loam_waitgroup *wg;
    int64_t sent, got; /* atomic */
    int closed;        /* atomic: receives that found a channel closed */
};

struct selector {
    struct round *r;
    int id;
};

/* Receives until all channels are closed. */
static void receive(void *arg)
{
    struct selector *s = arg;
    struct round *r = s->r;
    struct loam_case cases[CHANS];
    int64_t v;
    bool ok;
    for (int i = 0; i < CHANS; i++)
        cases[i] = (struct loam_case){r->c[(i + s->id) % CHANS], &v, &ok, 0};
    for (int open = CHANS; open > 0;) {
        int i = loam_select_n(cases, CHANS, 0);
        CHECK(i >= 0 && cases[i].chan != NULL);
        if (ok) {
            CHECK(v > 0);
            add(&r->got, v);
        } else {
            CHECK_EQ(v, 0);
            add(&r->closed, 1);
            cases[i].chan = NULL; /* as in Go: a nil channel is never ready */
            open--;
        }
    }
    CHECK_EQ(loam_select_n(cases, CHANS, LOAM_SELECT_DEFAULT), -1);
    loam_waitgroup_done(r->wg);
}

static void send_then_close(void *arg)
{
    struct selector *s = arg;
    for (int64_t i = 1; i <= s->id % 3; i++) {
        add(&s->r->sent, i);
        loam_chan_send(s->r->c[s->id], &i);
    }
    loam_chan_close(s->r->c[s->id]);
    loam_waitgroup_done(s->r->wg);
}

static void one(int64_t cap)
{
    struct loam_waitgroup wg = {0};
    struct round r = {.wg = &wg};
    struct selector in[CHANS], out[SELECTORS];
    for (int i = 0; i < CHANS; i++)
        r.c[i] = loam_chan_new_or_panic(8, cap);
    loam_waitgroup_add(&wg, CHANS + SELECTORS);
    for (int i = 0; i < SELECTORS; i++) {
        out[i] = (struct selector){&r, i};
        go(receive, &out[i]);
    }
    for (int i = 0; i < CHANS; i++) {
        in[i] = (struct selector){&r, i};
        go(send_then_close, &in[i]);
    }
    loam_waitgroup_wait(&wg);
    CHECK_EQ(r.got, r.sent);
    CHECK_EQ(r.closed, CHANS * SELECTORS);
    for (int i = 0; i < CHANS; i++)
        loam_chan_delete(r.c[i]);
}

static void body(void)
{
    for (int64_t i = 0; i < times(60000); i++)
        one(i % 3);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
