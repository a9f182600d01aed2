/* The choice among ready cases is uniformly random: a chi-square test whose bound a fair choice passes
 * all but once in 10^9 times. */
#include "../../unit/chan/chan_test.h"

enum { MOST = 100 };

static double root(double x)
{
    double r = 1;
    for (int i = 0; i < 60; i++)
        r = (r + x / r) / 2;
    return r;
}

/* The value that chi-square with k degrees of freedom exceeds once in 10^9 times (Wilson and Hilferty's
 * approximation, 1931). */
static double bound(int k)
{
    const double z = 6;
    double d = 2.0 / (9 * k), c = 1 - d + z * root(d);
    return k * c * c * c;
}

static void judge(const int64_t *counts, int n, const char *what)
{
    int64_t total = 0;
    double expected, chi = 0;
    for (int i = 0; i < n; i++)
        total += counts[i];
    expected = (double)total / n;
    for (int i = 0; i < n; i++)
        chi += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    if (chi > bound(n - 1)) {
        for (int i = 0; i < n; i++)
            fprintf(stderr, "case %d: %" PRId64 "\n", i, counts[i]);
        FAIL("%s, %d cases: chi-square %.1f, should stay below %.1f", what, n, chi, bound(n - 1));
    }
}

/* All of n channels are ready: by a value in the buffer, by room in it, by being closed. */
static void all_ready(int n, int64_t rounds, int kind, int flags)
{
    struct loam_hchan *c[MOST];
    struct loam_case cases[MOST];
    int64_t counts[MOST] = {0}, v = 0;
    for (int i = 0; i < n; i++) {
        int how = kind == 3 ? i % 3 : kind;
        c[i] = loam_chan_new_or_panic(8, 1);
        if (how == 0)
            loam_chan_send(c[i], &v);
        if (how == 2)
            loam_chan_close(c[i]);
        cases[i] = (struct loam_case){c[i], &v, NULL, how == 1};
    }
    for (int64_t r = 0; r < rounds * n; r++) {
        int i = loam_select_n(cases, (size_t)n, flags);
        CHECK(i >= 0 && i < n);
        counts[i]++;
        int how = kind == 3 ? i % 3 : kind; /* ready again */
        if (how == 0)
            CHECK_EQ(loam_chan_try_send(c[i], &v), 1);
        if (how == 1)
            CHECK_EQ(loam_chan_try_recv(c[i], &v), 1);
    }
    judge(counts, n,
          kind == 0   ? "values waiting"
          : kind == 1 ? "room to send"
          : kind == 2 ? "closed"
                      : "mixed");
    for (int i = 0; i < n; i++)
        loam_chan_delete(c[i]);
}

/* Every third channel is ready: the choice is among these only. */
static void some_ready(int n, int64_t rounds)
{
    struct loam_hchan *c[MOST];
    struct loam_case cases[MOST];
    int64_t counts[MOST] = {0}, v = 0;
    for (int i = 0; i < n; i++) {
        c[i] = i % 7 == 6 ? NULL : loam_chan_new_or_panic(8, 1);
        cases[i] = (struct loam_case){c[i], &v, NULL, 0};
        if (i % 3 == 0 && c[i] != NULL)
            loam_chan_close(c[i]);
    }
    for (int64_t r = 0; r < rounds * n; r++)
        counts[loam_select_n(cases, (size_t)n, 0)]++;
    int64_t ready[MOST] = {0};
    int k = 0;
    for (int i = 0; i < n; i++) {
        if (i % 3 == 0 && c[i] != NULL)
            ready[k++] = counts[i];
        else
            CHECK_EQ(counts[i], 0);
    }
    judge(ready, k, "some ready");
    for (int i = 0; i < n; i++)
        loam_chan_delete(c[i]);
}

struct sender {
    struct loam_hchan *c;
    int64_t n;
    int turn; /* atomic: even: the selecting goroutine's */
};

static void send_when_parked(void *arg)
{
    struct sender *s = arg;
    int64_t n = s->n; /* *s ends with the last receive */
    for (int64_t i = 0; i < n; i++) {
        AWAIT(load(&s->turn) % 2 == 1);
        /* the select has most likely parked by now: yielding lets it */
        for (int k = 0; k < 3; k++)
            loam_yield();
        add(&s->turn, 1);
        loam_chan_send(s->c, &i);
    }
}

/* One channel in all cases, nobody there yet: whoever comes later meets them in random order. */
static void twins(int n, int64_t rounds)
{
    struct loam_case cases[MOST];
    int64_t counts[MOST] = {0}, v;
    struct sender s = {loam_chan_new_or_panic(8, 0), rounds * n, 0};
    for (int i = 0; i < n; i++)
        cases[i] = (struct loam_case){s.c, &v, NULL, 0};
    go(send_when_parked, &s);
    for (int64_t r = 0; r < s.n; r++) {
        add(&s.turn, 1);
        counts[loam_select_n(cases, (size_t)n, 0)]++;
        CHECK_EQ(v, r);
    }
    judge(counts, n, "one channel in all cases");
    loam_chan_delete(s.c);
}

static void body(void)
{
    static const int ns[] = {2, 3, 4, 5, 8, 9, 20, MOST};
    for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++) {
        for (int kind = 0; kind < 4; kind++) {
            all_ready(ns[i], times(1000) + 50, kind, 0);
            all_ready(ns[i], times(1000) + 50, kind, LOAM_SELECT_DEFAULT);
        }
        if (ns[i] > 3)
            some_ready(ns[i], times(1000) + 50);
        if (ns[i] < 20)
            twins(ns[i], times(500) + 50);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
