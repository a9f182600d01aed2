/* What x86-64 instructions do, as far as the tour asks; see tour_code.h. */
#include <string.h>

#include "tour_code.h"

const cs_arch code_arch = CS_ARCH_X86;
const cs_mode code_mode = CS_MODE_64;
const char *const code_frame_pointer = "rbp";

static bool is_field(const cs_x86_op *op, const struct code_place *place)
{
    const x86_op_mem *m = &op->mem;
    if (op->type != X86_OP_MEM || m->index != X86_REG_INVALID || op->size != place->field.size)
        return false;
    if (m->base == X86_REG_INVALID || m->base == X86_REG_RIP || m->base == X86_REG_RSP ||
        m->base == X86_REG_RBP)
        return false;
    return m->disp == (int64_t)place->field.offset ||
           (m->disp == 0 && place->alias != 0 && m->base == place->alias);
}

enum code_write code_writes(const struct code *c, const cs_insn *i, struct code_place *place,
                            int64_t *value)
{
    (void)c;
    const cs_x86 *x = &i->detail->x86;
    *value = -1;
    if (x->op_count < 2)
        return CODE_NO_WRITE;
    if (i->id == X86_INS_LEA) {
        if (x->operands[1].mem.disp == (int64_t)place->field.offset &&
            x->operands[1].mem.index == X86_REG_INVALID)
            place->alias = x->operands[0].reg;
        return CODE_NO_WRITE;
    }
    /* xchg may name the register first */
    int at = x->operands[0].type == X86_OP_MEM ? 0 : 1;
    const cs_x86_op *to = &x->operands[at], *from = &x->operands[1 - at];
    if (!is_field(to, place))
        return CODE_NO_WRITE;
    switch (i->id) {
    case X86_INS_MOV:
    case X86_INS_MOVABS:
        if (at != 0)
            return CODE_NO_WRITE;
        if (from->type == X86_OP_IMM)
            *value = from->imm;
        return CODE_STORE;
    case X86_INS_XCHG:
        return CODE_EXCHANGE;
    case X86_INS_CMPXCHG:
        return CODE_COMPARE_AND_SWAP;
    default:
        return CODE_NO_WRITE;
    }
}

uint64_t code_target(const struct code *c, const cs_insn *i, bool *is_call)
{
    const cs_x86 *x = &i->detail->x86;
    *is_call = cs_insn_group(code_handle(c), i, CS_GRP_CALL);
    if ((!*is_call && !cs_insn_group(code_handle(c), i, CS_GRP_JUMP)) || x->op_count != 1 ||
        x->operands[0].type != X86_OP_IMM)
        return 0;
    return (uint64_t)x->operands[0].imm;
}

uint64_t code_operand(const struct code *c, const cs_insn *i)
{
    (void)c;
    const cs_x86 *x = &i->detail->x86;
    for (int k = 0; k < x->op_count; k++)
        if (x->operands[k].type == X86_OP_MEM && x->operands[k].mem.base == X86_REG_RIP)
            return i->address + i->size + (uint64_t)x->operands[k].mem.disp;
    return 0;
}

bool code_reads_guard(const cs_insn *i)
{
    const cs_x86 *x = &i->detail->x86;
    for (int k = 0; k < x->op_count; k++)
        if (x->operands[k].type == X86_OP_MEM && x->operands[k].mem.segment == X86_REG_FS &&
            x->operands[k].mem.base == X86_REG_INVALID && x->operands[k].mem.disp == 0x70)
            return true;
    return false;
}

/* arch_switch pushes, exchanges the stack pointer, pops, returns: the pops behind the load of rsp name
 * the words, the last of which ret pops. */
struct pops {
    const struct code *code;
    bool switched, returned;
    const char **names;
    uint64_t *addresses;
    size_t n, max;
};

static void look(const cs_insn *i, void *arg)
{
    struct pops *p = arg;
    const cs_x86 *x = &i->detail->x86;
    if (p->returned || p->n == p->max)
        return;
    if (i->id == X86_INS_MOV && x->operands[0].type == X86_OP_REG &&
        x->operands[0].reg == X86_REG_RSP)
        p->switched = true;
    else if (p->switched && (i->id == X86_INS_POP || i->id == X86_INS_RET)) {
        p->returned = i->id == X86_INS_RET;
        p->addresses[p->n] = i->address;
        p->names[p->n++] =
            p->returned ? "rip" : cs_reg_name(code_handle(p->code), x->operands[0].reg);
    }
}

size_t code_saved_words(struct code *c, struct extent arch_switch, const char *names[],
                        uint64_t addresses[], size_t n)
{
    struct pops p = {.code = c, .names = names, .addresses = addresses, .max = n};
    if (!code_each(c, arch_switch, look, &p) || !p.returned)
        return 0;
    return p.n;
}
