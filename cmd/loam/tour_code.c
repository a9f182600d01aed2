/* Machine code of a running process; see tour_code.h. */
#include "tour_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"
#include "tour.h"

enum { CODE_MAX = 64 << 10, BEFORE = 3, BEHIND = 3 };

struct code {
    const struct image *img;
    csh capstone;
};

struct code *code_open(const struct image *img, const char **why)
{
    struct code *c = keep(sizeof *c);
    c->img = img;
    cs_err err = cs_open(code_arch, code_mode, &c->capstone);
    if (err != CS_ERR_OK) {
        *why = keep_format("capstone: %s", cs_strerror(err));
        return NULL;
    }
    cs_option(c->capstone, CS_OPT_DETAIL, CS_OPT_ON);
    return c;
}

void code_close(struct code *c)
{
    cs_close(&c->capstone);
}

const struct image *code_image(const struct code *c)
{
    return c->img;
}

csh code_handle(const struct code *c)
{
    return c->capstone;
}

bool code_each(struct code *c, struct extent e, void (*fn)(const cs_insn *, void *), void *arg)
{
    static uint8_t bytes[CODE_MAX];
    size_t size = e.size < sizeof bytes ? e.size : sizeof bytes;
    if (!image_peek(c->img, e.address, bytes, size))
        return false;
    const uint8_t *at = bytes;
    uint64_t address = e.address;
    cs_insn *insn = cs_malloc(c->capstone);
    while (size > 0 && cs_disasm_iter(c->capstone, &at, &size, &address, insn))
        fn(insn, arg);
    cs_free(insn, 1);
    return size == 0;
}

/* ---- Rows --------------------------------------------------------------------------------------- */

struct rows {
    struct code *code;
    json_t *rows;
    const uint64_t *marks;
    size_t nmarks;
    const char *source; /* of the row before */
};

/* "call 0x5555 <runqput>", with what an operand names. */
static const char *instruction_text(struct code *c, const cs_insn *i)
{
    const char *text =
        keep_format("%s%s%s", i->mnemonic, i->op_str[0] != '\0' ? " " : "", i->op_str);
    bool is_call;
    uint64_t offset, address = code_target(c, i, &is_call);
    if (address == 0)
        address = code_operand(c, i);
    const char *name = address != 0 ? image_name(c->img, address, &offset) : NULL;
    if (name == NULL)
        return text;
    const char *field =
        strcmp(name, "sched") == 0 ? image_field_at(c->img, "schedt", offset) : NULL;
    if (field != NULL)
        return keep_format("%s <sched.%s>", text, field);
    if (offset == 0)
        return keep_format("%s <%s>", text, name);
    return keep_format("%s <%s+0x%llx>", text, name, (unsigned long long)offset);
}

static void add_row(const cs_insn *i, void *arg)
{
    struct rows *r = arg;
    char *bytes = keep(1);
    for (size_t k = 0; k < i->size; k++)
        bytes = keep_format("%s%s%02x", bytes, k > 0 ? " " : "", i->bytes[k]);
    bool marked = false;
    for (size_t k = 0; k < r->nmarks; k++)
        marked |= r->marks[k] == i->address;
    const char *source = image_line(r->code->img, i->address);
    json_array_append_new(r->rows, make("{s:s, s:o, s:s, s:s, s:s}", "key", marked ? "*" : "",
                                        "address", hex(i->address), "bytes", bytes, "instruction",
                                        instruction_text(r->code, i), "source", source));
}

json_t *code_rows(struct code *c, uint64_t lo, uint64_t hi, const uint64_t *marks, size_t nmarks)
{
    struct rows r = {.code = c, .rows = make("[]"), .marks = marks, .nmarks = nmarks};
    code_each(c, (struct extent){lo, hi - lo}, add_row, &r);
    return r.rows;
}

struct window {
    uint64_t wanted;
    uint64_t before[BEFORE + 1]; /* the last addresses, the oldest first */
    uint64_t lo, hi;
    int behind;
};

static void slide(const cs_insn *i, void *arg)
{
    struct window *w = arg;
    if (w->lo == 0) {
        memmove(w->before, w->before + 1, sizeof w->before - sizeof w->before[0]);
        w->before[BEFORE] = i->address;
        if (i->address == w->wanted)
            for (int k = 0; k <= BEFORE && w->lo == 0; k++)
                w->lo = w->before[k];
    }
    if (w->lo != 0 && w->behind <= BEHIND) {
        w->hi = i->address + i->size;
        w->behind++;
    }
}

json_t *code_around(struct code *c, const char *function, uint64_t address)
{
    struct extent e;
    struct window w = {.wanted = address};
    uint64_t offset;
    const char *name = image_name(c->img, address, &offset);
    /* a cold part is a symbol of its own */
    if (name == NULL || !image_find(c->img, name, &e))
        if (!image_find(c->img, function, &e))
            return make("[]");
    if (address < e.address || address >= e.address + e.size)
        return make("[]");
    code_each(c, e, slide, &w);
    return code_rows(c, w.lo, w.hi, &address, 1);
}
