/* The runtime inside a probe's own process, looked at as memory; see tour_view.h. */
#include "tour_view.h"

#include <loam.h>

#include <string.h>
#include <unistd.h>

#include "tool.h"
#include "tour.h"

enum { EDGES_MAX = 128, BALANCE_TRIES = 5000, BALANCE_PAUSE_NS = 200000 };

/* ---- Opening ------------------------------------------------------------------------------------ */

static bool find(const struct view *v, const char *name, uint64_t *address, const char **why)
{
    struct extent e;
    if (!image_find(v->img, name, &e)) {
        *why = keep_format("the symbol table has no '%s'", name);
        return false;
    }
    *address = e.address;
    return true;
}

static bool field(const struct view *v, const char *type, const char *path, struct field *f,
                  const char **why)
{
    if (image_field(v->img, type, path, f))
        return true;
    *why = keep_format("the debug information has no struct %s with %s", type, path);
    return false;
}

/* "G_waiting" is the state "waiting". */
static void read_states(const struct view *v, const char *type, const char *names[])
{
    for (uint64_t i = 0; i < VIEW_STATES; i++) {
        const char *name = image_enumerator(v->img, type, i);
        names[i] = name != NULL && strlen(name) > 2 ? name + 2 : NULL;
    }
}

bool view_open(struct view *v, const char **why)
{
    return view_open_process(v, getpid(), why);
}

bool view_open_process(struct view *v, int pid, const char **why)
{
    *v = (struct view){0};
    v->img = image_open(pid, why);
    if (v->img == NULL)
        return false;
    v->code = code_open(v->img, why);
    if (v->code == NULL)
        return false;
    read_states(v, "gstatus", v->g_states);
    read_states(v, "pstatus", v->p_states);
    return find(v, "allg", &v->allg, why) && find(v, "allp", &v->allp, why) &&
           find(v, "gomaxprocs", &v->gomaxprocs, why) && find(v, "ps_made", &v->ps_made, why) &&
           field(v, "g", "status", &v->g_status, why) && field(v, "g", "goid", &v->g_goid, why) &&
           field(v, "g", "alllink", &v->g_alllink, why) &&
           field(v, "g", "waitreason", &v->g_waitreason, why) &&
           field(v, "p", "status", &v->p_status, why);
}

void view_close(struct view *v)
{
    code_close(v->code);
    image_close(v->img);
}

/* ---- Gs and Ps ----------------------------------------------------------------------------------- */

static uint64_t read_field(const struct view *v, uint64_t address, struct field f)
{
    return image_peek_int(v->img, address + f.offset, f.size);
}

static uint64_t first_g(const struct view *v)
{
    return image_peek_int(v->img, v->allg, sizeof(void *));
}

uint64_t view_g(const struct view *v, uint64_t goid)
{
    for (uint64_t g = first_g(v); g != 0; g = read_field(v, g, v->g_alllink))
        if (read_field(v, g, v->g_goid) == goid && strcmp(view_g_state(v, g), "dead") != 0)
            return g;
    return 0;
}

static const char *state_name(const char *const names[], uint64_t number)
{
    return number < VIEW_STATES && names[number] != NULL
               ? names[number]
               : keep_format("%llu", (unsigned long long)number);
}

const char *view_g_state(const struct view *v, uint64_t g)
{
    return state_name(v->g_states, read_field(v, g, v->g_status));
}

const char *view_waitreason(const struct view *v, uint64_t g)
{
    /* the runtime's own table of words, called by its address: it is no public function */
    struct extent e;
    if (!image_find(v->img, "waitreason_text", &e))
        return "";
    const char *(*text)(unsigned) = (const char *(*)(unsigned))(uintptr_t)e.address;
    return text((unsigned)read_field(v, g, v->g_waitreason));
}

uint64_t view_p(const struct view *v, int i)
{
    return image_peek_int(v->img, v->allp + (uint64_t)i * sizeof(void *), sizeof(void *));
}

/* ---- Edges --------------------------------------------------------------------------------------- */

uint64_t view_edge(const char *automaton, const char *from, const char *to)
{
    struct loam_edge edges[EDGES_MAX];
    size_t n = loam_read_edges(edges, EDGES_MAX);
    for (size_t i = 0; i < n && i < EDGES_MAX; i++)
        if (strcmp(edges[i].automaton, automaton) == 0 && strcmp(edges[i].from, from) == 0 &&
            strcmp(edges[i].to, to) == 0)
            return edges[i].count;
    return 0;
}

