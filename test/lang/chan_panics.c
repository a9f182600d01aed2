/* Every panic and fatal error of channels and select: its text, in Go's words, and exit status 2; and
 * the wait reasons that a deadlock shows. The program runs itself once per case. */
#include "../unit/chan/chan_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static struct loam_hchan *closed(int64_t cap)
{
    struct loam_hchan *c = loam_chan_new_or_panic(8, cap);
    loam_chan_close(c);
    return c;
}

static int64_t v;

static void send_closed(void)
{
    loam_chan_send(closed(0), &v);
}

static void send_closed_buffered(void)
{
    loam_chan_send(closed(3), &v);
}

static void try_send_closed(void)
{
    struct loam_hchan *c = loam_chan_new_or_panic(8, 0);
    CHECK_EQ(loam_chan_try_send(c, &v), -EAGAIN);
    loam_chan_close(c);
    loam_chan_try_send(c, &v);
}

static void select_send_closed(void)
{
    struct loam_case cases[] = {{NULL, NULL, NULL, 0}, {closed(1), &v, NULL, 1}};
    loam_select_n(cases, 2, 0);
}

static void select_default_send_closed(void)
{
    struct loam_case k = {closed(1), &v, NULL, 1};
    loam_select_n(&k, 1, LOAM_SELECT_DEFAULT);
}

static void send_arg(void *c)
{
    loam_chan_send(c, &v);
}

static void select_send_arg(void *c)
{
    struct loam_case cases[] = {{loam_chan_new_or_panic(8, 0), &v, NULL, 0}, {c, &v, NULL, 1}};
    loam_select_n(cases, 2, 0);
}

/* The sender waits already. */
static void close_under_sender(void)
{
    struct loam_hchan *c = loam_chan_new_or_panic(8, 0);
    go(send_arg, c);
    loam_sleep(20 * LOAM_MILLISECOND);
    loam_chan_close(c);
    loam_sleep(10 * LOAM_SECOND);
}

static void close_under_select(void)
{
    struct loam_hchan *c = loam_chan_new_or_panic(8, 0);
    go(select_send_arg, c);
    loam_sleep(20 * LOAM_MILLISECOND);
    loam_chan_close(c);
    loam_sleep(10 * LOAM_SECOND);
}

static void close_closed(void)
{
    loam_chan_close(closed(1));
}

static void close_nil(void)
{
    loam_chan(int) c = NULL;
    loam_close(c);
}

static void negative_size(void)
{
    (void)loam_chan_make(int, -1);
}

static void too_large(void)
{
    (void)loam_chan_make(int64_t, INT64_MAX / 4);
}

static void too_many_cases(void)
{
    struct loam_case *cases = calloc(65537, sizeof *cases);
    cases[0].chan = closed(0);
    CHECK_EQ(loam_select_n(cases, 65536, 0), 0);
    loam_select_n(cases, 65537, 0);
}

static void *foreign_send(void *c)
{
    loam_chan_send(c, &v);
    return NULL;
}

static void send_on_foreign_thread(void)
{
    pthread_t t;
    pthread_create(&t, NULL, foreign_send, loam_chan_new_or_panic(8, 1));
    pthread_join(t, NULL);
}

static void free_under_sender(void)
{
    struct loam_hchan *c = loam_chan_new_or_panic(8, 0);
    go(send_arg, c);
    loam_sleep(20 * LOAM_MILLISECOND);
    loam_chan_delete(c);
    fprintf(stderr, "not checked in this build\n");
    exit(2);
}

/* Deadlocks. */
static void recv_nil(void)
{
    loam_chan_recv(NULL, &v);
}

static void send_nil(void)
{
    loam_chan_send(NULL, &v);
}

static void recv_for_ever(void)
{
    loam_chan_recv(loam_chan_new_or_panic(8, 2), &v);
}

static void send_for_ever(void)
{
    loam_chan_send(loam_chan_new_or_panic(8, 0), &v);
}

static void select_for_ever(void)
{
    struct loam_case cases[] = {{loam_chan_new_or_panic(8, 0), &v, NULL, 0},
                                {loam_chan_new_or_panic(8, 0), &v, NULL, 1}};
    loam_select_n(cases, 2, 0);
}

static void select_no_cases(void)
{
    loam_select_n(NULL, 0, 0);
}

