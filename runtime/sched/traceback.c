/* Tracebacks and dumps of goroutines, in Go's form, without malloc.
 *
 * Frames are found by frame pointers: the runtime and everything that `loam build` compiles keeps
 * them, and a walk stops at the first one that is not plausible. Code without them (most of libc)
 * hides the frames between it and its caller. The runtime's own frames on top of a parked goroutine
 * (gopark and what called it, up to the public function) are left out, as Go leaves out its own.
 *
 * A goroutine that runs on another thread has its registers there: that thread is sent SIGQUIT, its
 * handler leaves them in its M and waits for the end of the process.
 *
 * Whoever dumps looks at goroutines that go on running unless the world is stopped: such a traceback
 * may be torn, but every read is of memory that stays mapped. */
#include "sched/sched_int.h"

#include "base/needs.h"
#include "base/print.h"
#include "os/os.h"
#include "stack/symtab.h"

#include <string.h>
#include <unistd.h>

#include <loam.h>

enum {
    INNER_FRAMES = 50,
    FRAMES_MAX =
        100000000,     /* more than 1 GB holds: a stack that was written over may go in circles */
    OUTER_FRAMES = 50, /* Go's: of a deep stack both ends are shown */
    ENTRY_FRAMES = 3,  /* at most, below a goroutine's function */
    PATIENCE_NS = 200000000,
    MAIN_GOID = 1
};

bool throw_all;

static bool handler_installed;
static int quit_tid; /* atomic: the thread that prints because of a signal */

/* ---- One goroutine -------------------------------------------------------------------------- */

/* The second line of a frame: file, line and offset in the function; where no line is known the
 * module and the offset in it, which addr2line takes. As in Go an inlined function has no offset: it
 * has no code of its own from which to count. */
static void print_place(struct printer *p, const struct symtab_entry *e)
{
    if (e->file != NULL)
        pr(p, "\t%s:%u", e->file, e->line);
    else
        pr(p, "\t%s", e->module != NULL ? e->module : "?");
    if (e->file == NULL && e->module != NULL)
        pr(p, " +0x%lx", (unsigned long)e->module_offset);
    else if (e->file != NULL && !e->inlined)
        pr(p, " +0x%lx", (unsigned long)e->offset);
    pr(p, "\n");
}

static void print_frame(struct printer *p, const struct symtab_entry *e, uintptr_t pc)
{
    if (e->function != NULL)
        pr(p, "%s(...)\n", e->function);
    else if (e->module != NULL)
        pr(p, "?(...)\n"); /* the second line says where */
    else
        pr(p, "0x%lx\n", (unsigned long)pc);
    print_place(p, e);
}

/* Looks up the caller's side of a return address, or the instruction itself. */
static void look_up(uintptr_t pc, bool is_return, struct symtab_entry *e)
{
    if (symtab_find(pc - (is_return ? 1 : 0), e) && is_return) {
        e->offset++;
        e->module_offset++;
    }
}

void traceback_place(struct printer *p, uintptr_t pc)
{
    struct symtab_entry e;
    (void)symtab_find(pc, &e);
    pr(p, "%s (", e.function != NULL ? e.function : "?");
    if (e.file != NULL)
        pr(p, "%s:%u)", e.file, e.line);
    else
        pr(p, "%s +0x%lx)", e.module != NULL ? e.module : "?", (unsigned long)e.module_offset);
}

