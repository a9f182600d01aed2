/* Labels and local values of goroutines: in one block that a goroutine gets when it first needs it.
 *
 * Labels are inherited by the goroutines that it starts (copied then), values are not. Destructors
 * run on the ending goroutine, up to four rounds as with POSIX thread keys, since one may set a value
 * again. */
#include "sched/sched_int.h"

#include "base/print.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

#include <loam.h>

struct label {
    struct label *next;
    char *value; /* in the same block, behind the key */
    char key[];
};

struct golocals {
    struct label *labels;
    uint32_t generation[LOCAL_KEYS]; /* of the key when the value was set */
    void *values[LOCAL_KEYS];
};

static struct {
    bool used;
    uint32_t generation;
    void (*destructor)(void *);
} keys[LOCAL_KEYS]; /* keys_lock; generation also read without it */
static struct mutex keys_lock = MUTEX_INIT(leaf);

enum { DESTRUCTOR_ROUNDS = 4 };

static int64_t live; /* atomic: blocks in use */

static struct golocals *need(struct g *gp)
{
    if (gp->locals == NULL) {
        gp->locals = objalloc(sizeof *gp->locals, OBJ_GOLOCAL);
        if (gp->locals != NULL)
            add_relaxed(&live, 1); /* read with the world stopped */
    }
    return gp->locals;
}

bool golocals_any(void)
{
    return load_relaxed(&live) != 0;
}

void golocals_print_labels(struct printer *p, const struct g *gp)
{
    if (gp->locals == NULL || gp->locals->labels == NULL)
        return;
    const char *before = " {";
    for (const struct label *l = gp->locals->labels; l != NULL; l = l->next) {
        pr(p, "%s\"%s\": \"%s\"", before, l->key, l->value);
        before = ", ";
    }
    pr(p, "}");
}

/* ---- Labels -------------------------------------------------------------------------------------- */

static int label_add(struct golocals *l, const char *key, const char *value)
{
    size_t key_len = strlen(key) + 1, value_len = strlen(value) + 1;
    struct label *new = objalloc(sizeof *new + key_len + value_len, OBJ_GOLOCAL);
    if (new == NULL)
        return -ENOMEM;
    memcpy(new->key, key, key_len);
    new->value = new->key + key_len;
    memcpy(new->value, value, value_len);
    new->next = l->labels;
    store_release(&l->labels, new); /* release: a dump in a signal handler sees a whole one */
    return 0;
}

int loam_set_label(const char *key, const char *value)
{
    struct g *gp = getg();
    if (gp == NULL || key == NULL)
        return -EINVAL;
    struct golocals *l = need(gp);
    if (l == NULL)
        return -ENOMEM;
    struct label *former = NULL;
    struct label **link = &l->labels;
    while (*link != NULL && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    former = *link;
    if (former != NULL)
        *link = former->next;
    int err = value != NULL ? label_add(l, key, value) : 0;
    if (err != 0 && former != NULL) { /* nothing is lost */
        former->next = l->labels;
        l->labels = former;
    } else {
        objfree(former, OBJ_GOLOCAL);
    }
    return err;
}

const char *loam_label(const char *key)
{
    struct g *gp = getg();
    if (gp == NULL || gp->locals == NULL || key == NULL)
        return NULL;
    for (struct label *l = gp->locals->labels; l != NULL; l = l->next)
        if (strcmp(l->key, key) == 0)
            return l->value;
    return NULL;
}

void golocals_inherit(struct g *gp, struct g *parent)
{
    if (parent->locals->labels == NULL)
        return;
    struct golocals *l = need(gp);
    if (l == NULL)
        return; /* labels are for looking: a goroutine without them is better than none */
    for (struct label *from = parent->locals->labels; from != NULL; from = from->next)
        (void)label_add(l, from->key, from->value);
}

/* ---- Local values -------------------------------------------------------------------------------- */

int loam_local_key_new(loam_local_key *key, void (*destructor)(void *))
{
    int err = -EAGAIN;
    lock(&keys_lock);
    for (int i = 0; i < LOCAL_KEYS; i++) {
        if (keys[i].used)
            continue;
        keys[i].used = true;
        keys[i].destructor = destructor;
        store_relaxed(&keys[i].generation, keys[i].generation + 1); /* old values are stale */
        *key = i;
        err = 0;
        break;
    }
    unlock(&keys_lock);
    return err;
}

int loam_local_key_free(loam_local_key key)
{
    if (key < 0 || key >= LOCAL_KEYS)
        return -EINVAL;
    lock(&keys_lock);
    int err = keys[key].used ? 0 : -EINVAL;
    keys[key].used = false;
    keys[key].destructor = NULL;
    store_relaxed(&keys[key].generation, keys[key].generation + 1);
    unlock(&keys_lock);
    return err;
}

int loam_local_set(loam_local_key key, void *value)
{
    struct g *gp = getg();
    if (gp == NULL || key < 0 || key >= LOCAL_KEYS || !keys[key].used)
        return -EINVAL;
    struct golocals *l = need(gp);
    if (l == NULL)
        return -ENOMEM;
    l->values[key] = value;
    l->generation[key] = load_relaxed(&keys[key].generation);
    return 0;
}

void *loam_local_get(loam_local_key key)
{
    struct g *gp = getg();
    if (gp == NULL || gp->locals == NULL || key < 0 || key >= LOCAL_KEYS ||
        gp->locals->generation[key] != load_relaxed(&keys[key].generation))
        return NULL;
    return gp->locals->values[key];
}

void golocals_run_destructors(struct g *gp)
{
    struct golocals *l = gp->locals;
    for (int round = 0; round < DESTRUCTOR_ROUNDS; round++) {
        bool any = false;
        for (int i = 0; i < LOCAL_KEYS; i++) {
            void *value = l->values[i];
            if (value == NULL)
                continue;
            l->values[i] = NULL;
            lock(&keys_lock);
            void (*destructor)(void *) =
                keys[i].used && keys[i].generation == l->generation[i] ? keys[i].destructor : NULL;
            unlock(&keys_lock);
            if (destructor != NULL) {
                destructor(value);
                any = true;
            }
        }
        if (!any)
            break;
    }
}

void golocals_free(struct g *gp)
{
    if (gp->locals == NULL)
        return;
    for (struct label *l = gp->locals->labels, *next; l != NULL; l = next) {
        next = l->next;
        objfree(l, OBJ_GOLOCAL);
    }
    objfree(gp->locals, OBJ_GOLOCAL);
    gp->locals = NULL;
    add_relaxed(&live, -1);
}
