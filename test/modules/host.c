/* Opens a module while the runtime runs, and lets goroutines spin in it.
 *
 *   host copied MODULE    until signals have copied contexts, without being told of the module
 *   host held MODULE...   until signals have held goroutines: nothing is copied
 *   host alone MODULE     in a function that no signal cuts
 *   host kept MODULE      opens and closes it: it stays */
#include <loam.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "module.h"

enum { LOOPS = 6 };

static int stop;      /* atomic */
static int64_t turns; /* atomic: of the goroutine that wants the processor too */

static void *open_module(const char *path)
{
    void *module = dlopen(path, RTLD_NOW);
    if (module == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return module;
}

static void (*find(void *module, const char *name))(void *)
{
    void (*fn)(void *);
    *(void **)&fn = dlsym(module, name);
    if (fn == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return fn;
}

static struct loam_sched_stats stats(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s;
}

static void go(void (*fn)(void *), void *arg)
{
    if (loam_go(fn, arg) != 0)
        abort();
}

static void want(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
        __atomic_add_fetch(&turns, 1, __ATOMIC_ACQ_REL);
        loam_yield();
    }
}

static void finish(void)
{
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    while (loam_num_goroutine() > 1)
        loam_sleep(LOAM_MILLISECOND);
}

static int spin_all(int n, char **modules, bool copied)
{
    for (int i = 0; i < n; i++) {
        void (*spin)(void *) = find(open_module(modules[i]), "spin");
        for (int k = 0; k < LOOPS; k++)
            go(spin, &stop);
    }
    if (!copied)
        loam_modules_look();
    while (copied ? stats().preemptions_copied < 30 : stats().preemptions < 30)
        loam_sleep(LOAM_MILLISECOND);
    if (!copied && stats().preemptions_copied != 0) {
        fprintf(stderr, "copied\n");
        return 1;
    }
    finish();
    return 0;
}

/* On a thread of its own: after many slices. */
static void *stop_later(void *arg)
{
    struct alone *a = arg;
    usleep(50000);
    __atomic_store_n(&a->stop, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void (*spin_alone)(void *);

static void call_alone(void *arg)
{
    (void)arg;
    struct alone a = {.turns = &turns};
    pthread_t t;
    if (pthread_create(&t, NULL, stop_later, &a) != 0)
        abort();
    spin_alone(&a);
    pthread_join(t, NULL);
    printf("%lld\n", (long long)a.meanwhile);
}

static int run(int argc, char **argv)
{
    const char *what = argv[1];
    if (strcmp(what, "copied") == 0 || strcmp(what, "held") == 0)
        return spin_all(argc - 2, argv + 2, what[0] == 'c');
    void *module = open_module(argv[2]);
    loam_modules_look();
    if (strcmp(what, "kept") == 0) {
        dlclose(module);
        puts(dlopen(argv[2], RTLD_NOW | RTLD_NOLOAD) != NULL ? "kept" : "gone");
        return 0;
    }
    spin_alone = find(module, "spin_alone");
    go(want, NULL);
    go(call_alone, NULL);
    while (loam_num_goroutine() > 2)
        loam_sleep(LOAM_MILLISECOND);
    finish();
    return 0;
}

int main(int argc, char **argv)
{
    return argc > 2 ? loam_run(run, argc, argv) : 2;
}
