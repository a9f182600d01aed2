#!/usr/bin/env python3
"""Tracebacks and dumps have Go's form to the last line, name each goroutine once, the main one first,
and the process ends with status 2."""

import re
import signal
import subprocess
import time
import unittest

import evidence
from evidence_run import PATIENCE, VARIANT, Scratch, environment, run

# evidence_places.c: name, status, and the function whose frame is the innermost of the program's.
PLACES = [("the main one", "sleep", "places"), ("receives", "chan receive", "receives"),
          ("sends", "chan send", "sends"), ("selects", "select", "selects"),
          ("sleeps", "sleep", "sleeps"), ("locks", "sync.Mutex.Lock", "locks"),
          ("blocks", "syscall", None), ("is_wired", "chan receive", "is_wired"),
          ("stays_in_kernel", "running", None), ("spins", "running", "spins")]

ENDS = """\
#include <loam.h>
#include <stdlib.h>
#include <string.h>
static loam_chan(int) never;
static struct loam_mutex mutex;
static void waits(void *arg)
{
    (void)arg;
    (void)loam_recv(never);
    abort();
}
static int program(int argc, char **argv)
{
    const char *how = argv[argc - 1];
    never = loam_chan_make(int, 0);
    loam_go(waits, NULL); /* line 16 */
    loam_sleep(1000000);
    if (strcmp(how, "panic") == 0)
        loam_panic("the value");
    if (strcmp(how, "fatal") == 0)
        loam_mutex_unlock(&mutex);
    if (strcmp(how, "traceback") == 0)
        loam_traceback(2);
    if (strcmp(how, "dump") == 0)
        loam_dump_goroutines(2);
    if (strcmp(how, "deadlock") == 0)
        (void)loam_recv(never);
    if (strcmp(how, "goexit") == 0)
        loam_goexit();
    return 7;
}
int main(int argc, char **argv)
{
    return loam_run(program, argc, argv);
}
"""

# How it ends: what stands first, exit status, the statuses of the goroutines that are shown.
WAYS = {
    "panic": ("panic: the value\n", 2, ["running"]),
    "fatal": ("fatal error: sync: unlock of unlocked mutex\n", 2, ["running"]),
    "traceback": ("", 7, ["running"]),
    "dump": ("", 7, ["running", "chan receive"]),
    "deadlock": ("fatal error: all goroutines are asleep - deadlock!\n", 2,
                 ["chan receive", "chan receive"]),
    "goexit": ("fatal error: all goroutines are asleep - deadlock!\n", 2, ["chan receive"]),
}


class Ends(unittest.TestCase):
    def setUp(self):
        self.scratch = Scratch(self)
        source = self.scratch.file("ends.c")
        with open(source, "w", encoding="ascii") as f:
            f.write(ENDS)
        self.program = self.scratch.build("ends", source)

    def test_ways(self):
        for how, (before, status, shown) in WAYS.items():
            if VARIANT == "tsan" and how in ("deadlock", "goexit"):
                continue  # its own thread could wake somebody: no deadlock to be seen
            for procs in ("1", "2", "4"):
                done = run(self.program, how, LOAMMAXPROCS=procs, TSAN_OPTIONS="exitcode=0")
                self.assertEqual(done.returncode, status, done.stderr)
                found, goroutines = evidence.parse_dump(done.stderr)
                self.assertEqual(found, before)
                self.assertEqual([g.status for g in goroutines], shown, done.stderr)
                for g in goroutines:
                    main = g.id == 1
                    names = [frame[0] for frame in g.frames]
                    self.assertEqual(names[-1], "program" if main else "waits", done.stderr)
                    self.assertEqual(g.created, None if main else ("program", 1, ("ends.c", 16)))


class Dump(unittest.TestCase):
    def settled(self, procs):
        """The dump on SIGQUIT of goroutines that have all come to where they stay."""
        program = Scratch(self).build("places")
        # A line per 50 ms from which to see that: all wait but three, one of those in the kernel.
        child = subprocess.Popen([program], stderr=subprocess.PIPE, text=True, env=environment(
            LOAMMAXPROCS=procs, LOAMDEBUG="schedtrace=50,schedstates=1"))
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.kill)
        good, end = 0, time.monotonic() + PATIENCE
        while good < 4:
            line = child.stderr.readline()
            self.assertLess(time.monotonic(), end, line)
            good += line.startswith("ASLEEP")
            if line.startswith("GSTATES") and "grunning=2 gsyscall=1 gwaiting=7" not in line:
                good = 0
        child.send_signal(signal.SIGQUIT)
        _, text = child.communicate(timeout=PATIENCE)
        self.assertEqual(child.returncode, 2, text)
        text = "".join(line for line in text.splitlines(True)
                       if not re.match("SCHED |GSTATES |ASLEEP ", line))
        return text, *evidence.parse_dump(text)

    @unittest.skipIf(VARIANT == "tsan", "ThreadSanitizer keeps signals back until a thread makes a "
                     "call that it intercepts")
    def test_sigquit(self):
        for procs in ("2", "4"):
            if VARIANT == "torture" and procs == "2":
                continue  # random yields on the way there: then there is no processor left
            text, before, goroutines = self.settled(procs)
            self.assertRegex(before, r"\ASIGQUIT: quit\nPC=0x[0-9a-f]+ m=(-1|\d+) sigcode=\d+\n\Z")
            by_name = {g.name: g for g in goroutines}
            self.assertEqual({(g.name, g.status) for g in goroutines},
                             {(name, status) for name, status, _ in PLACES}, text)
            self.assertEqual(by_name["the main one"].id, 1)
            # First the one that the signal found, if any, then main, then the others.
            self.assertIn(1, [g.id for g in goroutines[:2]])
            for name, status, function in PLACES:
                g = by_name[name]
                self.assertEqual(g.locked, name == "is_wired", text)
                self.assertEqual(g.asleep, name == "stays_in_kernel", text)
                if function is not None:
                    self.assertIn(function, [f for f, _, _ in g.frames], text)
                self.assertEqual(g.created is None, g.id == 1, text)
                if g.created:
                    self.assertEqual(g.created[:2], ("places", 1), text)
                    self.assertEqual(g.created[2][0], "evidence_places.c", text)


if __name__ == "__main__":
    unittest.main()
