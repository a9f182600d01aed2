/* Making, deleting, sizes, dropped elements, foreign threads. */
#include "chan_test.h"
#include "waiters.h"

#include <pthread.h>

static void sizes(void)
{
    struct loam_hchan *c;
    CHECK_EQ(loam_chan_new(&c, 8, -1), -EINVAL);
    CHECK(c == NULL);
    CHECK_EQ(loam_chan_new(&c, 8, INT64_MAX), -EINVAL);
    CHECK_EQ(loam_chan_new(&c, SIZE_MAX, 2), -EINVAL);
    CHECK_EQ(loam_chan_new(&c, 1, INT64_C(1) << 48), -EINVAL);
    CHECK(c == NULL);
    /* elements without bytes take no room, whatever their number */
    CHECK_EQ(loam_chan_new(&c, 0, INT64_MAX), 0);
    CHECK_EQ(loam_chan_cap(c), INT64_MAX);
    for (int i = 0; i < 1000; i++)
        loam_chan_send(c, "");
    CHECK_EQ(loam_chan_len(c), 1000);
    CHECK(loam_chan_recv(c, NULL));
    CHECK_EQ(loam_chan_len(c), 999);
    loam_chan_delete(c);
    loam_chan_delete(NULL);
    CHECK_EQ(loam_chan_len(NULL), 0);
    CHECK_EQ(loam_chan_cap(NULL), 0);
}

/* A ring that goes around at every phase, for every way of copying. */
static void ring(size_t size, int64_t cap)
{
    struct loam_hchan *c = loam_chan_new_or_panic(size, cap);
    uint8_t in = 1, out = 1, elem[64];
    for (int round = 0; round < 5 * cap; round++) {
        int64_t n = 1 + round % cap;
        for (int64_t i = 0; i < n; i++, in++) {
            memset(elem, in, sizeof elem);
            CHECK_EQ(loam_chan_try_send(c, elem), 1);
        }
        CHECK_EQ(loam_chan_len(c), n);
        for (int64_t i = 0; i < n; i++, out++) {
            memset(elem, 0, sizeof elem);
            CHECK_EQ(loam_chan_try_recv(c, i % 5 == 4 ? NULL : elem), 1);
            if (i % 5 != 4 && size > 0) {
                CHECK_EQ(elem[0], out);
                CHECK_EQ(elem[size - 1], out);
            }
            CHECK(i % 5 == 4 || elem[size] == 0);
        }
        CHECK_EQ(loam_chan_try_recv(c, elem), -EAGAIN);
    }
    loam_chan_delete(c);
}

/* Receivers that drop what they get. */
static void drop_one(void *arg)
{
    CHECK(loam_chan_recv(arg, NULL));
}

static void drop(size_t size)
{
    static const uint8_t elem[64];
    struct loam_hchan *c = loam_chan_new_or_panic(size, 0);
    go(drop_one, c);
    AWAIT(receivers(c) == 1);
    loam_chan_send(c, elem);
    go(drop_one, c);
    loam_chan_send(c, elem);
    AWAIT(receivers(c) == 0 && senders(c) == 0);
    loam_chan_close(c);
    CHECK(!loam_chan_recv(c, NULL));
    CHECK_EQ(loam_chan_try_recv(c, NULL), 0);
    struct loam_case cases[] = {{c, NULL, NULL, 0}, {NULL, NULL, NULL, 0}};
    CHECK_EQ(loam_select_n(cases, 2, 0), 0);
    loam_chan_delete(c);
}

static void no_cases(void)
{
    CHECK_EQ(loam_select_n(NULL, 0, LOAM_SELECT_DEFAULT), -1);
    struct loam_case cases[3] = {
        {NULL, NULL, NULL, 0}, {NULL, NULL, NULL, 1}, {NULL, NULL, NULL, 0}};
    for (size_t n = 1; n <= 3; n++)
        CHECK_EQ(loam_select_n(cases, n, LOAM_SELECT_DEFAULT), -1);
}

/* What a thread of the program's may do: try_send, try_recv, close, len, cap. */
struct foreign {
    struct loam_hchan *to, *from, *end;
    int started; /* atomic */
};