json_t *view_edges(void)
{
    struct loam_edge edges[EDGES_MAX];
    size_t n = loam_read_edges(edges, EDGES_MAX);
    json_t *rows = make("[]");
    for (size_t i = 0; i < n && i < EDGES_MAX; i++)
        json_array_append_new(rows, make("{s:s, s:s, s:s, s:I, s:s, s:s}", "automaton",
                                         edges[i].automaton, "from", edges[i].from, "to",
                                         edges[i].to, "count", (json_int_t)edges[i].count, "by",
                                         edges[i].by, "where", edges[i].where));
    return rows;
}

/* ---- Balance -------------------------------------------------------------------------------------- */

static void count_gs(const struct view *v, uint64_t now[])
{
    for (uint64_t g = first_g(v); g != 0; g = read_field(v, g, v->g_alllink))
        now[read_field(v, g, v->g_status) % VIEW_STATES]++;
}

/* Returns how many there are: all are born stopped, by no edge. */
static uint64_t count_ps(const struct view *v, uint64_t now[])
{
    uint64_t made = image_peek_int(v->img, v->ps_made, sizeof(int));
    for (uint64_t i = 0; i < made; i++) {
        uint64_t p = view_p(v, (int)i);
        now[read_field(v, p, v->p_status) % VIEW_STATES]++;
    }
    return made;
}

static json_t *balance_of(const char *automaton, const char *const names[], const uint64_t now[],
                          const struct loam_edge *edges, size_t n, const char *born, uint64_t made,
                          bool *fits)
{
    json_t *rows = make("[]");
    for (size_t s = 0; s < VIEW_STATES; s++) {
        uint64_t in = 0, out = 0;
        if (names[s] == NULL) {
            *fits = *fits && now[s] == 0; /* nobody is in a state that the automaton has not */
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            if (strcmp(edges[i].automaton, automaton) != 0)
                continue;
            in += strcmp(edges[i].to, names[s]) == 0 ? edges[i].count : 0;
            out += strcmp(edges[i].from, names[s]) == 0 ? edges[i].count : 0;
        }
        uint64_t first = strcmp(names[s], born) == 0 ? made : 0;
        *fits = *fits && first + in - out == now[s];
        json_array_append_new(rows, make("{s:s, s:s, s:I, s:I, s:I, s:I}", "automaton", automaton,
                                         "state", names[s], "born", (json_int_t)first, "in",
                                         (json_int_t)in, "out", (json_int_t)out, "now",
                                         (json_int_t)now[s]));
    }
    return rows;
}

json_t *view_balance(const struct view *v, bool *settled)
{
    struct loam_edge before[EDGES_MAX], after[EDGES_MAX];
    json_t *rows = NULL;
    *settled = false;
    for (int i = 0; i < BALANCE_TRIES && !*settled; i++) {
        uint64_t gs[VIEW_STATES] = {0}, ps[VIEW_STATES] = {0};
        loam_sleep(BALANCE_PAUSE_NS); /* other threads come to rest */
        size_t n = loam_read_edges(before, EDGES_MAX);
        count_gs(v, gs);
        uint64_t made = count_ps(v, ps);
        (void)loam_read_edges(after, EDGES_MAX);
        if (n > EDGES_MAX)
            n = EDGES_MAX;
        bool same = true;
        for (size_t k = 0; k < n; k++)
            same = same && before[k].count == after[k].count;
        bool fits = true;
        json_decref(rows);
        /* a G is born idle, in memory just mapped, and goes on the list once it is dead */
        uint64_t born = 0;
        for (size_t k = 0; k < n; k++)
            if (strcmp(after[k].automaton, "G") == 0 && strcmp(after[k].from, "idle") == 0)
                born += after[k].count;
        rows = balance_of("G", v->g_states, gs, after, n, "idle", born, &fits);
        json_t *more = balance_of("P", v->p_states, ps, after, n, "gcstop", made, &fits);
        json_array_extend(rows, more);
        json_decref(more);
        *settled = same && fits;
    }
    return rows;
}
