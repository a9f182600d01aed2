/* libunwind on a stack in pieces. FOREIGN: who walks, a library; else a recursion over several segments, with
 * foreign code in its middle, of which every frame is found, in its place. A function that went on on another
 * segment stands there twice: where it was called, and where it is. */
#ifdef FOREIGN
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <stdint.h>

/* Walks from here: the frame pointers that it finds, each with the start of its function. */
int walk(uintptr_t *frames, uintptr_t *functions, int room)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_proc_info_t info;
    unw_word_t fp;
    int n = 0;
    if (unw_getcontext(&context) != 0 || unw_init_local(&cursor, &context) != 0)
        return -1;
    while (unw_step(&cursor) > 0 && n < room) {
        if (unw_get_reg(&cursor, UNW_X86_64_RBP, &fp) != 0 ||
            unw_get_proc_info(&cursor, &info) != 0)
            continue;
        frames[n] = fp;
        functions[n++] = info.start_ip;
    }
    return n;
}
#else
#include <loam.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int walk(uintptr_t *frames, uintptr_t *functions, int room);

enum { ABOVE = 60, BELOW = 60, ROOM = 1000 };

static uintptr_t made[ABOVE + BELOW + 2], found[ROOM], functions[ROOM];
static int n_made, n_found, calls;

__attribute__((noipa)) static int climb(int n);

static int callback(const void *a, const void *b)
{
    (void)a, (void)b;
    return calls++ == 0 ? climb(BELOW) : 0;
}

__attribute__((noipa)) static int climb(int n)
{
    volatile char b[200];
    int v[2] = {2, 1};
    b[0] = 0;
    made[n_made++] = (uintptr_t)__builtin_frame_address(0);
    if (n == BELOW + 1)
        qsort(v, 2, sizeof v[0], callback);
    else if (n != 0)
        return climb(n - 1) + b[0];
    else
        n_found = walk(found, functions, ROOM);
    return b[0];
}

static void worker(void *arg)
{
    (void)arg;
    climb(BELOW + 1 + ABOVE);
}

static int run(int argc, char **argv)
{
    (void)argc, (void)argv;
    loam_call(worker, NULL);
    int seen = 0;
    for (int i = 0; i < n_found && seen < n_made; i++)
        seen += found[i] == made[n_made - 1 - seen] && functions[i] == (uintptr_t)climb;
    printf("%d of %d frames\n", seen, n_made);
    return seen != ABOVE + BELOW + 2;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
#endif
