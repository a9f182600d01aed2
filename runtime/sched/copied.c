/* Preemption by a copy of the context: code that goes on on any thread.
 *
 * preempt.c holds a goroutine together with its thread, because C keeps what belongs to a thread anywhere. A
 * module may declare that its code does not (include/loam/module.h: migratable). A goroutine that the signal
 * finds in such code is made to call arch_async_preempt: the handler writes the address at which it was cut
 * below its red zone, and returns there. From then on it is like any goroutine that yields: its registers lie
 * on its own stack, it is runnable in the global queue, its thread takes the next one. No thread is bound by
 * it, none is woken for it, and any number of loops can be cut so.
 *
 * When (may_copy). All that preempt.c asks for before it holds, and besides:
 *  - the program counter is in migratable text;
 *  - so is every frame from there to the goroutine's entry, but for those of the library, which called the
 *    program where it may park. A callback from qsort has libc beneath it, and a handler of the program's the
 *    kernel's frame: they stay with their thread. The frames are found by the compiler's tables
 *    (stack/unwind.c), which hold at every instruction: in a function's first ones a walk of frame pointers
 *    would pass by its caller. More than FRAMES_MAX are not walked;
 *  - none of them is LOAM_NOPREEMPT: what such a function calls may be cut, but it relies on its thread;
 *  - the goroutine is not wired;
 *  - the stack has room for the context, and on a slot for what the library may need (STACK_SLACK); on a small
 *    segment that is above the guard, and the switch has the slack below it, as for loam_yield;
 *  - all that is in use of the CPU's state is state that gets saved.
 * In doubt the answer is no, and the goroutine is held: slower by some 15 us, and right for any code.
 *
 * What is walked belongs to the goroutine, whose thread stands in the handler; tables of modules are never
 * taken away (stack/modules.c).
 *
 * Between the handler's return and the switch nothing else can cut it: its program counter is in the
 * library's text then.
 *
 * Off, beside where preempt.c is: with AddressSanitizer, to which the frame below the red zone would be one
 * that nobody declared; loops are held there.
 *
 * Rejected: a counter at each call of foreign code, kept by the compiler's or linker's doing: it costs every
 * call, and a longjmp leaves it wrong; the context in the handler's frame, which lies on the thread's
 * alternate stack; copying the kernel's saved state, whose layout and size the kernel may change. */
#include "sched/sched_int.h"

#include "base/asan.h"
#include "stack/modules.h"
#include "stack/unwind.h"

enum { FRAMES_MAX = 128 };

/* goroutine_entry, below which every goroutine's function lies: known from the start, so that its frame and
 * arch_entry's need not be walked each time. Const after init. */
static uintptr_t entry_lo, entry_hi;

struct walk {
    const struct g *gp;
    uintptr_t guard;
};

bool copied_init(void)
{
    uintptr_t entry = (uintptr_t)goroutine_entry;
    return unwind_function(modules_unwind(entry), entry, &entry_lo, &entry_hi);
}

static no_sanitize bool read_stack(void *arg, uintptr_t at, uintptr_t *word)
{
    const struct walk *w = arg;
    uintptr_t lo, hi;
    if (at % sizeof *word != 0 || !stack_piece(w->gp, w->guard, at, &lo, &hi) ||
        hi - at < sizeof *word)
        return false;
    *word = *(const uintptr_t *)at;
    return true;
}

static bool frames_may_move(struct walk *w, const void *uc, uintptr_t pc, const uint8_t **last)
{
    struct unwind_regs regs = {.pc = pc, .known = (1u << ARCH_DWARF_REGS) - 1, .exact = true};
    arch_ucontext_all(uc, regs.reg);
    for (int i = 0; i < FRAMES_MAX; i++) {
        uintptr_t at = regs.exact ? regs.pc : regs.pc - 1;
        if (at >= entry_lo && at < entry_hi)
            return true;
        bool ours = in_runtime(at);
        const struct unwind_table *table = modules_unwind(at);
        if (table == NULL || (!ours && modules_kind(at) != TEXT_MIGRATABLE))
            return false;
        switch (unwind_step(table, &regs, read_stack, w, i == 0 ? last : NULL)) {
        case UNWIND_FRAME:
            break;
        case UNWIND_END:
        case UNWIND_UNSURE:
            return false;
        }
    }
    return false;
}

static bool has_room(const struct g *gp, uintptr_t guard, uintptr_t sp)
{
    uintptr_t lo, hi;
    if (!stack_piece(gp, guard, sp, &lo, &hi))
        return false;
    lo += gp->seg != NULL ? ARCH_SEGMENT_GUARD : STACK_SLACK;
    return sp > lo && sp - lo >= arch_context_room();
}

bool may_copy(struct m *mp, const struct g *gp, const void *uc)
{
    uintptr_t pc, sp, fp;
    arch_ucontext_regs(uc, &pc, &sp, &fp);
    struct walk w = {.gp = gp, .guard = guard_of(mp)};
    return !LOAM_ASAN && modules_kind(pc) == TEXT_MIGRATABLE && gp->lockedm == NULL &&
           arch_context_saved(uc) && has_room(gp, w.guard, sp) &&
           frames_may_move(&w, uc, pc, &mp->unwind_last);
}
