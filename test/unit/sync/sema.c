/* White box: the queue and count under the types of sync/. */
#include "sync/sema.h"

#include "synctest.h"

static struct loam_sema s;
static int order[64], norder, woken;

static void sleeper(void *arg)
{
    semacquire(&s, WAIT_semacquire);
    order[add(&norder, 1) - 1] = (int)(intptr_t)arg;
    add(&woken, 1);
}

static int queued(void)
{
    int n = 0;
    lock(sema_mutex(&s));
    for (struct sudog *sg = s.head; sg != NULL; sg = sg->next)
        n++;
    unlock(sema_mutex(&s));
    return n;
}

static void start_sleepers(int n)
{
    norder = woken = 0;
    for (int i = 0; i < n; i++) {
        go(sleeper, (void *)(intptr_t)i);
        WAIT_UNTIL(queued() == i + 1);
    }
}

static void test_wake_before_sleep(void)
{
    semrelease(&s, 3);
    CHECK_EQ(s.count, 3);
    for (int i = 0; i < 3; i++)
        semacquire(&s, WAIT_semacquire);
    CHECK_EQ(s.count, 0);
}

static void test_order(void)
{
    start_sleepers(8);
    for (int i = 0; i < 8; i++) {
        semrelease(&s, 1);
        WAIT_UNTIL(load(&woken) == i + 1);
        CHECK_EQ(order[i], i);
    }
    CHECK(s.head == NULL && s.tail == NULL && s.count == 0);
}

static void test_several_at_once(void)
{
    start_sleepers(8);
    semrelease(&s, 3);
    WAIT_UNTIL(load(&woken) == 3);
    CHECK_EQ(queued(), 5);
    semrelease(&s, 7);
    WAIT_UNTIL(load(&woken) == 8);
    CHECK_EQ(s.count, 2);
    semacquire(&s, WAIT_semacquire);
    semacquire(&s, WAIT_semacquire);
    CHECK(s.head == NULL && s.tail == NULL && s.count == 0);
}

static void test_queue(void)
{
    struct loam_sema q = {0};
    struct sudog a = {0}, b = {0}, c = {0};
    sema_push(&q, &a);
    sema_push(&q, &b);
    sema_push_front(&q, &c);
    CHECK(sema_pop(&q) == &c);
    CHECK(sema_pop(&q) == &a);
    CHECK(sema_pop(&q) == &b);
    CHECK(sema_pop(&q) == NULL && q.tail == NULL);
    sema_push_front(&q, &a);
    sema_push(&q, &b);
    CHECK(q.head == &a && q.tail == &b);
    CHECK(sema_pop_all(&q) == &a && a.next == &b && b.next == NULL);
    CHECK(q.head == NULL && q.tail == NULL);
}

static const struct test tests[] = {
    {"wake before sleep", test_wake_before_sleep},
    {"order", test_order},
    {"several at once", test_several_at_once},
    {"queue", test_queue},
    {NULL, NULL},
};

static int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    return loam_run(test_main, argc, argv);
}
