/* Groups at the edges: a start that fails, and the runtime's end while goroutines run. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static int until_done(struct loam_context *ctx, void *arg)
{
    (void)arg;
    (void)loam_recv(loam_context_done(ctx));
    return 0;
}

static struct loam_group *left;

/* Stacks of 1 GB, and addresses for a few: the error of the start becomes the group's. */
static void starve(void *arg)
{
    (void)arg;
    struct loam_group *g = loam_group_new(NULL);
    int started = 0, err;
    while ((err = loam_group_go(g, until_done, NULL)) == 0)
        CHECK(++started < 1000);
    CHECK(err == -ENOMEM && started > 0);
    CHECK(loam_context_cause(loam_group_context(g)) == -ENOMEM);
    CHECK(loam_group_wait(g) == -ENOMEM);
    loam_group_free(g);
}

static void leave_members(void *arg)
{
    (void)arg;
    left = loam_group_new(NULL);
    CHECK(loam_group_set_limit(left, 2) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(loam_group_go(left, until_done, NULL) == 0);
}

static void wait_for_place(void *arg)
{
    (void)arg;
    (void)loam_group_go(left, until_done, NULL);
    abort();
}

static void wait_for_end(void *arg)
{
    (void)arg;
    (void)loam_group_wait(left);
    abort();
}

int main(void)
{
    struct rlimit former, limit;
    CHECK(getrlimit(RLIMIT_AS, &former) == 0);
    struct loam_config big = {.maxprocs = 2, .stack_size = (size_t)1 << 30};
    CHECK(loam_start(&big) == 0);
    limit = (struct rlimit){(rlim_t)12 << 30, former.rlim_max};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(loam_call(starve, NULL) == 0);
    CHECK(setrlimit(RLIMIT_AS, &former) == 0);
    CHECK(loam_stop(LOAM_SECOND) == 0);

    struct loam_config config = {.maxprocs = 2};
    for (int i = 0; i < 2; i++) {
        CHECK(loam_start(&config) == 0);
        if (left != NULL)
            loam_group_free(left); /* of the former runtime */
        CHECK(loam_call(leave_members, NULL) == 0);
        loam_go(wait_for_place, NULL);
        loam_go(wait_for_end, NULL);
        usleep(20000);
        CHECK(loam_stop(LOAM_SECOND) == 0);
    }
    loam_group_free(left);
    return 0;
}
