#!/usr/bin/env python3
"""gtrace: every transition is an edge of the automaton and begins where the one before has ended; it
does not change a seeded run, whose trace shows the same transitions."""

import unittest

import evidence
from evidence_run import RUNS, TALK, Scratch, example, run

# What the events of a seeded run's trace are for the automaton.
EDGES = {"GoCreate": ("dead", "runnable"), "GoStart": ("runnable", "running"),
         "GoStop": ("running", "runnable"), "GoBlock": ("running", "waiting"),
         "GoUnblock": ("waiting", "runnable"), "GoDestroy": ("running", "dead"),
         "GoSyscallBegin": ("running", "syscall"), "GoSyscallEnd": ("syscall", "running")}


class Test(unittest.TestCase):
    def look_at(self, program, args, goid, **settings):
        done = run(program, *args, **settings)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        return evidence.parse_gtrace(done.stderr.splitlines(), goid, TALK)

    def test_examples(self):
        for name, args in RUNS:
            for procs in ("1", "2", "4"):
                for goid in (1, 2, 3):
                    found = self.look_at(example(name), args, goid, LOAMMAXPROCS=procs,
                                         LOAMDEBUG=f"gtrace={goid}")
                    if goid == 1:
                        self.assertEqual((found[0].p, found[0].m), (0, 0))
                        self.assertEqual((found[-1].before, found[-1].after), ("running", "dead"))

    def test_each_way(self):
        """A program that goes all the ways there are."""
        program = Scratch(self).build("seeded")
        ways = set()
        for args in ((), ("elsewhere",)):
            for procs in ("1", "2", "4"):
                for goid in range(1, 12):
                    ways |= {(t.before, t.after) for t in self.look_at(
                        program, args, goid, LOAMMAXPROCS=procs, LOAMDEBUG=f"gtrace={goid}")}
        # idle -> dead happens before a goroutine has its number, the last needs a lost processor.
        self.assertEqual(evidence.G_EDGES - ways - {("syscall", "runnable")}, {("idle", "dead")})

    def test_no_such_goroutine(self):
        self.assertEqual(run(example("hello"), LOAMDEBUG="gtrace=1000000").stderr, "")

    def test_seeded(self):
        """The same run with gtrace as without, and both tell the same."""
        scratch = Scratch(self)
        program, plain, traced = scratch.build("seeded"), scratch.file("a"), scratch.file("b")
        for args in ((), ("elsewhere",)):
            run(program, *args, LOAMDEBUG=f"dst=7,evtrace={plain}")
            with open(plain, encoding="ascii") as f:
                text = f.read()
            for goid in range(1, 12):
                found = self.look_at(program, args, goid,
                                     LOAMDEBUG=f"dst=7,gtrace={goid},evtrace={traced}")
                with open(traced, encoding="ascii") as f:
                    self.assertEqual(text, f.read())
                events = [EDGES[e.name] for e in evidence.parse_evtrace(text).events
                          if e.args.get("g") == goid]
                self.assertEqual([(t.before, t.after) for t in found], events)


if __name__ == "__main__":
    unittest.main()
