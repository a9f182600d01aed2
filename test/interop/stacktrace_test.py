#!/usr/bin/env python3
"""stacktrace: each growth with its goroutine, sizes and source, by a strict parser; the sources are those
that the allocator's own lines and figures tell."""

import os
import re
import unittest

import evidence
from evidence_run import SOURCE, TOOL, VARIANT, Scratch, run

SMALL = [2048 << i for i in range(5)]
ALLOCA = """
#include <loam.h>
#include <alloca.h>
#include <string.h>
__attribute__((noinline)) static int one(size_t n) { volatile char *p = alloca(n); p[0] = 1; return p[0]; }
static void many(void *end)
{
    for (int i = 0; i < 3; i++)
        (void)one(100000);
    loam_waitgroup_done(end);
}
static int run(int argc, char **argv)
{
    (void)argc, (void)argv;
    struct loam_waitgroup end = {0};
    loam_waitgroup_add(&end, 1);
    loam_go(many, &end);
    loam_waitgroup_wait(&end);
    return 0;
}
int main(int argc, char **argv) { return loam_run(run, argc, argv); }
"""


class Test(unittest.TestCase):
    def small(self, name, source):
        program = Scratch(self).file(name)
        built = run(TOOL, "build", "--cc=gcc", "--stack=small", "-O1", "-o", program, source)
        self.assertEqual(built.returncode, 0, built.stderr)
        return program

    def trace(self, program):
        done = run(program, LOAMDEBUG="stacktrace=1", LOAMMAXPROCS="1")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, *evidence.parse_stacktrace(done.stderr.splitlines())

    def test_growth(self):
        program = self.small("growth", os.path.join(SOURCE, "examples/growth.c"))
        out, grown, taken, _ = self.trace(program)
        divers = list(dict.fromkeys(g.g for g in grown if g.total > 130 << 10))
        self.assertEqual(len(divers), 2)
        if VARIANT != "torture":  # where they yield everywhere, which trims them, and caches hold two
            for goid in divers:
                mine = [g for g in grown if g.g == goid]
                begin = total = mine[0].total - mine[0].size  # the first piece: 2 KB in release
                self.assertEqual(begin, 2048 if VARIANT == "release" else begin)
                for g in mine:
                    self.assertEqual((g.how, g.size, g.total),
                                     ("grow", total + begin, total + g.size), g)
                    total = g.total
            first, second = ([g for g in grown if g.g == goid] for goid in divers)
            self.assertEqual({g.source for g in first if g.size > 16384}, {"system"}, first)
            self.assertEqual({g.source for g in second}, {"cache", "pool"}, second)
            self.assertEqual([g.source for g in second][-2:], ["pool", "pool"], second)
        figures = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in out.splitlines()]
        self.assertEqual({int(f["size"]) for f in figures}, {t.size for t in taken if t.system})
        for f in figures:
            refills = sum(t.refill and t.size == int(f["size"]) for t in taken)
            self.assertLessEqual(int(f["refills"]), refills, f)  # growths after that do not count

    def test_alloca(self):
        scratch = Scratch(self)
        source = scratch.file("alloca.c")
        with open(source, "w", encoding="ascii") as f:
            f.write(ALLOCA)
        _, grown, _, given = self.trace(self.small("alloca", source))
        pieces = [g for g in grown if g.how == "alloca"]
        self.assertGreaterEqual(len(pieces), 3)
        for g in pieces:
            self.assertEqual(g.size, 128 << 10)  # freed when the frame is seen to be gone
            self.assertTrue(100000 <= g.need < 100100 and g.total > g.size, g)
        self.assertGreaterEqual(given.count(128 << 10), 2)

    def test_strict(self):
        """The parser refuses what is not so."""
        taken = "STACK alloc size=4096 path=stackalloc,stackcacherefill,pool,system batch=16"
        grew = "STACK grow g=7 need=1064 size=4096 source=system total=6144"
        self.assertEqual(len(evidence.parse_stacktrace([taken, grew])[0]), 1)
        for lines in ([grew], [taken, grew.replace("system", "pool")],
                      [taken, grew.replace("size=4096", "size=8192")],
                      [grew.replace("system", "heap")], [grew + " "], [taken.replace("4096", "5000")],
                      [taken.replace("pool", "large")], [taken.replace(",stackcacherefill", "")],
                      [taken, grew, grew], ["STACK free size=4096 path=stackfree batch=1"]):
            with self.assertRaises(evidence.Malformed):
                evidence.parse_stacktrace(lines)


if __name__ == "__main__":
    unittest.main()
