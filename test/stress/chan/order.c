/* A line of goroutines that hand values on keeps their order, whatever the buffers between them. */
#include "../../unit/chan/chan_test.h"

struct stage {
    struct loam_hchan *in, *out;
    int kind;
};

static void forward(void *arg)
{
    struct stage *s = arg;
    int64_t v;
    bool ok;
    for (;;) {
        if (s->kind % 2 == 0) {
            ok = loam_chan_recv(s->in, &v);
        } else {
            struct loam_case cases[] = {{s->in, &v, &ok, 0}, {NULL, NULL, NULL, 0}};
            loam_select_n(cases, 2, 0);
        }
        if (!ok)
            break;
        if (s->kind % 3 == 0) {
            struct loam_case cases[] = {{NULL, NULL, NULL, 0}, {s->out, &v, NULL, 1}};
            loam_select_n(cases, 2, 0);
        } else {
            loam_chan_send(s->out, &v);
        }
    }
    loam_chan_close(s->out);
}

static void feed(void *arg)
{
    struct stage *s = arg;
    for (int64_t i = 0; i < times(20000); i++)
        loam_chan_send(s->out, &i);
    loam_chan_close(s->out);
}

static void line(int stages, int64_t cap)
{
    snprintf(where, sizeof where, "%d stages, capacity %d", stages, (int)cap);
    struct stage s[101];
    struct loam_hchan *c = loam_chan_new_or_panic(8, cap);
    s[0] = (struct stage){NULL, c, 0};
    go(feed, &s[0]);
    for (int i = 1; i <= stages; i++) {
        s[i] = (struct stage){c, loam_chan_new_or_panic(8, i % 5 == 4 ? 3 : cap), i};
        c = s[i].out;
        go(forward, &s[i]);
    }
    int64_t want = 0;
    for (int64_t v; loam_chan_recv(c, &v); want++)
        CHECK_EQ(v, want);
    CHECK_EQ(want, times(20000));
    for (int i = 0; i <= stages; i++)
        loam_chan_delete(s[i].out); /* each stage before has closed it */
}

static void body(void)
{
    for (int64_t cap = 0; cap <= 4; cap += cap + 1)
        for (int stages = 1; stages <= 100; stages *= 10)
            line(stages, cap);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
