#!/usr/bin/env python3
"""LOAMDEBUG and its like: malformed values are reported once and ignored, unknown names ignored, and
LOAM's variable wins over Go's as a whole."""

import re
import unittest

import evidence
from evidence_run import Scratch, example, run

NUMBERS = [row[0] for row in evidence.table("base/debugvar.tbl", "DEBUGVAR")]
TEXTS = [row[0] for row in evidence.table("base/debugvar.tbl", "DEBUGSTR")]

EMBEDS = """\
#include <loam.h>
static void nothing(void *arg)
{
    (void)arg;
}
int main(int argc, char **argv)
{
    (void)argv;
    for (int i = 0; i < 2; i++) {
        struct loam_config config = {.flags = argc > 1 ? LOAM_NO_ENV : 0,
                                     .debug = argc > 2 ? "gtrace=x,gtrace=1" : NULL};
        if (loam_start(&config) != 0 || loam_call(nothing, NULL) != 0 || loam_stop(-1) != 0)
            return 1;
    }
    return 0;
}
"""


def report(variable, item, form="NUMBER"):
    name = item.split("=")[0]
    return f'loam: {variable}: the setting "{item}" is malformed and ignored: {name}={form} is the form\n'


class Test(unittest.TestCase):
    def said(self, program=example("hello"), args=(), **settings):
        done = run(program, *args, **settings)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr

    def test_malformed(self):
        self.assertIn("schedtrace", NUMBERS)
        self.assertEqual(TEXTS, ["evtrace"])
        for name in NUMBERS:
            for bad in ("", "=", "=x", "=1x", "= 1", "=1 ", "=0x10", "=1.5", "=+1", "=-", "=--1",
                        "=1234567890123456789", "=1=1"):
                self.assertEqual(self.said(LOAMDEBUG=name + bad), report("LOAMDEBUG", name + bad))
        for bad in ("evtrace", "evtrace=", "evtrace=" + 5000 * "x"):
            said = report("LOAMDEBUG", bad[:100], "TEXT")
            self.assertEqual(self.said(LOAMDEBUG=bad), said)

    def test_each_one_once(self):
        """The others of the list count all the same."""
        said = self.said(LOAMDEBUG="gtrace=y,,unknown=z,gtrace=2,dst=,gtrace=2x,", LOAMMAXPROCS="1")
        lines = said.splitlines(True)
        bad = [i for i, line in enumerate(lines) if line.startswith("loam:")]
        self.assertEqual("".join(lines[i] for i in bad),
                         "".join(report("LOAMDEBUG", x) for x in ("gtrace=y", "dst=", "gtrace=2x")))
        self.assertEqual(bad, [0, 1, 2])
        self.assertGreater(len(evidence.parse_gtrace([x.rstrip() for x in lines[3:]], 2)), 2)

    def test_unknown(self):
        for unknown in ("unknown=1", "unknown", "=1", "=", ",,,", "SCHEDTRACE=1", "gtrace2=1",
                        "gtrac=1", "gctrace=1,asyncpreemptoff=1,madvdontneed=1", " gtrace=1"):
            self.assertEqual(self.said(LOAMDEBUG=unknown), "")
            self.assertEqual(self.said(GODEBUG=unknown), "")

    def test_who_wins(self):
        traced = "GTRACE "
        self.assertTrue(self.said(GODEBUG="gtrace=1").startswith(traced))
        self.assertTrue(self.said(LOAMDEBUG="gtrace=1", GODEBUG="").startswith(traced))
        self.assertTrue(self.said(LOAMDEBUG="gtrace=1", GODEBUG="gtrace=0").startswith(traced))
        # As a whole: they are not mixed, not even where LOAM's is empty.
        for ours in ("gtrace=0", "unknown=1", ""):
            self.assertEqual(self.said(LOAMDEBUG=ours, GODEBUG="gtrace=1,dst=x"), "")
        self.assertEqual(self.said(GODEBUG="dst=x"), report("GODEBUG", "dst=x"))
        self.assertTrue(self.said(LOAMDEBUG="gtrace=1000000,gtrace=1").startswith(traced))

    def test_maxprocs(self):
        def procs(**settings):
            said = self.said(example("ring"), ("20", "2000000"), **settings,
                             LOAMDEBUG="schedtrace=1")
            bad = "".join(x for x in said.splitlines(True) if x.startswith("loam:"))
            return set(re.findall(r"gomaxprocs=(\d+) ", said)), bad

        self.assertEqual(procs(LOAMMAXPROCS="3"), ({"3"}, ""))
        self.assertEqual(procs(GOMAXPROCS="3"), ({"3"}, ""))
        self.assertEqual(procs(LOAMMAXPROCS="2", GOMAXPROCS="3"), ({"2"}, ""))
        default = procs()
        self.assertEqual(procs(LOAMMAXPROCS="", GOMAXPROCS="3"), default)
        for bad in ("0", "-1", "x", "2x", " "):
            self.assertEqual(procs(LOAMMAXPROCS=bad, GOMAXPROCS="3"), (default[0], (
                f"loam: LOAMMAXPROCS={bad} is no number above 0 and ignored\n")))

    def test_refused(self):
        scratch = Scratch(self)
        source = scratch.file("embeds.c")
        with open(source, "w", encoding="ascii") as f:
            f.write(EMBEDS)
        program = scratch.build("embeds", source)
        settings = {"LOAMDEBUG": "gtrace=z", "LOAMMAXPROCS": "z"}
        own = report("loam_config.debug", "gtrace=x")
        # Once a start: it is started twice.
        self.assertEqual(self.said(program, (), **settings), 2 * (
            report("LOAMDEBUG", "gtrace=z") + "loam: LOAMMAXPROCS=z is no number above 0 and ignored\n"))
        self.assertEqual(self.said(program, ("refuse",), **settings), "")
        said = self.said(program, ("refuse", "own"), **settings)
        self.assertEqual("".join(re.findall("^loam:.*\n", said, re.M)), 2 * own)
        self.assertEqual(said.count("GTRACE"), 2 * len(evidence.parse_gtrace(
            said[:said.index(own, 1)].splitlines()[1:], 1)))


if __name__ == "__main__":
    unittest.main()
