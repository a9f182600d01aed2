/* DWARF's call frame information, as far as compilers for C need it: unwind.h.
 *
 * The header's table of functions is searched by halves for the entry (FDE) of the pc; its instructions, after
 * those of what it refers to (CIE), are executed up to the pc. They give rules: how to compute the CFA, which
 * is the caller's stack pointer, and where each register of the caller's was saved. Of the encodings only
 * those that linkers write; of expressions a register, an offset and a load, by which compilers describe
 * functions that align their frame. All else is UNSURE.
 *
 * Rejected: the unwinder of libgcc, which takes locks and memory when it is first used. */
#include "stack/unwind.h"

#include <string.h>

enum {
    EH_PCREL_SDATA4 = 0x1b,
    EH_UDATA4 = 0x03,
    EH_DATAREL_SDATA4 = 0x3b,
    HEADER = 12, /* version, three encodings, the section's place, the number of entries */
    REMEMBERED = 4,
    EXPRESSION_STEPS = 8,
};

/* ---- Reading a table -------------------------------------------------------------------------------- */

/* Reading beyond the end gives zeros and `bad`. */
struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static void take(struct reader *r, void *out, size_t n)
{
    memset(out, 0, 8);
    if ((size_t)(r->end - r->p) < n) {
        r->bad = true;
        r->p = r->end;
        return;
    }
    memcpy(out, r->p, n); /* little-endian, as all machines that have an arch/ folder */
    r->p += n;
}

static uint64_t take_unsigned(struct reader *r, size_t n)
{
    uint64_t v;
    take(r, &v, n);
    return v;
}

static int64_t take_int32(struct reader *r)
{
    return (int32_t)take_unsigned(r, 4);
}

static uint64_t take_uleb(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint64_t byte = take_unsigned(r, 1);
        if (shift < 64)
            v |= (byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return v;
    }
}

static int64_t take_sleb(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0;;) {
        uint64_t byte = take_unsigned(r, 1);
        if (shift < 64)
            v |= (byte & 0x7f) << shift;
        shift += 7;
        if ((byte & 0x80) == 0)
            return (int64_t)((byte & 0x40) != 0 && shift < 64 ? v | ~UINT64_C(0) << shift : v);
    }
}

static void skip(struct reader *r, uint64_t n)
{
    if (n > (uint64_t)(r->end - r->p)) {
        r->bad = true;
        n = (uint64_t)(r->end - r->p);
    }
    r->p += n;
}

/* A reader of [p, p + n), or of nothing if that is not in the table's segment. */
static struct reader reader_at(const struct unwind_table *t, const uint8_t *p, uint64_t n)
{
    uintptr_t at = (uintptr_t)p;
    if (at < t->lo || at > t->hi || n > t->hi - at)
        return (struct reader){.p = t->header, .end = t->header, .bad = true};
    return (struct reader){.p = p, .end = p + n};
}

/* ---- An entry --------------------------------------------------------------------------------------- */

struct entry {
    uintptr_t begin, size; /* of the function */
    uint64_t code_align;
    int64_t data_align;
    uint64_t return_column;
    bool signal_frame, augmented;
    struct reader common, own; /* instructions */
};

