/* Every operation in every state of a channel: what it yields, whether it waits, what becomes of the
 * goroutine that waited before. Panics end the process: test/lang/chan_panics.c has them. */
#include "chan_test.h"
#include "waiters.h"

enum state {
    NIL,
    IDLE,     /* unbuffered */
    SENDER,   /* unbuffered, a sender waits */
    RECEIVER, /* unbuffered, a receiver waits */
    EMPTY,    /* of two */
    EMPTY_RECEIVER,
    HALF,
    FULL,
    FULL_SENDER,
    CLOSED,       /* unbuffered */
    CLOSED_EMPTY, /* of two */
    CLOSED_HALF,
    STATES
};
static const char *const state_names[] = {
    "nil",  "idle", "sender",      "receiver", "empty",        "empty,receiver",
    "half", "full", "full,sender", "closed",   "closed,empty", "closed,half"};

enum op {
    SEND,
    RECV,
    TRY_SEND,
    TRY_RECV,
    SELECT_SEND, /* with a second case that is never ready */
    SELECT_RECV,
    DEFAULT_SEND, /* two cases and a default */
    DEFAULT_RECV,
    ONLY_SEND, /* one case */
    ONLY_RECV,
    ONLY_DEFAULT_SEND, /* one case and a default */
    ONLY_DEFAULT_RECV,
    CLOSE,
    OPS
};
static const char *const op_names[] = {
    "send",        "recv",        "try_send",          "try_recv",
    "select send", "select recv", "default send",      "default recv",
    "only send",   "only recv",   "only default send", "only default recv",
    "close"};

enum what {
    P, /* waits */
    R, /* does not happen: rejected */
    S, /* sent, or closed */
    G, /* got what was sent first */
    Z, /* got zero, closed */
    X  /* panics */
};

/* clang-format off */
static const uint8_t expected[STATES][OPS] = {
/*                   send recv trys tryr sels selr defs defr ones oner odfs odfr close */
    [NIL] =            {P, P,   R,   R,   P,   P,   R,   R,   P,   P,   R,   R,   X},
    [IDLE] =           {P, P,   R,   R,   P,   P,   R,   R,   P,   P,   R,   R,   S},
    [SENDER] =         {P, G,   R,   G,   P,   G,   R,   G,   P,   G,   R,   G,   X},
    [RECEIVER] =       {S, P,   S,   R,   S,   P,   S,   R,   S,   P,   S,   R,   S},
    [EMPTY] =          {S, P,   S,   R,   S,   P,   S,   R,   S,   P,   S,   R,   S},
    [EMPTY_RECEIVER] = {S, P,   S,   R,   S,   P,   S,   R,   S,   P,   S,   R,   S},
    [HALF] =           {S, G,   S,   G,   S,   G,   S,   G,   S,   G,   S,   G,   S},
    [FULL] =           {P, G,   R,   G,   P,   G,   R,   G,   P,   G,   R,   G,   S},
    [FULL_SENDER] =    {P, G,   R,   G,   P,   G,   R,   G,   P,   G,   R,   G,   X},
    [CLOSED] =         {X, Z,   X,   Z,   X,   Z,   X,   Z,   X,   Z,   X,   Z,   X},
    [CLOSED_EMPTY] =   {X, Z,   X,   Z,   X,   Z,   X,   Z,   X,   Z,   X,   Z,   X},
    [CLOSED_HALF] =    {X, G,   X,   G,   X,   G,   X,   G,   X,   G,   X,   G,   X},
};
static const int8_t lengths[STATES] = {0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 0, 1};
static const int8_t capacities[STATES] = {0, 0, 0, 0, 2, 2, 2, 2, 2, 0, 2, 2};
/* clang-format on */

enum { MAX_ELEM = 5000 };

/* The goroutine that waits in the state, and the one that does the operation. */
struct worker {
    struct loam_hchan *c, *never;
    size_t size;
    enum op op;
    int done; /* atomic */
    int result;
    uint8_t elem[MAX_ELEM];
};

static void fill(uint8_t *elem, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++)
        elem[i] = (uint8_t)(value + i * 7);
}

static bool is_filled(const uint8_t *elem, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++)
        if (elem[i] != (uint8_t)(value + i * 7))
            return false;
    return true;
}

static bool is_zero(const uint8_t *elem, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (elem[i] != 0)
            return false;
    return true;
}

