/* A running process as its ELF file and debug information describe it: symbols (local ones too),
 * structs, lines, inlined calls; and its memory. By elfutils. */
#ifndef TOUR_IMAGE_H
#define TOUR_IMAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct image;

/* The executable of a process; NULL with *why. */
struct image *image_open(pid_t pid, const char **why);
void image_close(struct image *img);

/* Reads the process's memory; false: not mapped, or not allowed. */
bool image_peek(const struct image *img, uint64_t address, void *buf, size_t size);
/* A little-endian integer of 1 to 8 bytes; 0 if it cannot be read. */
uint64_t image_peek_int(const struct image *img, uint64_t address, size_t size);

/* A function or variable of the runtime (or of the program) by name. */
struct extent {
    uint64_t address, size;
};
bool image_find(const struct image *img, const char *name, struct extent *e);

/* The name of the symbol that an address lies in, and the offset; NULL: none. */
const char *image_name(const struct image *img, uint64_t address, uint64_t *offset);

/* Where a field lies in a struct, also one in a struct in it: image_field(img, "g", "stack.lo", ..). */
struct field {
    uint64_t offset, size;
};
bool image_field(const struct image *img, const char *type, const char *path, struct field *f);
/* The field of a struct that holds this offset; NULL: none. */
const char *image_field_at(const struct image *img, const char *type, uint64_t offset);
/* The enumerator with this value, or NULL. */
const char *image_enumerator(const struct image *img, const char *type, uint64_t value);

/* "park.c:160" for an address; "" if not known. Valid until the next call. */
const char *image_line(const struct image *img, uint64_t address);
/* Is the instruction of a function that was inlined here, at whatever depth? */
bool image_inlined(const struct image *img, uint64_t address, const char *function);
/* Calls fn for every range of code that a function was inlined to, in the runtime's files. */
void image_each_inlined(const struct image *img, const char *function,
                        void (*fn)(uint64_t lo, uint64_t hi, void *arg), void *arg);
/* Calls fn for every function whose code was inlined into [lo, hi). */
void image_each_callee_inlined(const struct image *img, uint64_t lo, uint64_t hi,
                               void (*fn)(const char *name, void *arg), void *arg);
/* Calls fn for every function of the runtime: those whose lines are in runtime/. */
void image_each_function(const struct image *img,
                         void (*fn)(const char *name, struct extent e, void *arg), void *arg);

/* ---- One struct in memory ---------------------------------------------------------------------- */

/* The value of a field of the struct at `address`; sets *ok false if there is no such field or
 * memory. */
uint64_t image_value(const struct image *img, const char *type, uint64_t address, const char *path,
                     bool *ok);

/* A row {what, address, offset, bytes, meaning} for a table of memory. */
json_t *image_row(const struct image *img, const char *type, uint64_t address, const char *path,
                  const char *meaning);
/* A row for a word that is no field. */
json_t *image_word_row(const struct image *img, const char *what, uint64_t address, size_t size,
                       const char *meaning);

#endif
