/* Who calls whom in the runtime, read from its machine code: direct calls, and jumps that leave a
 * function (tail calls). Calls through pointers are not seen. See tour_code.h. */
#include <stdlib.h>
#include <string.h>

#include "tool.h"
#include "tour.h"
#include "tour_code.h"

struct edge {
    const char *from, *to; /* symbols; the same name is the same pointer only by chance */
};

struct calls {
    struct code *code;
    const struct image *img;
    struct extent function; /* being read */
    const char *name;
    struct edge *edges;
    size_t n, size;
};

static void add(struct calls *c, const char *from, const char *to)
{
    if (c->n == c->size) {
        struct edge *old = c->edges;
        c->size = c->size * 2 + 1024;
        c->edges = keep(c->size * sizeof *c->edges);
        if (c->n > 0)
            memcpy(c->edges, old, c->n * sizeof *old);
    }
    c->edges[c->n++] = (struct edge){from, to};
}

static void look(const cs_insn *i, void *arg)
{
    struct calls *c = arg;
    bool is_call;
    uint64_t offset, to = code_target(c->code, i, &is_call);
    if (to == 0 || (to >= c->function.address && to < c->function.address + c->function.size))
        return;
    const char *name = image_name(c->img, to, &offset);
    if (name != NULL && offset == 0)
        add(c, c->name, name);
}

static void look_at_function(const char *name, struct extent e, void *arg)
{
    struct calls *c = arg;
    c->function = e;
    c->name = keep_format("%s", name);
    code_each(c->code, e, look, c);
}

struct calls *calls_read(struct code *code)
{
    struct calls *c = keep(sizeof *c);
    c->code = code;
    c->img = code_image(code);
    image_each_function(c->img, look_at_function, c);
    return c;
}

/* gcc's parts of a function are the function: "gopark.cold", "retake.part.0". */
static bool same(const char *symbol, const char *name)
{
    size_t n = strlen(name);
    return strncmp(symbol, name, n) == 0 && (symbol[n] == '\0' || symbol[n] == '.');
}

json_t *calls_of(const struct calls *c, const char *name)
{
    json_t *rows = make("[]");
    for (size_t i = 0; i < c->n; i++) {
        if (!same(c->edges[i].to, name) || same(c->edges[i].from, name))
            continue;
        json_t *row = (json_t *)find_row(rows, "function", c->edges[i].from);
        if (row == NULL) {
            row = make("{s:s, s:i}", "function", c->edges[i].from, "calls", 0);
            json_array_append_new(rows, row);
        }
        json_object_set_new(row, "calls", make("I", (json_int_t)get_number(row, "calls") + 1));
    }
    return rows;
}

static void add_inlined(const char *name, void *rows)
{
    if (find_row(rows, "function", name) == NULL)
        json_array_append_new(rows, make("{s:s, s:s}", "function", name, "how", "inlined"));
}

json_t *calls_from(const struct calls *c, const char *name)
{
    json_t *rows = make("[]");
    for (size_t i = 0; i < c->n; i++)
        if (same(c->edges[i].from, name) && !same(c->edges[i].to, name) &&
            find_row(rows, "function", c->edges[i].to) == NULL)
            json_array_append_new(rows,
                                  make("{s:s, s:s}", "function", c->edges[i].to, "how", "called"));
    struct extent e;
    if (image_find(c->img, name, &e))
        image_each_callee_inlined(c->img, e.address, e.address + e.size, add_inlined, rows);
    return rows;
}

json_t *calls_path(const struct calls *c, const char *from, const char *to)
{
    /* breadth first over edges; before[i] is the edge that led to edge i */
    size_t *before = keep((c->n + 1) * sizeof *before);
    size_t *queue = keep((c->n + 1) * sizeof *queue), head = 0, tail = 0;
    bool *seen = keep(c->n + 1);
    json_t *path = make("[]");
    for (size_t i = 0; i < c->n; i++)
        if (same(c->edges[i].from, from)) {
            seen[i] = true;
            before[i] = c->n;
            queue[tail++] = i;
        }
    while (head < tail) {
        size_t at = queue[head++];
        if (same(c->edges[at].to, to)) {
            json_array_append_new(path, make("s", to));
            for (; at != c->n; at = before[at])
                json_array_insert_new(path, 0, make("s", c->edges[at].from));
            return path;
        }
        for (size_t i = 0; i < c->n; i++)
            if (!seen[i] && strcmp(c->edges[i].from, c->edges[at].to) == 0) {
                seen[i] = true;
                before[i] = at;
                queue[tail++] = i;
            }
    }
    return path;
}
