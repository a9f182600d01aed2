/* A program that waits in every way that there is, and takes every edge of both automata. */
#ifndef TOUR_WAITS_H
#define TOUR_WAITS_H

#include "tour_view.h"

/* On the main goroutine: a goroutine waits in each way and is woken. Adds a row {call, reason,
 * expected, goid, state} for each to `rows`; *parked is the struct g of one that waits for ever. */
bool waits_run(const struct view *v, json_t *rows, uint64_t *parked, const char **why);

/* On the main goroutine: repeats what takes an edge until all were taken, or 20 s have passed. */
void waits_take_edges(void);

#endif
