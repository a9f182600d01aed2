#!/usr/bin/env python3
"""evtrace: the events of a seeded run obey Go's rules for traces, and two runs with one seed write
the same bytes, to the last line: where main ends."""

import os
import unittest

import evidence
from evidence_run import RUNS, SLOW, TALK, Scratch, example, run

# A program that does not come to the end of main, in three ways.
DIES = """\
#include <loam.h>
#include <stdlib.h>
#include <string.h>
static const char *how;
static loam_chan(int) never;
static void ends(void *arg)
{
    (void)arg;
    if (strcmp(how, "exit") == 0)
        exit(3);
    if (strcmp(how, "panic") == 0)
        loam_panic("over");
}
static int program(int argc, char **argv)
{
    how = argv[argc - 1];
    never = loam_chan_make(int, 0);
    loam_go(ends, NULL);
    return loam_recv(never);
}
int main(int argc, char **argv)
{
    return loam_run(program, argc, argv);
}
"""

REPEATS = {"hello": 300}
FEW = 40


class Test(unittest.TestCase):
    def setUp(self):
        self.scratch = Scratch(self)
        seeded = self.scratch.build("seeded")
        self.programs = [(example(name), args) for name, args in RUNS]
        self.programs += [(seeded, ()), (seeded, ("elsewhere",))]

    def trace(self, program, args, seed, procs="2", more=""):
        path = self.scratch.file("trace")
        done = run(program, *args, LOAMMAXPROCS=procs, LOAMDEBUG=f"dst={seed},evtrace={path}" + more)
        with open(path, encoding="ascii") as f:
            text = f.read()
        os.unlink(path)
        return text, done

    def test_rules(self):
        for program, args in self.programs:
            seen = set()
            for seed in range(1, 1 + max(3, 20 // SLOW)):
                text, done = self.trace(program, args, seed)
                self.assertEqual(done.returncode, 0, done.stderr)
                trace = evidence.parse_evtrace(text)
                seen.add(text)
                # It begins with the main goroutine and ends with it: nobody runs after that.
                names = [e.name for e in trace.events]
                self.assertEqual(names[:4], ["ProcsChange", "ProcStart", "GoCreate", "GoStart"])
                self.assertEqual(names[-3:], ["GoDestroy", "ProcStop", "STWBegin"], program)
                self.assertEqual(trace.events[-3].args, {"g": 1})
                self.assertEqual(trace.g[1], "dead")
            self.assertGreater(len(seen), 1, "the seed makes no difference to " + program)

    def test_everything_happens(self):
        """The rules are tried on every event that a seeded run can have."""
        names = set()
        for program, args in self.programs[-2:]:
            names |= {e.name for e in evidence.parse_evtrace(self.trace(program, args, 5)[0]).events}
        self.assertEqual(names, {n for n in evidence.EVENTS if hasattr(evidence.Trace, n)})

    def test_same_bytes(self):
        for program, args in self.programs:
            first, done = self.trace(program, args, 7)
            out = done.stdout
            repeats = REPEATS.get(os.path.basename(program), FEW) // SLOW + 2
            for i in range(repeats):
                procs = str(i % 3 + 1)  # a seeded run has one processor, whatever is set
                text, done = self.trace(program, args, 7, procs=procs)
                self.assertEqual((text == first, done.stdout, done.returncode), (True, out, 0),
                                 f"{program}, run {i}: {text[-300:]}\n instead of {first[-300:]}")

    def test_other_settings_change_nothing(self):
        program, args = self.programs[-2]
        first = self.trace(program, args, 7)[0]
        for more in (",schedtrace=1", ",schedtrace=1,scheddetail=1,schedstates=1", ",unknown=1"):
            text, done = self.trace(program, args, 7, more=more)
            self.assertEqual(text, first)
            self.assertEqual(evidence.parse_sched(done.stderr.splitlines(), False, False, TALK), [])

    def test_whole_whatever_ends_it(self):
        source = self.scratch.file("dies.c")
        with open(source, "w", encoding="ascii") as f:
            f.write(DIES)
        program = self.scratch.build("dies", source)
        for how, status, last in (("exit", 3, ["running", "waiting"]),
                                  ("panic", 2, ["running", "waiting"]),
                                  ("deadlock", 2, ["waiting", "dead"])):
            text, done = self.trace(program, (how,), 7)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertCountEqual(evidence.parse_evtrace(text).g.values(), last)
            self.assertEqual(text, self.trace(program, (how,), 7)[0])

    def test_refused(self):
        done = run(example("hello"), LOAMDEBUG=f"evtrace={self.scratch.file('x')}")
        self.assertEqual(done.returncode, 125)
        self.assertIn("needs dst=SEED beside it", done.stderr)
        done = run(example("hello"), LOAMDEBUG="dst=1,evtrace=/nowhere/x")
        self.assertEqual(done.returncode, 125)
        self.assertIn("cannot write /nowhere/x", done.stderr)

    def test_not_whole(self):
        done = run(example("hello"), LOAMDEBUG="dst=1,evtrace=/dev/full")
        self.assertEqual((done.returncode, done.stderr),
                         (0, "loam: evtrace: /dev/full is not whole: No space left on device\n"))


class Rules(unittest.TestCase):
    """The parser itself: what breaks a rule is found."""

    GOOD = ["ProcsChange n=1", "ProcStart p=0 seq=1", "GoCreate g=1 parent=0", "GoStart g=1 seq=1",
            "GoCreate g=2 parent=1", "GoBlock g=1 reason=3", "GoStart g=2 seq=1",
            "GoUnblock g=1 seq=2", "GoSyscallBegin g=2 pseq=2", "GoSyscallEnd g=2",
            "GoDestroy g=2", "GoStart g=1 seq=3", "GoDestroy g=1", "ProcStop p=0",
            "STWBegin kind=2"]
    BROKEN = {
        "two numbers alike": (7, "GoUnblock g=1 seq=1"), "a number left out": (11, "GoStart g=1 seq=4"),
        "not runnable": (6, "GoStart g=1 seq=2"), "unblocked twice": (8, "GoUnblock g=1 seq=3"),
        "blocks, not running": (5, "GoBlock g=2 reason=3"), "the P's number": (8, "GoSyscallBegin g=2 pseq=1"),
        "made twice": (4, "GoCreate g=1 parent=1"), "no such reason": (5, "GoBlock g=1 reason=99"),
        "another argument": (5, "GoBlock g=1 seq=3"), "no such event": (5, "GoBlok g=1 reason=3"),
        "another's parent": (4, "GoCreate g=2 parent=5"), "a P stopped with work": (11, "ProcStop p=0"),
    }

    def text(self, events):
        return "".join(f"{i} {1000 + i} {evidence.EVENTS.get(e.split()[0], (20,))[0]} {e}\n"
                       for i, e in enumerate(events))

    def test_rules(self):
        evidence.parse_evtrace(self.text(self.GOOD))
        for what, (at, event) in self.BROKEN.items():
            with self.assertRaises((evidence.Malformed, KeyError), msg=what):
                evidence.parse_evtrace(self.text([*self.GOOD[:at], event, *self.GOOD[at + 1:]]))


if __name__ == "__main__":
    unittest.main()