static void select_nil(void)
{
    struct loam_case cases[] = {{NULL, &v, NULL, 0}, {NULL, &v, NULL, 1}};
    loam_select_n(cases, 2, 0);
}

static void select_one_nil(void)
{
    struct loam_case k = {NULL, &v, NULL, 0};
    loam_select_n(&k, 1, 0);
}

#define DEADLOCK "fatal error: all goroutines are asleep - deadlock!\n"
/* clang-format off */
static const struct {
    const char *name;
    void (*fn)(void);
    const char *begins, *has;
} cases[] = {
    {"send_closed", send_closed, "panic: send on closed channel\n", "goroutine 1 [running]"},
    {"send_closed_buffered", send_closed_buffered, "panic: send on closed channel\n", ""},
    {"try_send_closed", try_send_closed, "panic: send on closed channel\n", ""},
    {"select_send_closed", select_send_closed, "panic: send on closed channel\n", ""},
    {"select_default_send_closed", select_default_send_closed, "panic: send on closed channel\n", ""},
    {"close_under_sender", close_under_sender, "panic: send on closed channel\n", ""},
    {"close_under_select", close_under_select, "panic: send on closed channel\n", ""},
    {"close_closed", close_closed, "panic: close of closed channel\n", ""},
    {"close_nil", close_nil, "panic: close of nil channel\n", ""},
    {"negative_size", negative_size, "panic: makechan: size out of range\n", ""},
    {"too_large", too_large, "panic: makechan: size out of range\n", ""},
    {"too_many_cases", too_many_cases,
     "panic: reflect.Select: too many cases (max 65536)\n", ""},
    {"send_on_foreign_thread", send_on_foreign_thread, "fatal error: ", "loam_send"},
    {"free_under_sender", free_under_sender, LOAM_DEBUG_CHECKS ? "fatal error: loam_chan_free: " : "",
     LOAM_DEBUG_CHECKS ? "a goroutine waits on the channel" : "not checked"},
    {"recv_nil", recv_nil, DEADLOCK, "goroutine 1 [chan receive (nil chan)"},
    {"send_nil", send_nil, DEADLOCK, "goroutine 1 [chan send (nil chan)"},
    {"recv_for_ever", recv_for_ever, DEADLOCK, "goroutine 1 [chan receive]"},
    {"send_for_ever", send_for_ever, DEADLOCK, "goroutine 1 [chan send]"},
    {"select_for_ever", select_for_ever, DEADLOCK, "goroutine 1 [select]"},
    {"select_no_cases", select_no_cases, DEADLOCK, "goroutine 1 [select (no cases)]"},
    {"select_nil", select_nil, DEADLOCK, "goroutine 1 [select]"},
    {"select_one_nil", select_one_nil, DEADLOCK, "goroutine 1 [chan receive (nil chan)"},
};
/* clang-format on */
enum { CASES = sizeof cases / sizeof cases[0] };

static int run(int argc, char **argv)
{
    (void)argc;
    cases[atoi(argv[1])].fn();
    fprintf(stderr, "came back\n");
    return 3;
}

static void judge(const char *program, int i)
{
    char number[16], text[1 << 16];
    size_t n = 0;
    int pipes[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    snprintf(where, sizeof where, "%s", cases[i].name);
    snprintf(number, sizeof number, "%d", i);
    CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
    char *args[] = {(char *)(uintptr_t)program, number, NULL};
    CHECK_EQ(posix_spawn(&pid, program, &actions, NULL, args, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    for (ssize_t got; (got = read(pipes[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(pipes[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 2)
        FAIL("status %x, not exit 2; it said:\n%s", status, text);
    if (strncmp(text, cases[i].begins, strlen(cases[i].begins)) != 0)
        FAIL("should begin with %s, but is:\n%s", cases[i].begins, text);
    if (strstr(text, cases[i].has) == NULL)
        FAIL("should contain %s, but is:\n%s", cases[i].has, text);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return loam_run(run, argc, argv);
    for (int i = 0; i < CASES; i++) {
        /* TSan has a thread of its own, which might wake a goroutine for all that the runtime knows */
        if (LOAM_TSAN && strcmp(cases[i].begins, DEADLOCK) == 0)
            continue;
        judge(argv[0], i);
    }
    return 0;
}