/* The one whose function begins last at or below pc; NULL: none. */
static const uint8_t *find_entry(const struct unwind_table *t, uintptr_t pc)
{
    struct reader r = reader_at(t, t->header, HEADER);
    uint64_t version = take_unsigned(&r, 1), section = take_unsigned(&r, 1);
    uint64_t count_encoding = take_unsigned(&r, 1), table = take_unsigned(&r, 1);
    (void)take_int32(&r);
    uint64_t n = take_unsigned(&r, 4);
    if (r.bad || version != 1 || section != EH_PCREL_SDATA4 || count_encoding != EH_UDATA4 ||
        table != EH_DATAREL_SDATA4)
        return NULL;
    const uint8_t *rows = t->header + HEADER;
    if (reader_at(t, rows, 8 * n).bad)
        return NULL;
    uint64_t lo = 0, hi = n; /* rows below lo are at or below pc, those from hi above */
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        int32_t begin;
        memcpy(&begin, rows + 8 * mid, sizeof begin);
        if ((uintptr_t)t->header + (uintptr_t)(intptr_t)begin <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return NULL;
    int32_t entry;
    memcpy(&entry, rows + 8 * (lo - 1) + 4, sizeof entry);
    return t->header + entry;
}

/* The body of a record, behind its length. */
static struct reader record(const struct unwind_table *t, const uint8_t *at)
{
    struct reader r = reader_at(t, at, 4);
    uint64_t length = take_unsigned(&r, 4);
    if (r.bad || length == 0 || length >= 0xfffffff0)
        return reader_at(t, NULL, 1);
    return reader_at(t, at + 4, length);
}

static bool read_common(const struct unwind_table *t, const uint8_t *at, struct entry *e)
{
    struct reader r = record(t, at);
    if (take_unsigned(&r, 4) != 0)
        return false;
    uint64_t version = take_unsigned(&r, 1);
    const char *augmentation = (const char *)r.p;
    while (!r.bad && take_unsigned(&r, 1) != 0)
        ;
    if (r.bad || (version != 1 && version != 3))
        return false;
    e->code_align = take_uleb(&r);
    e->data_align = take_sleb(&r);
    e->return_column = version == 1 ? take_unsigned(&r, 1) : take_uleb(&r);
    if (augmentation[0] != 'z')
        return false;
    e->augmented = true;
    uint64_t size = take_uleb(&r);
    struct reader a = r;
    skip(&r, size);
    bool encoded = false;
    for (const char *c = augmentation + 1; *c != '\0'; c++) {
        switch (*c) {
        case 'R':
            encoded = take_unsigned(&a, 1) == EH_PCREL_SDATA4;
            break;
        case 'L':
            (void)take_unsigned(&a, 1);
            break;
        case 'P': /* the personality, a pointer of which only the size matters here */
            if ((take_unsigned(&a, 1) & 0x0f) != 0x0b)
                return false;
            (void)take_int32(&a);
            break;
        case 'S':
            e->signal_frame = true;
            break;
        default:
            return false;
        }
    }
    e->common = r;
    return encoded && !r.bad && !a.bad && e->return_column < ARCH_DWARF_REGS;
}

static bool read_at(const struct unwind_table *t, const uint8_t *at, uintptr_t pc, struct entry *e)
{
    *e = (struct entry){0};
    struct reader r = at != NULL ? record(t, at) : reader_at(t, NULL, 1);
    const uint8_t *from = r.p;
    uint64_t back = take_unsigned(&r, 4);
    if (r.bad || back == 0 || back > (uintptr_t)from - t->lo || !read_common(t, from - back, e))
        return false;
    from = r.p;
    e->begin = (uintptr_t)from + (uintptr_t)take_int32(&r);
    e->size = take_unsigned(&r, 4);
    skip(&r, take_uleb(&r));
    e->own = r;
    return !r.bad && pc >= e->begin && pc - e->begin < e->size;
}

/* last: where it was found the last time, NULL: not kept. Mostly it is the same loop that is cut again, and the
 * search would touch a dozen cold cache lines. */
static bool read_entry(const struct unwind_table *t, uintptr_t pc, const uint8_t **last,
                       struct entry *e)
{
    if (last != NULL && *last != NULL && read_at(t, *last, pc, e))
        return true;
    const uint8_t *at = find_entry(t, pc);
    if (last != NULL)
        *last = at;
    return read_at(t, at, pc, e);
}

/* ---- Its instructions --------------------------------------------------------------------------------- */

enum rule { SAME, OFFSET, EXPRESSION, UNDEFINED, UNKNOWN };

struct rules {
    bool cfa_expression;
    uint64_t cfa_reg;
    int64_t cfa_offset;
    struct reader cfa_code;
    uint8_t rule[ARCH_DWARF_REGS];   /* enum rule */
    int64_t offset[ARCH_DWARF_REGS]; /* of EXPRESSION: the address of its block */
};

struct machine {
    struct rules now, first;
    unsigned depth;
    struct rules remembered[REMEMBERED]; /* below depth */
};

static void set_rule(struct rules *s, uint64_t reg, enum rule rule, int64_t offset)
{
    if (reg < ARCH_DWARF_REGS) { /* others, vectors, are nobody's to restore */
        s->rule[reg] = (uint8_t)rule;
        s->offset[reg] = offset;
    }
}

static struct reader take_block(struct reader *r)
{
    uint64_t n = take_uleb(r);
    struct reader block = *r;
    skip(r, n);
    block.end = r->p;
    return block;
}

/* The instructions that are in the low six bits; false: one that is not known here. */
static bool other_instruction(struct machine *m, const struct entry *e, struct reader *r,
                              uint64_t op, uintptr_t *at)
{
    struct rules *s = &m->now;
    uint64_t reg;
    switch (op) {
    case 0x00: /* nop */
        return true;
    case 0x02: /* advance_loc1, 2, 4 */
    case 0x03:
    case 0x04:
        *at += take_unsigned(r, (size_t)1 << (op - 2)) * e->code_align;
        return true;
    case 0x05: /* offset_extended */
        reg = take_uleb(r);
        set_rule(s, reg, OFFSET, (int64_t)take_uleb(r) * e->data_align);
        return true;
    case 0x11: /* offset_extended_sf */
        reg = take_uleb(r);
        set_rule(s, reg, OFFSET, take_sleb(r) * e->data_align);
        return true;
    case 0x06: /* restore_extended */
        reg = take_uleb(r);
        if (reg < ARCH_DWARF_REGS)
            set_rule(s, reg, (enum rule)m->first.rule[reg], m->first.offset[reg]);
        return true;
    case 0x07: /* undefined */
        set_rule(s, take_uleb(r), UNDEFINED, 0);
        return true;
    case 0x08: /* same_value */
        set_rule(s, take_uleb(r), SAME, 0);
        return true;
    case 0x09: /* register */
        set_rule(s, take_uleb(r), UNKNOWN, 0);
        (void)take_uleb(r);
        return true;
    case 0x0a: /* remember_state, restore_state */
        if (m->depth == REMEMBERED)
            return false;
        m->remembered[m->depth++] = *s;
        return true;
    case 0x0b:
        if (m->depth == 0)
            return false;
        *s = m->remembered[--m->depth];
        return true;
    case 0x0c: /* def_cfa */
    case 0x12: /* def_cfa_sf */
        s->cfa_expression = false;
        s->cfa_reg = take_uleb(r);
        s->cfa_offset = op == 0x0c ? (int64_t)take_uleb(r) : take_sleb(r) * e->data_align;
        return true;
    case 0x0d: /* def_cfa_register */
        s->cfa_reg = take_uleb(r);
        return !s->cfa_expression;
    case 0x0e: /* def_cfa_offset */
    case 0x13: /* def_cfa_offset_sf */
        s->cfa_offset = op == 0x0e ? (int64_t)take_uleb(r) : take_sleb(r) * e->data_align;
        return !s->cfa_expression;
    case 0x0f: /* def_cfa_expression */
        s->cfa_expression = true;
        s->cfa_code = take_block(r);
        return true;
    case 0x10: /* expression */
        reg = take_uleb(r);
        set_rule(s, reg, EXPRESSION, (int64_t)(intptr_t)r->p);
        (void)take_block(r);
        return true;
    case 0x16: /* val_expression */
        set_rule(s, take_uleb(r), UNKNOWN, 0);
        (void)take_block(r);
        return true;
    case 0x2e: /* GNU_args_size */
        (void)take_uleb(r);
        return true;
    default:
        return false;
    }
}

/* Up to pc; `at` is where the rules hold from. False: unsure. */
static bool execute(struct machine *m, const struct entry *e, struct reader r, uintptr_t at,
                    uintptr_t pc)
{
    while (r.p < r.end && at <= pc && !r.bad) {
        uint64_t op = take_unsigned(&r, 1), low = op & 0x3f;
        uintptr_t before = at;
        switch (op >> 6) {
        case 1: /* advance_loc */
            at += low * e->code_align;
            break;
        case 2: /* offset */
            set_rule(&m->now, low, OFFSET, (int64_t)take_uleb(&r) * e->data_align);
            break;
        case 3: /* restore */
            if (low < ARCH_DWARF_REGS)
                set_rule(&m->now, low, (enum rule)m->first.rule[low], m->first.offset[low]);
            break;
        default:
            if (!other_instruction(m, e, &r, op, &at))
                return false;
        }
        if (at < before)
            return false;
    }
    return !r.bad;
}

/* ---- The step ------------------------------------------------------------------------------------------ */

static bool value_of(const struct unwind_regs *regs, uint64_t reg, uintptr_t *value)
{
    if (reg >= ARCH_DWARF_REGS || (regs->known >> reg & 1) == 0)
        return false;
    *value = regs->reg[reg];
    return true;
}

/* A register and an offset (breg), then offsets (plus_uconst) and loads (deref). */
static bool evaluate(struct reader r, const struct unwind_regs *regs, unwind_read *read, void *arg,
                     uintptr_t *value)
{
    enum { BREG0 = 0x70, DEREF = 0x06, PLUS_UCONST = 0x23 };
    uint64_t op = take_unsigned(&r, 1);
    if (op < BREG0 || !value_of(regs, op - BREG0, value))
        return false;
    *value += (uintptr_t)take_sleb(&r);
    for (int i = 0; r.p < r.end && i < EXPRESSION_STEPS; i++) {
        op = take_unsigned(&r, 1);
        if (op == PLUS_UCONST)
            *value += take_uleb(&r);
        else if (op != DEREF || !read(arg, *value, value))
            return false;
    }
    return !r.bad && r.p == r.end;
}

bool unwind_function(const struct unwind_table *t, uintptr_t pc, uintptr_t *lo, uintptr_t *hi)
{
    struct entry e;
    if (t == NULL || !read_entry(t, pc, NULL, &e))
        return false;
    *lo = e.begin;
    *hi = e.begin + e.size;
    return true;
}

enum unwind_result unwind_step(const struct unwind_table *t, struct unwind_regs *regs,
                               unwind_read *read, void *arg, const uint8_t **last)
{
    struct entry e;
    struct machine m; /* not cleared as a whole: it is large, and the caches are cold */
    m.now = (struct rules){0};
    m.depth = 0;
    uintptr_t pc = regs->exact ? regs->pc : regs->pc - 1; /* a call may be a function's last */
    if (!read_entry(t, pc, last, &e))
        return UNWIND_UNSURE;
    m.first = m.now;
    if (!execute(&m, &e, e.common, 0, 0))
        return UNWIND_UNSURE;
    m.first = m.now;
    if (!execute(&m, &e, e.own, e.begin, pc))
        return UNWIND_UNSURE;
    const struct rules *s = &m.now;
    if (s->rule[e.return_column] == UNDEFINED)
        return UNWIND_END;

    struct unwind_regs up = {.exact = e.signal_frame};
    uintptr_t cfa;
    if (s->cfa_expression) {
        if (!evaluate(s->cfa_code, regs, read, arg, &cfa))
            return UNWIND_UNSURE;
    } else {
        if (!value_of(regs, s->cfa_reg, &cfa))
            return UNWIND_UNSURE;
        cfa += (uintptr_t)s->cfa_offset;
    }
    for (uint32_t i = 0; i < ARCH_DWARF_REGS; i++) {
        uintptr_t at = cfa + (uintptr_t)s->offset[i];
        bool known = false;
        if (s->rule[i] == OFFSET) {
            known = read(arg, at, &up.reg[i]);
        } else if (s->rule[i] == EXPRESSION) {
            struct reader r = {.p = (const uint8_t *)(intptr_t)s->offset[i],
                               .end = (const uint8_t *)t->hi};
            known = evaluate(take_block(&r), regs, read, arg, &at) && read(arg, at, &up.reg[i]);
        }
        if (s->rule[i] == SAME && (ARCH_DWARF_KEPT >> i & 1) != 0)
            known = value_of(regs, i, &up.reg[i]);
        up.known |= (uint32_t)known << i;
    }
    up.reg[ARCH_DWARF_SP] = cfa;
    up.known |= 1u << ARCH_DWARF_SP;
    if (!value_of(&up, e.return_column, &up.pc))
        return UNWIND_UNSURE;
    *regs = up;
    return UNWIND_FRAME;
}
