/* Machine code of a running process, read from its memory: disassembled by capstone, with the lines
 * it was compiled from. */
#ifndef TOUR_CODE_H
#define TOUR_CODE_H

#include <capstone/capstone.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tour_image.h"

struct code;

struct code *code_open(const struct image *img, const char **why);
void code_close(struct code *c);
const struct image *code_image(const struct code *c);

/* Calls fn for each instruction of the extent; stops at bytes that are none (data), returns false. */
bool code_each(struct code *c, struct extent e, void (*fn)(const cs_insn *i, void *arg), void *arg);

/* A table {address, bytes, instruction, source, key} of the instructions in [lo, hi); key is "*" at
 * the addresses in marks. Targets and operands that are symbols are named. */
json_t *code_rows(struct code *c, uint64_t lo, uint64_t hi, const uint64_t *marks, size_t nmarks);

/* The same around one instruction of a function: a few before and behind it. */
json_t *code_around(struct code *c, const char *function, uint64_t address);

/* ---- What instructions do: the CPU's own (tour_amd64.c) ------------------------------------------ */

extern const cs_arch code_arch;
extern const cs_mode code_mode;

/* A field that a register points to the struct of; `alias` is kept between instructions: the
 * register that holds the field's own address. Begin with 0. */
struct code_place {
    struct field field;
    unsigned alias;
};
/* How an instruction writes the field. */
enum code_write { CODE_NO_WRITE, CODE_STORE, CODE_EXCHANGE, CODE_COMPARE_AND_SWAP };
/* For one instruction after the other; value: what it stores, if it says, else -1. */
enum code_write code_writes(const struct code *c, const cs_insn *i, struct code_place *place,
                            int64_t *value);
/* Where a call or a jump goes; 0: none, or not known from the instruction. */
uint64_t code_target(const struct code *c, const cs_insn *i, bool *is_call);
/* The address that an operand of the instruction names; 0: none. */
uint64_t code_operand(const struct code *c, const cs_insn *i);
/* Does it read the word of the thread that says where its stack ends (arch/segment.h)? */
bool code_reads_guard(const cs_insn *i);
/* What the switch loads from the stack that it goes to: the names of the registers, in the order of
 * the words from the saved stack pointer on, the last one being where it goes on; and the
 * instructions that do it. Returns how many words; 0: not understood. */
size_t code_saved_words(struct code *c, struct extent arch_switch, const char *names[],
                        uint64_t addresses[], size_t n);

/* The name of the register that chains frames: at the address in it lie the caller's value of it and
 * the return address. */
extern const char *const code_frame_pointer;

/* ---- Who calls whom ------------------------------------------------------------------------------ */

/* All direct calls (and jumps to other functions) in the runtime's code. */
struct calls;
struct calls *calls_read(struct code *c);
/* Functions that call `name`: a table {function, calls}. */
json_t *calls_of(const struct calls *calls, const char *name);
/* Functions that `name` calls or that were inlined into it: a table {function, how}. */
json_t *calls_from(const struct calls *calls, const char *name);
/* The shortest chain of calls, as an array of names; empty: none. */
json_t *calls_path(const struct calls *calls, const char *from, const char *to);

/* For the CPU's file. */
csh code_handle(const struct code *c);

#endif
