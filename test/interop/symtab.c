/* symtab: function and line of a program counter, from whatever the module's file still holds.
 *
 * Without arguments the program tests itself as the build made it: no .loam_pcln, but symbols. With
 * arguments it is the probe with which symtab_test.py tries files with the table, stripped and corrupted:
 *   find ADDRESS...   what is known of these link-time addresses of the program, a line per frame
 *   sweep             looks up every address of the program; prints how many had a name
 *   object FILE NEW SYMBOL   opens a shared object, puts NEW in the place of its file, looks up */
#include "stack/symtab.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---- The probe --------------------------------------------------------------------------------- */

struct text {
    uintptr_t base, lo, hi;
};

/* The program is the first in the loader's list. */
static int find_text(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct text *t = arg;
    t->base = info->dlpi_addr;
    t->lo = UINTPTR_MAX;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
            continue;
        uintptr_t lo = t->base + ph->p_vaddr;
        t->lo = lo < t->lo ? lo : t->lo;
        t->hi = lo + ph->p_memsz > t->hi ? lo + ph->p_memsz : t->hi;
    }
    return 1;
}

static int find(int n, char **addresses)
{
    struct text t = {0};
    dl_iterate_phdr(find_text, &t);
    for (int i = 0; i < n; i++) {
        struct symtab_entry e;
        uintptr_t address = strtoul(addresses[i], NULL, 16);
        if (!symtab_find(t.base + address, &e)) {
            printf("%lx none\n", (unsigned long)address);
            continue;
        }
        CHECK(e.module_offset == address);
        do {
            printf("%lx %s %s %u %lx %s\n", (unsigned long)address,
                   e.function != NULL ? e.function : "?", e.file != NULL ? e.file : "?", e.line,
                   (unsigned long)e.offset, base_name(e.module));
        } while (symtab_outer(&e));
    }
    return 0;
}

static int sweep(void)
{
    struct text t = {0};
    size_t named = 0, letters = 0;
    dl_iterate_phdr(find_text, &t);
    for (uintptr_t pc = t.lo - 16; pc < t.hi + 16; pc++) {
        struct symtab_entry e;
        if (!symtab_find(pc, &e))
            continue;
        named += e.function != NULL;
        do { /* reads every byte of the strings */
            letters += e.function != NULL ? strlen(e.function) : 0;
            letters += e.file != NULL ? strlen(e.file) : 0;
        } while (symtab_outer(&e));
    }
    printf("%zu named %zu\n", named, letters);
    return 0;
}

static int object(const char *path, const char *new, const char *symbol)
{
    struct symtab_entry e;
    void *handle = dlopen(path, RTLD_NOW);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    uintptr_t pc = (uintptr_t)dlsym(handle, symbol);
    CHECK(pc != 0);
    CHECK(!symtab_find(pc, &e));
    symtab_refresh();
    if (strcmp(new, "-") != 0)
        CHECK(rename(new, path) == 0);
    CHECK(symtab_find(pc, &e));
    printf("%s %s %u %s\n", e.function != NULL ? e.function : "?",
           e.file != NULL ? base_name(e.file) : "?", e.line, base_name(e.module));
    dlclose(handle);
    symtab_refresh();
    CHECK(!symtab_find(pc, &e));
    return 0;
}

/* ---- The test of itself -------------------------------------------------------------------------- */

/* How many maps of symtab's there are. */
static int count_maps(void)
{
    char line[1024];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, "[anon:loam ") != NULL;
    fclose(f);
    return n;
}

static uintptr_t here(void)
{
    return (uintptr_t)&here; /* where a lookup has to find "here" */
}

static void test_own_functions(void)
{
    struct symtab_entry e;
    errno = 77;
    CHECK(symtab_find(here(), &e));
    CHECK(errno == 77);
    CHECK(e.function != NULL && strcmp(e.function, "here") == 0);
    CHECK(e.offset == 0 && !e.inlined && !symtab_outer(&e));
    CHECK(strcmp(base_name(e.module), base_name(program_invocation_name)) == 0);
    uintptr_t module_offset = e.module_offset;
    CHECK(symtab_find(here() + 1, &e));
    CHECK(strcmp(e.function, "here") == 0 && e.offset == 1);
    CHECK(e.module_offset == module_offset + 1);
}

static void test_shared_objects(void)
{
    struct symtab_entry e;
    /* By dlsym: the address may be that of the program's own jump to it. */
    uintptr_t in_libc = (uintptr_t)dlsym(RTLD_NEXT, "getenv");
    CHECK(symtab_find(in_libc + 1, &e));
    CHECK(strncmp(base_name(e.module), "libc", 4) == 0);
    CHECK(e.function != NULL && e.offset == 1);
}