/* Result 1: done, a value went over; 0: closed; -EAGAIN: rejected. */
static void work(void *arg)
{
    struct worker *w = arg;
    bool ok = true;
    uint8_t unused[MAX_ELEM];
    bool send = w->op == SELECT_SEND || w->op == DEFAULT_SEND || w->op == ONLY_SEND ||
                w->op == ONLY_DEFAULT_SEND;
    struct loam_case cases[2] = {
        {w->c, w->elem, send ? NULL : &ok, send},
        {w->never, unused, NULL, 0},
    };
    int chosen = 0;
    switch (w->op) {
    case SEND:
        loam_chan_send(w->c, w->elem);
        break;
    case RECV:
        ok = loam_chan_recv(w->c, w->elem);
        break;
    case TRY_SEND:
        chosen = loam_chan_try_send(w->c, w->elem) == 1 ? 0 : -1;
        break;
    case TRY_RECV: {
        int got = loam_chan_try_recv(w->c, w->elem);
        CHECK(got == 1 || got == 0 || got == -EAGAIN);
        chosen = got >= 0 ? 0 : -1;
        ok = got == 1;
        break;
    }
    case SELECT_SEND:
    case SELECT_RECV:
        chosen = loam_select_n(cases, 2, 0);
        break;
    case DEFAULT_SEND:
    case DEFAULT_RECV:
        chosen = loam_select_n(cases, 2, LOAM_SELECT_DEFAULT);
        break;
    case ONLY_SEND:
    case ONLY_RECV:
        chosen = loam_select_n(cases, 1, 0);
        break;
    case ONLY_DEFAULT_SEND:
    case ONLY_DEFAULT_RECV:
        chosen = loam_select_n(cases, 1, LOAM_SELECT_DEFAULT);
        break;
    case CLOSE:
        loam_chan_close(w->c);
        break;
    case OPS:
        break;
    }
    CHECK(chosen == 0 || chosen == -1);
    w->result = chosen < 0 ? -EAGAIN : ok;
    store(&w->done, 1);
}

enum { FIRST = 10, SECOND = 20, PARTNER = 30, MINE = 40 };

static void put(struct loam_hchan *c, size_t size, uint8_t value)
{
    uint8_t elem[MAX_ELEM];
    fill(elem, size, value);
    CHECK_EQ(loam_chan_try_send(c, elem), 1);
}

/* Brings a channel into the state, with a partner that waits by a plain operation or by a select. */
static struct loam_hchan *make(enum state state, size_t size, struct worker *partner,
                               struct loam_hchan *never, bool by_select)
{
    if (state == NIL)
        return NULL;
    struct loam_hchan *c = loam_chan_new_or_panic(size, capacities[state]);
    if (state == HALF || state == FULL || state == FULL_SENDER || state == CLOSED_HALF)
        put(c, size, FIRST);
    if (state == FULL || state == FULL_SENDER)
        put(c, size, SECOND);
    if (state == CLOSED || state == CLOSED_EMPTY || state == CLOSED_HALF)
        loam_chan_close(c);
    *partner = (struct worker){.c = c, .never = never, .size = size};
    if (state == SENDER || state == FULL_SENDER) {
        partner->op = by_select ? SELECT_SEND : SEND;
        fill(partner->elem, size, PARTNER);
        go(work, partner);
        AWAIT(senders(c) == 1);
    }
    if (state == RECEIVER || state == EMPTY_RECEIVER) {
        partner->op = by_select ? SELECT_RECV : RECV;
        memset(partner->elem, 0xee, sizeof partner->elem);
        go(work, partner);
        AWAIT(receivers(c) == 1);
    }
    return c;
}

static bool sends(enum op op)
{
    return op == SEND || op == TRY_SEND || op == SELECT_SEND || op == DEFAULT_SEND ||
           op == ONLY_SEND || op == ONLY_DEFAULT_SEND;
}

/* What is in the channel at the end comes out in this order; 0 ends it. */
static void drain(struct loam_hchan *c, size_t size, const uint8_t *values)
{
    uint8_t elem[MAX_ELEM];
    for (; *values != 0; values++) {
        CHECK_EQ(loam_chan_try_recv(c, elem), 1);
        CHECK(is_filled(elem, size, *values));
    }
    CHECK(loam_chan_try_recv(c, elem) <= 0);
}

