#!/usr/bin/env python3
"""schedtrace, scheddetail, schedstates and ASLEEP: every line of programs that are busy is of the form
and plausible; of one whose goroutines stay where they are, every reference has its counterpart."""

import subprocess
import time
import unittest

import evidence
from evidence_run import RUNS, SLOW, TALK, VARIANT, Scratch, environment, example, run

STATUS = {number: name for name, number in evidence.G_STATES.items()}
# evidence_places.c: the state, or the reason why it waits. `spins` is left out on one processor.
PLACES = {"chan receive": 2, "chan send": 1, "select": 1, "sleep": 2, "sync.Mutex.Lock": 1,
          "syscall": 1, "running": 2}


class Busy(unittest.TestCase):
    def look_at(self, name, args, procs, detail, states, period=1):
        settings = f"schedtrace={period},scheddetail={int(detail)},schedstates={int(states)}"
        begin = time.monotonic()
        done = run(example(name), *args, LOAMDEBUG=settings, LOAMMAXPROCS=str(procs))
        took = (time.monotonic() - begin) * 1000
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        stops = evidence.parse_sched(done.stderr.splitlines(), detail, states, TALK)
        for stop in stops:
            self.assertEqual(stop.gomaxprocs, procs)
        if stops:
            self.assertEqual(stops[0].time, 0)
        self.assertLessEqual(len(stops), took / period + 2)
        return len(stops)

    def test_examples(self):
        for detail, states in ((False, False), (False, True), (True, False), (True, True)):
            lines = 0
            for name, args in RUNS:
                for procs in (1, 2, 4):
                    lines += self.look_at(name, args, procs, detail, states)
            self.assertGreater(lines, 0)

    def test_many_lines(self):
        hops = str(4000000 // SLOW)
        self.assertGreater(self.look_at("ring", ("50", hops), 2, False, True), 2)
        self.assertGreater(self.look_at("ring", ("50", hops), 4, True, True), 2)

    def test_period(self):
        """Never more often than asked for."""
        self.look_at("ring", ("50", str(600000 // SLOW)), 2, False, False, period=20)

    def test_without_schedtrace(self):
        for settings in ("scheddetail=1", "schedstates=1", "schedtrace=0,scheddetail=1", ""):
            self.assertEqual(run(example("hello"), LOAMDEBUG=settings).stderr, "")


class Settled(unittest.TestCase):
    def setUp(self):
        self.program = Scratch(self).build("places")

    def stops(self, procs, *args):
        """The stops of a program that never ends, as they come; it is killed when nobody wants more."""
        settings = "schedtrace=20,scheddetail=1,schedstates=1"
        child = subprocess.Popen([self.program, *args], stderr=subprocess.PIPE, text=True,
                                 env=environment(LOAMDEBUG=settings, LOAMMAXPROCS=str(procs)))
        self.addCleanup(child.wait)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.kill)
        lines = []
        for line in child.stderr:
            if line.startswith("SCHED") and lines:
                yield evidence.parse_sched(lines, True, True)[-1]
                lines = lines[:0]
            lines.append(line.rstrip("\n"))

    def arrived(self, stop, places):
        found = {}
        for g in stop.gs:
            place = g.reason or STATUS[g.status]
            found[place] = found.get(place, 0) + (place != "dead")
        return {k: v for k, v in found.items() if v} == places

    def look_at(self, procs, *args):
        places = dict(PLACES, running=1) if args else PLACES
        settled, why = [], "not all goroutines are where they stay"
        end = time.monotonic() + 60  # so that it says why, before the runner ends it
        for stop in self.stops(procs, *args):
            # Threads may still be on their way to sleep: only ten good ones in a row count.
            try:
                if self.arrived(stop, places) and stop.asleep:
                    stop.check_settled()
                    settled.append(stop)
            except evidence.Malformed as error:
                settled, why = [], str(error)
            if len(settled) == 10:
                break
            self.assertLess(time.monotonic(), end, why)
        asleep = [a for stop in settled for a in stop.asleep]
        last = settled[-1]
        self.assertTrue(self.arrived(last, places), last.gs)
        self.assertEqual(len([g for g in last.gs if g.lockedm is not None]), 1)
        self.assertEqual(last.idleprocs, procs - places["running"])
        self.assertEqual(last.runqueue, 0)
        self.assertEqual(sum(p.timerslen for p in last.ps.values()), 2)
        # One thread alone sleeps unannounced, all the time.
        self.assertEqual({(a.p, a.m, a.g, a.name) for a in asleep},
                         {(asleep[0].p, asleep[0].m, asleep[0].g, "stays_in_kernel")})
        self.assertEqual(len(asleep), len(settled))
        times = [a.ms for a in asleep]
        self.assertEqual(times, sorted(times))

    @unittest.skipIf(VARIANT == "torture", "goroutines yield at random, also on their way to where "
                     "they stay, and there is no processor for them then")
    def test_few_processors(self):
        self.look_at(1, "no-spin")
        self.look_at(2)

    def test_more_processors(self):
        self.look_at(4)
        self.look_at(4, "no-spin")


if __name__ == "__main__":
    unittest.main()
