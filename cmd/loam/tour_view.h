/* The runtime of a process, mostly a probe's own, looked at from outside: its variables and structs
 * found by name in the ELF file and the debug information, read as memory. */
#ifndef TOUR_VIEW_H
#define TOUR_VIEW_H

#include <jansson.h>

#include "tour_code.h"
#include "tour_image.h"

enum { VIEW_STATES = 16 };

struct view {
    struct image *img;
    struct code *code;
    uint64_t allg, allp, gomaxprocs, ps_made; /* addresses of the variables */
    struct field g_status, g_goid, g_alllink, g_waitreason, p_status;
    const char *g_states[VIEW_STATES], *p_states[VIEW_STATES]; /* by number; NULL: none */
};

/* Of this process. False with *why: what is not there. */
bool view_open(struct view *v, const char **why);
/* Of another one. What is looked at must not change meanwhile. */
bool view_open_process(struct view *v, int pid, const char **why);
void view_close(struct view *v);

/* The struct g of a goroutine, by its number; 0: none (yet). */
uint64_t view_g(const struct view *v, uint64_t goid);
const char *view_g_state(const struct view *v, uint64_t g);
/* Why it waits, in Go's words; of this process only. */
const char *view_waitreason(const struct view *v, uint64_t g);
/* The address of processor i. */
uint64_t view_p(const struct view *v, int i);

/* A table {automaton, state, in, out, now}: for each state how often it was entered and left since the
 * start by edges of the table, and how many Gs and Ps are in it by their memory. Takes a moment in
 * which nothing changes; *settled: there was one and in - out is what is there, everywhere. */
json_t *view_balance(const struct view *v, bool *settled);
/* A table {automaton, from, to, count, by, where} of loam_read_edges. */
json_t *view_edges(void);
/* How often one edge was taken. */
uint64_t view_edge(const char *automaton, const char *from, const char *to);

#endif