static void one(enum state state, enum op op, size_t size, bool by_select, bool polled)
{
    static struct worker partner, mine, leaked[2 * STATES * OPS * 32];
    static int nleaked;
    static uint8_t drop[MAX_ELEM];
    enum what want = expected[state][op];
    if (want == X)
        return;
    struct loam_hchan *never = loam_chan_new_or_panic(1, 0);
    struct loam_hchan *c = make(state, size, &partner, never, by_select);
    if (polled && c != NULL) {
        c->polled = 1; /* as if a rejection had come first: the looks without the lock */
    }
    CHECK_EQ(loam_chan_len(c), lengths[state]);
    CHECK_EQ(loam_chan_cap(c), capacities[state]);

    struct worker *w = state == NIL && want == P ? &leaked[nleaked++] : &mine;
    *w = (struct worker){.c = c, .never = never, .size = size, .op = op};
    fill(w->elem, size, MINE);
    if (!sends(op))
        memset(w->elem, 0xee, sizeof w->elem);
    go(work, w);

    bool waited =
        state == SENDER || state == RECEIVER || state == EMPTY_RECEIVER || state == FULL_SENDER;
    bool partner_sends = state == SENDER || state == FULL_SENDER;
    if (want == P && state == NIL) {
        for (int i = 0; i < 20; i++)
            loam_yield();
        CHECK(!load(&w->done));
        return; /* for ever */
    }
    if (want == P) {
        /* It waits behind the partner. Take what is there, or give what they want, until it is done. */
        AWAIT((sends(op) ? senders(c) : receivers(c)) == 1 + waited);
        CHECK(!load(&w->done));
        if (sends(op)) {
            if (state == FULL || state == FULL_SENDER)
                drain(c, size,
                      state == FULL ? (uint8_t[]){FIRST, SECOND, MINE, 0}
                                    : (uint8_t[]){FIRST, SECOND, PARTNER, MINE, 0});
            else
                drain(c, size, waited ? (uint8_t[]){PARTNER, MINE, 0} : (uint8_t[]){MINE, 0});
        } else {
            if (waited)
                put(c, size, SECOND);
            put(c, size, FIRST);
        }
        AWAIT(load(&w->done));
        CHECK_EQ(w->result, 1);
        if (!sends(op))
            CHECK(is_filled(w->elem, size, FIRST));
        if (waited) {
            AWAIT(load(&partner.done));
            CHECK_EQ(partner.result, 1);
            if (!partner_sends)
                CHECK(is_filled(partner.elem, size, SECOND));
        }
    } else {
        AWAIT(load(&w->done));
        CHECK_EQ(w->result, want == R ? -EAGAIN : want == Z ? 0 : 1);
        if (want == G)
            CHECK(is_filled(w->elem, size, state == SENDER ? PARTNER : FIRST));
        if (want == Z)
            CHECK(is_zero(w->elem, size));
        if (want == R && !sends(op) && size > 0)
            CHECK(w->elem[0] == 0xee);
        /* beyond the element nothing was written */
        if (!sends(op))
            CHECK(w->elem[size] == 0xee);
        bool woken = want == G ? waited && partner_sends : want == S && waited && !partner_sends;
        if (waited && !woken) {
            CHECK(!load(&partner.done));
            if (partner_sends)
                CHECK_EQ(loam_chan_try_recv(c, drop), 1); /* from the buffer, or the sender's */
            else
                put(c, size, MINE);
        }
        if (waited) {
            AWAIT(load(&partner.done));
            CHECK_EQ(partner.result, op != CLOSE);
            if (!partner_sends && op != CLOSE)
                CHECK(is_filled(partner.elem, size, MINE));
            if (!partner_sends && op == CLOSE)
                CHECK(is_zero(partner.elem, size));
        }
        /* What is left. */
        uint8_t left[4] = {0};
        if (state == HALF && (want == S || want == R))
            memcpy(left, (uint8_t[]){FIRST, op == CLOSE ? 0 : MINE}, 2);
        else if (state == EMPTY && want == S && op != CLOSE)
            left[0] = MINE;
        else if (state == FULL)
            memcpy(left, want == G ? (uint8_t[]){SECOND, 0} : (uint8_t[]){FIRST, SECOND}, 2);
        else if (state == FULL_SENDER)
            memcpy(left, (uint8_t[]){SECOND, PARTNER}, 2);
        if (c != NULL)
            drain(c, size, left);
        if (c != NULL && !c->closed && c->dataqsiz > 0) { /* the ring's ends still agree */
            put(c, size, FIRST);
            put(c, size, MINE);
            drain(c, size, (uint8_t[]){FIRST, MINE, 0});
        }
        if (op == CLOSE) {
            uint8_t elem[MAX_ELEM];
            CHECK_EQ(loam_chan_try_recv(c, elem), 0);
            CHECK(is_zero(elem, size));
        }
    }
    if (c != NULL) {
        CHECK_EQ(receivers(c), 0);
        CHECK_EQ(senders(c), 0);
    }
    loam_chan_delete(c);
    CHECK_EQ(receivers(never), 0);
    loam_chan_delete(never);
}

static void body(void)
{
    static const size_t sizes[] = {0, 1, 2, 4, 8, 12, 16, 24, 1000, MAX_ELEM - 1};
    for (size_t i = 0; i < nelem(sizes); i++) {
        for (enum state state = 0; state < STATES; state++) {
            for (enum op op = 0; op < OPS; op++) {
                snprintf(where, sizeof where, "%zu bytes, %s: %s", sizes[i], state_names[state],
                         op_names[op]);
                for (int v = 0; v < 4; v++)
                    one(state, op, sizes[i], v & 1, v & 2);
            }
        }
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
