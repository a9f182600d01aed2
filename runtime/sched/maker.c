/* The maker: a thread without M and P that makes the others.
 *
 * pthread_create takes locks of libc: an arena's, that of its stacks, the loader's. Once a goroutine can be
 * held between any two instructions (preempt.c), the owner of one of these may be asleep, and the one who
 * makes a thread waits for it. It must not have what the owner needs to go on, which is a P. Hence:
 *
 *   Invariant: while goroutines may be held, nobody with a P, and neither sysmon nor who stops the world,
 *   waits for a lock of libc where no signal can take the P. Threads are made, ended ones joined and the
 *   first steps of new ones taken (m_begin asks libc for its stack) without a P.
 *
 * So who needs a thread and finds no idle M (startm) leaves an order and goes on. Its P goes to the held
 * goroutine that has waited longest, whose thread is there: no new one is needed to let go of a lock. With
 * none the P goes to the idle list, what it had queued to the global queue, where the new M, or whoever is
 * earlier, finds both.
 *
 * Nobody waits for ever. Say the maker waits for a lock: its owner runs, or it is held and lies in
 * sched.heldq. Each P then is
 *  - running code of the program or of libc: sysmon takes it away once its slice is over, for preempt.c
 *    needs no new thread either: the P goes to an idle M or to the head of heldq;
 *  - in the runtime, which does not wait (above) and comes to schedule, which takes from heldq in turn;
 *  - in a blocking call, or idle: sysmon, which does not sleep while something is queued, passes it to
 *    startm within a millisecond or two: an idle M takes it, or the head of heldq;
 *  - stopped with the world, whose stop ends without libc.
 * heldq is first come first served, so that the owner runs again, slice by slice, until it lets go.
 *
 * Orders are counted, in sched.lock: `ordered` those that the maker has not begun, `coming` threads that
 * have not arrived. Both are bounded by the idle Ps, so that callers of startm that come before the thread
 * do not make more of them. Who was counted in nmspinning gives that up under the lock, after the order:
 * an M that arrives takes an idle P and searches everywhere, or sets needspinning, so that what was made
 * visible up to then is found (proc.c's head). An order itself never counts as spinning: it may last.
 *
 * At the limit of threads an order for which there is no P any more is dropped, and one for which there is
 * has to wait: the end of the program comes when for 100 ms neither an M became idle nor the P was taken.
 *
 * test/litmus/model_maker.c is a model of it.
 *
 * It also looks for modules that came by dlopen (modules_refresh), which takes the loader's lock, for the same
 * reason: whoever is in dlopen may be held. A handler asks for that that finds code which nobody registered,
 * not more often than every LOOK_NS: most such code is libc's.
 *
 * Where nothing is held by signals there is no maker, and startm makes the thread itself: nobody sleeps
 * with a lock of libc, and a seeded run is one thread.
 *
 * Rejected: a spare M that is always ready instead: two threads may be needed before the next is there; a
 * thread that sysmon makes: it would wait where it is the one that is to help; clone without libc: a thread
 * of the program's has thread-locals. */
#include "os/os.h"
#include "sched/sched_int.h"
#include "stack/modules.h"

#include <errno.h>
#include <string.h>

#include <loam.h>

enum { LOOK_NS = 10000000 };

bool maker_on(void)
{
    return sched.maker_handle != 0;
}

static void wake_locked(void)
{
    if (sched.maker_asleep) {
        sched.maker_asleep = false;
        notewakeup(&sched.maker_note);
    }
}

void order_m_locked(void)
{
    int wanted = (int)load_relaxed(&sched.npidle);
    if (sched.ordered + sched.coming >= (wanted > 1 ? wanted : 1))
        return;
    sched.ordered++;
    wake_locked();
}

struct m *m_spare(void)
{
    lock(&sched.lock);
    struct m *idle = sched.midle;
    /* Half of the threads are for those that must have one. But with one beyond its loops a P can be taken
     * from any of them. */
    int most = load_relaxed(&sched.held) == 0 ? sched.maxmcount : sched.maxmcount / 2;
    if (idle == NULL && sched.mcount < most && sched.ordered + sched.coming == 0 &&
        !sched.spare_ordered) {
        sched.spare_ordered = true;
        wake_locked();
    }
    unlock(&sched.lock);
    return idle;
}

