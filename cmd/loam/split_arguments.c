/* How many bytes of arguments a function's calls may have on the stack, read off its instructions, so that a
 * bridge copies what may be arguments only (split_object.c), and no call has more than bridges copy.
 *
 * gcc builds arguments on the stack in two ways: by pushes, where it optimises for size, or
 * (-maccumulate-outgoing-args, split_flags) in the lowest part of a frame that is made once, by stores relative
 * to the stack pointer; locals are relative to the frame pointer. So a function compiled so that never names
 * anything by the stack pointer, and pushes nothing but the registers that it keeps for its caller, passes
 * nothing on the stack. Where it names something, that is the most that there is, unless it makes a copy of the stack
 * pointer, or indexes by it, or pushes: then it is the whole frame, but what alloca took, which lies above.
 * A register that is kept is pushed before anything is done with it. In objects compiled by others every push
 * counts.
 *
 * A frame of over-aligned locals is addressed by the stack pointer: that is taken for arguments, which costs
 * time only.
 *
 * Rejected: call site by call site, which wants to follow the jumps; the compiler's own figure, which it
 * prints in its dumps of RTL only. */
#include "split.h"

#include <capstone/capstone.h>
#include <stdlib.h>

static bool is_stack(unsigned reg)
{
    return reg == X86_REG_RSP || reg == X86_REG_ESP || reg == X86_REG_SP;
}

static bool is_register(const cs_x86_op *op, unsigned reg)
{
    return op->type == X86_OP_REG && op->reg == reg;
}

/* A register that functions keep for their callers, in any of its sizes: one of 6; -1: another. */
static int kept_register(unsigned reg)
{
    static const unsigned kept[][5] = {
        {X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL, X86_REG_BH},
        {X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL, X86_REG_RBP},
        {X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B, X86_REG_R12},
        {X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B, X86_REG_R13},
        {X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B, X86_REG_R14},
        {X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B, X86_REG_R15},
    };
    for (size_t r = 0; r < nelem(kept); r++)
        for (size_t k = 0; k < nelem(kept[r]); k++)
            if (kept[r][k] == reg)
                return (int)r;
    return -1;
}

static void mention(struct split_frame *f, unsigned reg)
{
    int r = kept_register(reg);
    if (r >= 0)
        f->mentioned |= 1u << r;
}

/* Instructions that move the stack pointer, and the one that begins a frame. */
static bool moves_stack(struct split_frame *f, const cs_insn *i)
{
    const cs_x86 *x = &i->detail->x86;
    const cs_x86_op *to = &x->operands[0], *from = &x->operands[1];
    if (x->op_count != 2)
        return false;
    if (i->id == X86_INS_MOV && is_register(to, X86_REG_RBP) && is_register(from, X86_REG_RSP)) {
        f->begun = true;
        return true;
    }
    if (!is_register(to, X86_REG_RSP) || (from->type == X86_OP_REG && is_stack(from->reg)))
        return false;
    switch (i->id) {
    case X86_INS_SUB:
        if (from->type == X86_OP_IMM && from->imm > 0)
            f->bytes += (uint64_t)from->imm;
        return true;
    case X86_INS_ADD:
        if (from->type == X86_OP_IMM && from->imm < 0)
            f->bytes += (uint64_t)-from->imm;
        return true;
    case X86_INS_LEA:
        if (from->mem.base == X86_REG_RSP && from->mem.disp < 0)
            f->bytes += (uint64_t)-from->mem.disp;
        return true;
    case X86_INS_MOV:
    case X86_INS_AND:
    case X86_INS_CMP:
        return true;
    default:
        return false;
    }
}

void split_frame_look(struct split_frame *f, const cs_insn *i)
{
    const cs_x86 *x = &i->detail->x86;
    f->calls += i->id == X86_INS_CALL;
    if (i->id == X86_INS_PUSH) {
        const cs_x86_op *op = &x->operands[0];
        int r = op->type == X86_OP_REG ? kept_register(op->reg) : -1;
        f->bytes += 8;
        f->pushes++;
        f->passes |= r < 0 || (f->mentioned & (1u << r)) != 0;
    }
    for (int k = 0; k < x->op_count; k++) {
        mention(f, x->operands[k].type == X86_OP_REG ? x->operands[k].reg : X86_REG_INVALID);
        mention(f, x->operands[k].type == X86_OP_MEM ? x->operands[k].mem.base : X86_REG_INVALID);
        mention(f, x->operands[k].type == X86_OP_MEM ? x->operands[k].mem.index : X86_REG_INVALID);
    }
    if (moves_stack(f, i))
        return;
    for (int k = 0; k < x->op_count; k++) {
        const cs_x86_op *op = &x->operands[k];
        if (op->type == X86_OP_REG && is_stack(op->reg))
            f->copied = true;
        if (op->type != X86_OP_MEM)
            continue;
        bool address = i->id == X86_INS_LEA;
        if (is_stack(op->mem.index) ||
            (is_stack(op->mem.base) &&
             (op->mem.index != X86_REG_INVALID || (address && op->mem.disp >= 0))))
            f->copied = true;
        if (is_stack(op->mem.base) && op->mem.disp >= 0) {
            uint64_t end = (uint64_t)op->mem.disp + op->size;
            f->named = true;
            f->reach = end > f->reach ? end : f->reach;
        }
    }
}

uint64_t split_frame_arguments(const struct split_frame *f, bool ours)
{
    bool whole = f->copied || f->passes || (!ours && (f->named || f->pushes > 1));
    return whole && f->bytes > f->reach ? f->bytes : f->reach;
}

static int by_place(const void *a, const void *b)
{
    const struct bare_code *x = a, *y = b;
    if (x->section != y->section)
        return x->section < y->section ? -1 : 1;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void split_bare_sort(struct object *o)
{
    if (o->bare_count > 0)
        qsort(o->bare, o->bare_count, sizeof *o->bare, by_place);
}

static int compare_place(const void *key, const void *member)
{
    const struct bare_code *k = key, *m = member;
    if (k->section != m->section)
        return k->section < m->section ? -1 : 1;
    return k->lo < m->lo ? -1 : k->lo >= m->hi;
}

bool split_is_bare(const struct object *o, unsigned section, uint64_t at)
{
    struct bare_code key = {.section = section, .lo = at};
    return o->bare_count > 0 &&
           bsearch(&key, o->bare, o->bare_count, sizeof *o->bare, compare_place) != NULL;
}