static bool is_entry(const char *name)
{
    static const char *const ours[] = {"goroutine_entry", "arch_entry", "main_entry"};
    for (size_t i = 0; i < nelem(ours); i++)
        if (name != NULL && strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

static bool is_runtime_file(const char *file)
{
    static const char *const folders[] = {"sched", "chan", "sync",  "time", "base", "lock",
                                          "boot",  "mem",  "stack", "os",   "arch"};
    const char *at = file != NULL ? strstr(file, "/runtime/") : NULL;
    if (at == NULL)
        return false;
    at += sizeof "/runtime/" - 1;
    for (size_t i = 0; i < nelem(folders); i++) {
        size_t len = strlen(folders[i]);
        if (strncmp(at, folders[i], len) == 0 && at[len] == '/')
            return true;
    }
    return false;
}

/* Public functions that call one of the program's: what is above them is not theirs. */
static bool calls_back(const char *name)
{
    static const char *const names[] = {"loam_blocking", "loam_on_thread_stack", "loam_once_do"};
    for (size_t i = 0; i < nelem(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* How many frames on top are the runtime's: up to the outermost public function near the top, or,
 * where that made its last call a jump and is not on the stack, the last one from our files. */
static size_t skip_runtime(const uintptr_t *pcs, size_t n, bool first_is_return)
{
    size_t outermost = n; /* public function; n: none */
    size_t ours = 0;
    for (size_t i = 0; i < n && i < 12; i++) {
        struct symtab_entry e;
        look_up(pcs[i], i > 0 || first_is_return, &e);
        bool more = true, program = e.file != NULL && !is_runtime_file(e.file);
        while (more) {
            if (e.function != NULL && calls_back(e.function))
                program = true;
            else if (e.function != NULL && strncmp(e.function, "loam_", 5) == 0)
                outermost = i;
            more = symtab_outer(&e);
        }
        if (program)
            break;
        if (e.file != NULL && ours == i && i + 1 < n)
            ours = i + 1;
    }
    return outermost < n ? outermost : ours;
}

/* What a traceback has shown so far. */
enum shown { SHOWN_NOTHING, SHOWN_RUNTIME, SHOWN_PROGRAM };

static enum shown whose(const struct symtab_entry *e)
{
    bool ours =
        is_runtime_file(e->file) || (e->function != NULL && strncmp(e->function, "loam_", 5) == 0);
    return ours ? SHOWN_RUNTIME : SHOWN_PROGRAM;
}

/* Where a walk begins. */
struct from {
    uintptr_t pc, fp;
    uintptr_t guard;    /* of a stack that grows: which piece it was on */
    const struct m *mp; /* NULL: on no thread */
    bool
        signalled; /* a signal stopped it there; else it made a call, and pc is its return address */
};

/* The frames of a goroutine: the first ones and the last ones. */
struct frames {
    uintptr_t first[INNER_FRAMES];
    uintptr_t last[OUTER_FRAMES + ENTRY_FRAMES]; /* a ring of those behind the first */
    size_t n;
    bool signalled; /* a signal stopped the first one */
};

static void add_frame(struct frames *f, uintptr_t pc)
{
    if (f->n < INNER_FRAMES)
        f->first[f->n] = pc;
    else
        f->last[(f->n - INNER_FRAMES) % nelem(f->last)] = pc;
    f->n++;
}

static uintptr_t frame_at(const struct frames *f, size_t i)
{
    return i < INNER_FRAMES ? f->first[i] : f->last[(i - INNER_FRAMES) % nelem(f->last)];
}

static bool within(uintptr_t at, uintptr_t lo, uintptr_t hi)
{
    return at >= lo && at < hi;
}

/* The piece of gp's stack that an address lies in: of its own, or that of its thread while it is in
 * loam_on_thread_stack. */
static bool piece(const struct g *gp, const struct from *from, uintptr_t at, uintptr_t *lo,
                  uintptr_t *hi)
{
    if (stack_piece(gp, from->guard, at, lo, hi))
        return true;
    const struct m *mp = from->mp;
    if (mp == NULL || !(mp->incall & INCALL_THREAD_STACK))
        return false;
    *lo = mp->g0.stack.lo;
    *hi = mp->g0.stack.hi;
    return within(at, *lo, *hi);
}

/* Whether a frame may be at fp, reached from a deeper one at `below` (0: the first). Stacks grow down:
 * callers lie above, as long as both are in one piece of the stack. */
static bool frame_ok(const struct g *gp, const struct from *from, uintptr_t fp, uintptr_t below)
{
    uintptr_t lo, hi;
    return piece(gp, from, fp, &lo, &hi) && arch_frame_ok(fp, lo, hi) &&
           (!within(below, lo, hi) || fp > below);
}

/* Where a function called __morestack the frames in between are left out, so that it stands there once. Of a
 * goroutine whose context was copied (copied.c) the frames begin where the signal cut it. One that runs on
 * meanwhile may have anything there, what ASan has poisoned too: what is read then is wrong, and no fault. */
static no_sanitize void walk(const struct g *gp, const struct from *from, struct frames *f)
{
    uintptr_t pc = from->pc, fp = from->fp, below = 0;
    f->n = 0;
    f->signalled = from->signalled;
    add_frame(f, pc);
    while (frame_ok(gp, from, fp, below) && f->n < FRAMES_MAX) {
        below = fp;
        arch_frame_next(below, &pc, &fp);
        if (pc == 0)
            break;
        if (pc == morestack_grow_pc && frame_ok(gp, from, fp, below)) {
            below = fp; /* its return address is in the function's first instructions */
            fp = ((const uintptr_t *)below)[0];
            pc = ((const uintptr_t *)below)[2];
        }
        if (pc == arch_async_pc && frame_ok(gp, from, fp, below)) {
            below = fp;
            arch_frame_next(below, &pc, &fp);
            f->n = 0;
            f->signalled = true;
        }
        if (pc != morestack_big_pc)
            add_frame(f, pc);
    }
}

static bool is_entry_frame(uintptr_t pc)
{
    struct symtab_entry e;
    look_up(pc, true, &e);
    return pc == (uintptr_t)arch_entry || is_entry(e.function);
}

static noinline enum shown print_stack(struct printer *p, const struct g *gp, const struct from *at)
{
    struct frames f;
    enum shown shown = SHOWN_NOTHING;
    walk(gp, at, &f);
    size_t n = f.n;
    for (int i = 0; i < ENTRY_FRAMES && n > 1 && is_entry_frame(frame_at(&f, n - 1)); i++)
        n--;
    size_t skipped = skip_runtime(f.first, f.n < INNER_FRAMES ? f.n : INNER_FRAMES, !f.signalled);
    for (size_t i = skipped; i < n; i++) {
        if (i == INNER_FRAMES && n > INNER_FRAMES + OUTER_FRAMES) {
            size_t elided = n - INNER_FRAMES - OUTER_FRAMES;
            pr(p, "...%zu frames elided...\n", elided);
            i += elided;
        }
        struct symtab_entry e;
        uintptr_t pc = frame_at(&f, i);
        look_up(pc, i > 0 || !f.signalled, &e);
        if (pc == (uintptr_t)arch_entry || is_entry(e.function))
            break;
        do {
            print_frame(p, &e, pc);
            shown = whose(&e) > shown ? whose(&e) : shown;
        } while (symtab_outer(&e));
    }
    return shown;
}

/* The function that a goroutine was started with, where no frame of the program was shown: it has not
 * run yet, or its last call was a jump into the runtime and left no frame. */
static void print_start(struct printer *p, const struct g *gp, enum shown shown)
{
    struct symtab_entry e;
    look_up((uintptr_t)gp->fn, false, &e);
    while (symtab_outer(&e)) /* what it begins with may be inlined */
        ;
    if (gp->fn != NULL && !is_entry(e.function) && whose(&e) > shown)
        print_frame(p, &e, (uintptr_t)gp->fn);
}

static const char *status_words(const struct g *gp, uint32_t status)
{
    switch (status) {
    case G_runnable:
        return "runnable";
    case G_running:
        return "running";
    case G_syscall:
        return "syscall";
    case G_waiting:
        return waitreason_text(gp->waitreason);
    default:
        return "???";
    }
}

/* halted: nobody runs beside us. */
static void print_header(struct printer *p, const struct g *gp, uint32_t status, bool halted)
{
    pr(p, "\ngoroutine %lu", (unsigned long)gp->goid);
    if (gp->name != NULL)
        pr(p, " \"%s\"", gp->name);
    pr(p, " [%s", status_words(gp, status));
    int64_t since = load_relaxed(&gp->waitsince); /* of one that may go on meanwhile: a hint */
    int64_t minutes =
        status == G_waiting && since != 0 ? (nanotime() - since) / INT64_C(60000000000) : 0;
    if (minutes >= 1)
        pr(p, ", %ld minutes", (long)minutes);
    struct m *mp = load_relaxed(&gp->m);
    struct p *pp = mp != NULL ? load_relaxed(&mp->p) : NULL;
    if (status == G_running && gp != getg() && pp != NULL && pp->seen.asleep)
        pr(p, ", asleep in the kernel");
    if (gp->locked != 0)
        pr(p, ", locked to thread");
    pr(p, "]");
    if (halted || gp == getg()) /* they may come and go otherwise */
        golocals_print_labels(p, gp);
    pr(p, ":\n");
}

static void print_created(struct printer *p, const struct g *gp)
{
    if (gp->gopc == 0 || gp->parent == 0)
        return;
    struct symtab_entry e;
    look_up(gp->gopc, true, &e);
    pr(p, "created by %s in goroutine %lu\n", e.function != NULL ? e.function : "?",
       (unsigned long)gp->parent);
    print_place(p, &e);
}

/* Whether gp is on one of its stacks with this stack pointer. Who runs into the guard below one is on it
 * too. False: it is being switched. */
static bool is_on(const struct g *gp, const struct from *from, uintptr_t sp)
{
    uintptr_t lo, hi;
    const struct m *mp = from->mp;
    if (piece(gp, from, sp, &lo, &hi) || stack_guarded(gp, from->guard, sp, &lo, &hi))
        return true;
    return mp != NULL && (mp->incall & INCALL_THREAD_STACK) &&
           within(sp, mp->g0.stack.lo - THREAD_GUARD, mp->g0.stack.lo);
}

/* Where a signal stopped it. A large frame may have put sp far below the stack, but not fp. */
static bool signal_at(const struct g *gp, const struct m *mp, struct from *at)
{
    *at = (struct from){
        .pc = mp->sig_pc, .fp = mp->sig_fp, .guard = mp->sig_guard, .mp = mp, .signalled = true};
    return is_on(gp, at, mp->sig_sp) || is_on(gp, at, mp->sig_fp);
}

/* The calling goroutine, from its caller's caller on; in a handler, from where the signal came. */
static noinline void print_current(struct printer *p, const struct g *gp)
{
    const struct m *mp = getm();
    uintptr_t fp = (uintptr_t)__builtin_frame_address(0);
    struct from at = {.guard = guard_of(mp), .mp = mp};
    bool found = is_on(gp, &at, fp);
    if (found)
        arch_frame_next(fp, &at.pc, &at.fp);
    else if (load_acquire(&mp->sig_caught))
        found = signal_at(gp, mp, &at);
    print_header(p, gp, load_relaxed(&gp->status), false);
    if (found)
        (void)print_stack(p, gp, &at);
    print_created(p, gp);
}

static void print_other(struct printer *p, const struct g *gp, bool halted)
{
    uint32_t status = load_acquire(&gp->status);
    if (status == G_idle || status == G_dead)
        return;
    print_header(p, gp, status, halted);
    struct m *mp = load_relaxed(&gp->m);
    struct from at;
    /* acquire: the registers are there. It may have been caught in the middle of a switch. */
    /* One held in preempt.c's handler has no M, but its registers are there as well. */
    struct m *holder = status == G_runnable ? load_relaxed(&gp->lockedm) : NULL;
    bool held = holder != NULL && load_acquire(&holder->held);
    bool caught = mp != NULL && load_acquire(&mp->sig_caught);
    if ((held && signal_at(gp, holder, &at)) || (caught && signal_at(gp, mp, &at))) {
        (void)print_stack(p, gp, &at);
    } else if (status == G_waiting || status == G_runnable) {
        enum shown shown = SHOWN_NOTHING;
        at = (struct from){.pc = arch_gobuf_pc(&gp->sched),
                           .fp = arch_gobuf_fp(&gp->sched),
                           .guard = gp->seg != NULL ? arch_gobuf_guard(&gp->sched) : 0};
        if (gp->sched.sp != 0 && is_on(gp, &at, gp->sched.sp))
            shown = print_stack(p, gp, &at);
        print_start(p, gp, shown);
    } else {
        pr(p, "\tgoroutine running on other thread; stack unavailable\n");
    }
    print_created(p, gp);
}

static void print_embryo(const struct g *embryo, void *p)
{
    pr(p, "\ngoroutine %lu [runnable]:\n", (unsigned long)embryo->goid);
    print_start(p, embryo, SHOWN_NOTHING);
    print_created(p, embryo);
}

/* ---- All ---------------------------------------------------------------------------------------- */

static void dump_goroutines(struct printer *p, const struct g *first, bool halted)
{
    bool held = allg_hold();
    /* The main goroutine goes first, as in Go: it is the one that people look for. */
    for (int round = 0; round < 2; round++)
        for (struct g *gp = load_acquire(&allg); gp != NULL; gp = load_acquire(&gp->alllink))
            if (gp != first && (gp->goid == MAIN_GOID) == (round == 0))
                print_other(p, gp, halted);
    allg_release(held);
    each_embryo(print_embryo, p);
}

void loam_traceback(int fd)
{
    struct g *gp = getg();
    if (gp == NULL)
        return;
    PRINTER(p, fd);
    print_current(&p, gp);
    pr_flush(&p);
}

bool printer_grow(struct printer *p)
{
    unsigned cap = p->cap != 0 ? 2 * p->cap : 64 << 10;
    char *buf = cap != 0 ? os_mem_map(cap, "loam dump") : NULL;
    if (buf == NULL)
        return false;
    if (p->len > 0)
        memcpy(buf, p->buf, p->len);
    os_mem_unmap(p->buf, p->cap);
    p->buf = buf;
    p->cap = cap;
    return true;
}

static void write_out(void *p)
{
    pr_flush(p);
}

/* Nothing is written before the world runs again: who reads may be a goroutine, or may take its time. */
void loam_dump_goroutines(int fd)
{
    struct printer p = {.fd = -1, .grow = printer_grow};
    struct g *gp = getg();
    if (visit_begin()) {
        /* Modules that came by dlopen: here, not in a handler, and before the stop, because it takes
         * the loader's lock, which a goroutine that is to be stopped may hold. */
        symtab_refresh();
        /* With a limit: who asks for a dump may do so because a goroutine never comes back. In a
         * blocking call we have no P to halt, on the thread's stack it may not be; they run on then. */
        enum stw_result stop = STW_NO_TURN;
        if (gp == NULL || getm()->incall == 0)
            stop = stopTheWorldFor(STW_DUMP, PATIENCE_NS);
        if (gp != NULL)
            print_current(&p, gp);
        dump_goroutines(&p, gp, stop == STW_STOPPED);
        if (stop != STW_NO_TURN)
            startTheWorld();
        visit_end();
    }
    bool cut = p.err != 0;
    p.fd = fd;
    p.err = 0;
    if (gp != NULL && getm()->incall != 0)
        pr_flush(&p); /* in a blocking call already, or where none can be begun */
    else
        loam_blocking(write_out, &p);
    os_mem_unmap(p.buf, p.cap);
    if (cut)
        print_fd(fd, "\n...the rest is missing: no memory for it\n");
}

/* Called by throw and panic, on whatever stack. */
void throw_traceback(int fd)
{
    struct g *gp = getg();
    PRINTER(p, fd);
    if (gp != NULL)
        print_current(&p, gp);
    if (throw_all)
        dump_goroutines(&p, gp, false);
    pr_flush(&p);
    trace_flush();
}

/* ---- SIGQUIT ------------------------------------------------------------------------------------- */

void traceback_at_signal(struct m *mp, const void *uc)
{
    arch_ucontext_regs(uc, &mp->sig_pc, &mp->sig_sp, &mp->sig_fp);
    mp->sig_guard = guard_of(mp);
    store_release(&mp->sig_caught, 1); /* release: the registers are there */
}

/* All threads of ours, those without a goroutine too: they would pick one up. They stay in their
 * handlers until the process ends. True: all that there are. */
static bool halt_threads(int self)
{
    for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink)
        if (mp->tid != self && load_acquire(&mp->alive))
            (void)os_tgkill(mp->tid, SIGQUIT);
    for (int tries = 0; tries < 2000; tries++) {
        bool all = true;
        for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink)
            if (mp->tid != self && load_acquire(&mp->alive) && !load_relaxed(&mp->sig_caught) &&
                !load_relaxed(&mp->held)) /* blocks all signals; runs no more */
                all = false;
        if (all)
            return true;
        os_usleep(500);
    }
    return false; /* one blocks the signal, or sleeps where none reaches it */
}

static void on_sigquit(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)info;
    int tid = os_gettid();
    struct m *mp = getm();
    if (mp != NULL)
        traceback_at_signal(mp, uc);
    if (!cas_acqrel(&quit_tid, 0, tid)) { /* acqrel: elects the one that prints, no more */
        for (;;)
            pause();
    }
    uintptr_t pc, sp, fp;
    arch_ucontext_regs(uc, &pc, &sp, &fp);
    /* never ended: a stop must not take the memory away */
    bool alive = visit_begin();
    bool halted = alive && halt_threads(tid);
    PRINTER(p, 2);
    pr(&p, "SIGQUIT: quit\nPC=0x%lx m=%d sigcode=%d\n", (unsigned long)pc, mp != NULL ? mp->id : -1,
       info->si_code);
    struct g *gp = getg();
    if (alive && gp != NULL)
        print_other(&p, gp, halted);
    if (alive)
        dump_goroutines(&p, gp, halted);
    pr_flush(&p);
    trace_flush();
    _exit(2);
}

int traceback_init(bool handlers)
{
    int err = symtab_init();
    if (err != 0)
        return err;
    throw_all = false;
    store_relaxed(&quit_tid, 0);
    /* A program with a handler of its own keeps it. */
    handler_installed = handlers && os_signal_install(SIGQUIT, on_sigquit) == 0;
    return 0;
}

void traceback_fini(void)
{
    if (handler_installed)
        os_signal_remove(SIGQUIT, on_sigquit);
    handler_installed = false;
    symtab_fini();
}