static void test_nowhere(void)
{
    struct symtab_entry e;
    char *heap = malloc(1);
    CHECK(!symtab_find(0, &e) && e.function == NULL && e.module == NULL);
    CHECK(!symtab_find(UINTPTR_MAX, &e));
    CHECK(!symtab_find((uintptr_t)heap, &e));
    CHECK(!symtab_find((uintptr_t)&e, &e));
    CHECK(!symtab_outer(&e));
    free(heap);
}

static void test_dlopen(void)
{
    struct symtab_entry e;
    for (int i = 0; i < 300; i++) { /* more often than the list has room */
        void *handle = dlopen("libresolv.so.2", RTLD_NOW);
        if (handle == NULL)
            return; /* linked statically, or not this libc */
        uintptr_t pc = (uintptr_t)dlsym(handle, "ns_initparse");
        struct link_map *map;
        if (pc == 0 || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
            return;
        symtab_refresh();
        CHECK(symtab_find(pc, &e));
        CHECK(strcmp(base_name(e.module), "libresolv.so.2") == 0);
        CHECK(e.module_offset == pc - map->l_addr);
        CHECK(e.function != NULL && e.offset == 0);
        dlclose(handle);
        symtab_refresh();
        if (dlopen("libresolv.so.2", RTLD_NOW | RTLD_NOLOAD) == NULL)
            CHECK(!symtab_find(pc, &e));
    }
}

static volatile sig_atomic_t handled;

static void handler(int sig)
{
    struct symtab_entry e;
    (void)sig;
    handled = symtab_find(here(), &e) && strcmp(e.function, "here") == 0;
}

/* The first lookup of all happens in a handler, on a small stack, with the heap locked for all we
 * know. */
static void test_handler(void)
{
    static char stack[16384 * (SANITIZED ? 8 : 1)];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    CHECK(sigaltstack(&alt, NULL) == 0);
    CHECK(sigaction(SIGUSR1, &act, NULL) == 0);
    struct mallinfo2 before = mallinfo2();
    raise(SIGUSR1);
    struct mallinfo2 after = mallinfo2();
    CHECK(handled);
    CHECK(before.uordblks == after.uordblks && before.hblks == after.hblks);
    alt.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&alt, NULL) == 0);
}

/* Without a descriptor left there is no name, but there is when one is free again. */
static void test_no_descriptor(void)
{
    struct symtab_entry e;
    struct rlimit all, none;
    CHECK(getrlimit(RLIMIT_NOFILE, &all) == 0);
    none = (struct rlimit){0, all.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(symtab_find(here(), &e));
    CHECK(e.function == NULL && e.module != NULL);
    CHECK(setrlimit(RLIMIT_NOFILE, &all) == 0);
    test_own_functions();
}

static pthread_barrier_t barrier;

static void *look_up(void *arg)
{
    struct symtab_entry e;
    pthread_barrier_wait(&barrier);
    bool ok = symtab_find(here(), &e) && strcmp(e.function, "here") == 0;
    ok = ok && symtab_find((uintptr_t)dlsym(RTLD_NEXT, "getenv"), &e);
    symtab_refresh();
    ok = ok && symtab_find(here(), &e) && strcmp(e.function, "here") == 0;
    *(bool *)arg = ok;
    return NULL;
}

static void test_race(void)
{
    enum { N = 8 };
    pthread_t thread[N];
    bool ok[N];
    for (int round = 0; round < 20; round++) {
        CHECK(symtab_init() == 0);
        CHECK(pthread_barrier_init(&barrier, NULL, N) == 0);
        for (int i = 0; i < N; i++)
            CHECK(pthread_create(&thread[i], NULL, look_up, &ok[i]) == 0);
        for (int i = 0; i < N; i++) {
            CHECK(pthread_join(thread[i], NULL) == 0);
            CHECK(ok[i]);
        }
        pthread_barrier_destroy(&barrier);
        symtab_fini();
    }
}

static int test(void)
{
    struct symtab_entry e;
    int maps = count_maps();
    CHECK(!symtab_find(here(), &e));
    symtab_refresh();
    symtab_fini();
    for (int i = 0; i < 2; i++) {
        CHECK(symtab_init() == 0);
        CHECK(symtab_init() == 0);
        test_handler();
        test_own_functions();
        test_shared_objects();
        test_nowhere();
        test_dlopen();
        symtab_fini();
        CHECK(!symtab_find(here(), &e));
        CHECK(symtab_init() == 0);
        test_no_descriptor();
        symtab_fini();
    }
    test_race();
    CHECK(count_maps() == maps);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return test();
    int status = 1;
    CHECK(symtab_init() == 0);
    if (strcmp(argv[1], "find") == 0)
        status = find(argc - 2, argv + 2);
    else if (strcmp(argv[1], "sweep") == 0)
        status = sweep();
    else if (strcmp(argv[1], "object") == 0 && argc == 5)
        status = object(argv[2], argv[3], argv[4]);
    symtab_fini();
    return status;
}