/* In a handler, which may take the lock: it has cut code of the program's or of libc's, never the runtime. */
void maker_look(void)
{
    lock(&sched.lock);
    int64_t now = load_relaxed(&sched.coarse_now);
    if (!sched.look_ordered && now - sched.look_last >= LOOK_NS) {
        sched.look_ordered = true;
        sched.look_last = now;
        wake_locked();
    }
    unlock(&sched.lock);
}

static void look(void *arg)
{
    (void)arg;
    modules_refresh();
}

void loam_modules_look(void)
{
    if (!visit_begin())
        return;
    if (getg() != NULL && getm()->incall != 0)
        look(NULL); /* in a blocking call already, or where none can be begun */
    else
        loam_blocking(look, NULL);
    visit_end();
}

void m_arrive(struct m *mp)
{
    lock(&sched.lock);
    sched.coming--;
    struct p *pp = load_relaxed(&sched.gcwaiting) ? NULL : pidleget_locked();
    if (pp == NULL)
        sched.needspinning = true; /* somebody relies on a search */
    unlock(&sched.lock);
    if (pp == NULL)
        return;
    acquirep(mp, pp);
    mp->spinning = true;
    add_seqcst(&sched.nmspinning, 1);
}

static void make(bool spare)
{
    int err = newm_try(NULL, false);
    if (err == 0)
        return;
    lock(&sched.lock);
    sched.coming--;
    unlock(&sched.lock);
    if (!spare) /* else another time */
        newm_failed(err);
}

/* The order at hand is of no use any more, or not to be had: an M is idle, or, at the limit of threads, no P
 * is: a held goroutine has got it, or who came back from a call. */
static bool settled_locked(bool spare)
{
    if (sched.midle != NULL)
        return true;
    if (sched.mcount < sched.maxmcount)
        return false;
    return spare || load_relaxed(&sched.npidle) == 0;
}

/* Exceeding the limit ends the program. Before that those are awaited that are about to become idle, or to
 * return from a short call. The lock, which is given back meanwhile. */
static void be_patient_locked(void)
{
    enum { PATIENCE_MS = 100 };
    for (int i = 0; i < PATIENCE_MS && sched.mcount >= sched.maxmcount && !settled_locked(false) &&
                    !sched.maker_end;
         i++) {
        unlock(&sched.lock);
        os_usleep(1000);
        lock(&sched.lock);
    }
}

static void maker(void *arg)
{
    (void)arg;
    lock(&sched.lock);
    while (!sched.maker_end) {
        bool spare = sched.ordered == 0;
        if (spare && !sched.spare_ordered && sched.look_ordered) {
            sched.look_ordered = false;
            unlock(&sched.lock);
            modules_refresh();
            lock(&sched.lock);
            continue;
        }
        if (spare && !sched.spare_ordered) {
            noteclear(&sched.maker_note);
            sched.maker_asleep = true;
            unlock(&sched.lock);
            notesleep(&sched.maker_note);
            lock(&sched.lock);
            continue;
        }
        if (!spare)
            be_patient_locked();
        bool needed = !settled_locked(spare);
        if (spare)
            sched.spare_ordered = false;
        else
            sched.ordered--;
        sched.coming += needed;
        if (!needed)
            sched.needspinning = true; /* somebody relies on a search */
        unlock(&sched.lock);
        if (needed)
            make(spare);
        else
            wakep(); /* does with an idle one what an arrival does */
        lock(&sched.lock);
    }
    unlock(&sched.lock);
}

int maker_start(void)
{
    if (!preempt_on())
        return 0;
    sigset_t all;
    sigfillset(&all);
    int err = os_thread_start(maker, NULL, "loam-maker", 0, &all, &sched.maker_handle);
    if (err != 0)
        return error_note(err, "cannot start the thread that makes threads: %s", strerror(-err));
    return 0;
}

void maker_stop(void)
{
    if (!maker_on())
        return;
    lock(&sched.lock);
    sched.maker_end = true;
    wake_locked();
    unlock(&sched.lock);
    os_thread_join(sched.maker_handle);
    sched.maker_handle = 0;
}
