/* The steps of the tour, in their order, and the probes that they run. A new step is a file with a
 * struct step, and a line here. */
#include "tour.h"

const struct step *const tour_steps[] = {
    &step_automaton, &step_park, &step_schedtrace, &step_preempt, &step_newproc, &step_growth, NULL,
};

const struct probe tour_probes[] = {
    {"automaton", probe_automaton}, {"illegal", probe_illegal},
    {"park", probe_park},           {"detail", probe_detail},
    {"preempt", probe_preempt},     {"newproc", probe_newproc},
    {"reenter", probe_reenter},     {NULL, NULL},
};