static void *foreign_thread(void *arg)
{
    struct foreign *f = arg;
    int64_t sum = 0;
    for (int64_t i = 1; i <= 100;) {
        if (loam_chan_try_send(f->to, &i) == 1)
            i++;
        int64_t v;
        if (loam_chan_try_recv(f->from, &v) == 1)
            sum += v;
    }
    loam_chan_close(f->to);
    int64_t v;
    int got;
    while ((got = loam_chan_try_recv(f->from, &v)) != 0)
        if (got == 1)
            sum += v;
    CHECK_EQ(sum, 2 * 5050);
    CHECK_EQ(loam_chan_len(f->from), 0);
    CHECK_EQ(loam_chan_cap(f->to), 0);
    loam_chan_close(f->end);
    return NULL;
}

static void foreign_threads(void)
{
    struct foreign f = {loam_chan_new_or_panic(8, 0), loam_chan_new_or_panic(8, 3),
                        loam_chan_new_or_panic(1, 0), 0};
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, foreign_thread, &f), 0);
    for (int64_t v; loam_chan_recv(f.to, &v);) {
        v *= 2;
        loam_chan_send(f.from, &v);
    }
    loam_chan_close(f.from);
    CHECK(!loam_chan_recv(f.end, NULL));
    pthread_join(t, NULL);
    loam_chan_delete(f.to);
    loam_chan_delete(f.from);
    loam_chan_delete(f.end);
}

/* The typed face. */
struct point {
    double x, y;
    int64_t n;
};

static void typed(void)
{
    loam_chan(int) c = loam_chan_make(int, 2);
    loam_send(c, 42);
    CHECK(loam_try_send(c, 43));
    CHECK(!loam_try_send(c, 44));
    CHECK(!loam_try_send((loam_chan(int))NULL, 45));
    CHECK_EQ(loam_len(c), 2);
    CHECK_EQ(loam_cap(c), 2);
    CHECK_EQ(loam_recv(c), 42);
    int v = 0;
    CHECK(loam_recv_ok(c, &v));
    CHECK_EQ(v, 43);
    CHECK(!loam_try_recv(c, &v));
    CHECK_EQ(v, 43);
    loam_send(c, 46);
    CHECK(loam_try_recv(c, &v) && v == 46);
    loam_chan(struct point) p = loam_chan_make(struct point, 1);
    struct point in = {1.5, 2.5, 7}, got;
    bool ok = false;
    CHECK_EQ(loam_select(loam_on_recv(c, &v), loam_on_send(p, &in)), 1);
    CHECK_EQ(loam_select(loam_on_recv(c, &v), loam_on_recv_ok(p, &got, &ok)), 1);
    CHECK(ok && got.x == 1.5 && got.y == 2.5 && got.n == 7);
    CHECK_EQ(loam_select_default(loam_on_recv(c, &v), loam_on_recv(p, NULL)), -1);
    loam_send(p, (struct point){1, 2, 3});
    CHECK_EQ(loam_recv(p).n, 3);
    /* A literal lives as long as the select that sends it. */
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(loam_select(loam_on_recv(c, &v), loam_on_send(p, &(struct point){i, 1, i})), 1);
        got = loam_recv(p);
        CHECK(got.x == i && got.y == 1 && got.n == i);
    }
    loam_close(c);
    CHECK_EQ(loam_recv(c), 0);
    CHECK(!loam_recv_ok(c, NULL));
    CHECK(!loam_try_recv(c, &v) && v == 0);
    CHECK_EQ(loam_chan_try_recv(loam_chan_raw(c), &v), 0);
    CHECK_EQ(loam_select_default(loam_on_recv_ok(c, &v, &ok)), 0);
    CHECK(!ok);
    loam_chan_free(c);
    loam_chan_free(p);
    loam_chan(const char *) s = loam_chan_make(const char *, 1);
    loam_send(s, "text");
    CHECK(strcmp(loam_recv(s), "text") == 0);
    loam_chan_free(s);
}

static void body(void)
{
    sizes();
    static const size_t all[] = {0, 1, 2, 3, 4, 5, 8, 12, 16, 17, 32};
    for (size_t i = 0; i < nelem(all); i++) {
        snprintf(where, sizeof where, "size %zu", all[i]);
        for (int64_t cap = 1; cap <= 9; cap += 2)
            ring(all[i], cap);
        drop(all[i]);
    }
    *where = '\0';
    no_cases();
    if (!seeded()) /* a foreign thread is a choice that no seed makes */
        foreign_threads();
    typed();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
