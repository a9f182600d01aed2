#!/usr/bin/env python3
"""Programs with small stacks, `loam build --stack=small`: the ABI with growth at every offset, foreign code
from 2 KB of stack, ends in all depths, tracebacks over segments (ours and gdb's), the limit. The programs are in
test/small."""

import re
import shutil
import unittest

from small import GCC, GROW, Small, source


class SmallTest(Small):
    def foreign_shapes(self):
        self.command(GCC, "-O2", "-Wno-psabi", "-DFOREIGN", "-c", "-o", self.path("f.o"),
                     source("shapes.c"))

    def abi(self, *words):
        self.build("abi", *words, "--cflags=-Wno-psabi -Wno-infinite-recursion", source("abi.c"),
                   source("shapes.c"), self.path("f.o"))
        for env in ({}, GROW):
            self.assertEqual(self.command(self.path("abi"), **env).stdout, "ok\n")

    def test_abi(self):
        self.foreign_shapes()
        for level in "0123s":
            self.abi("-O" + level)
        self.abi("--cflags=-fno-pie", "--ldflags=-no-pie")
        self.abi("--ldflags=-static", "-O1")

    def test_foreign_code(self):
        """A program takes a while, so not with all growths in each way to build it."""
        names = ["glob", "getaddrinfo", "printf", "qsort", "table", "thread", "dlsym", "address",
                 "longjmp", "signal", "library", "goexit", "backtrace"]
        for words, env in (((), {}), (("-O0",), GROW), (("-O1", "-DSTATIC", "--ldflags=-static"), GROW),
                           (("-O3", "--cflags=-fno-pie", "--ldflags=-no-pie"), {}), (("-Os",), GROW)):
            self.build("foreign", source("foreign.c"), *words, "-lm")
            here = [n for n in names if n not in ("dlsym", "address") or "-DSTATIC" not in words]
            done = self.command(self.path("foreign"), **env)
            self.assertEqual(done.stdout.split("\n"), here + [""], words)

    def test_left_by_longjmp(self):
        self.command(GCC, "-O2", "-DFOREIGN", "-c", "-o", self.path("l.o"), source("leaves.c"))
        self.build("leaves", source("leaves.c"), self.path("l.o"))
        for limit, env in (("1", {}), ("8", GROW)):
            self.assertEqual(self.command(self.path("leaves"), limit, **env).stdout, "6 of 6\n")

    def test_ends(self):
        self.build("exits", source("exits.c"))
        for env in ({}, GROW):
            done = self.command(self.path("exits"), "20000", **env)
            most = int(re.match(r"most (\d+) left", done.stdout)[1])
            self.assertGreater(most, 1)  # it did count them

    def test_what_ended_is_given_back(self):
        self.build("ends", source("ends.c"))
        self.assertEqual(self.command(self.path("ends"), "100000").stdout, "ok\n")

    def test_beside_slots(self):
        self.build("slots", source("slots.c"))
        for env in ({}, GROW):
            self.assertEqual(self.command(self.path("slots"), **env).stdout, "ok\n")

    def test_embedded_objects(self):
        """An object that was compiled for it takes part like a source; another one is foreign."""
        flags = ["-fsplit-stack", "-mindirect-branch=thunk-extern", "-mindirect-branch-register",
                 "-fno-jump-tables", "-fno-omit-frame-pointer"]
        self.foreign_shapes()
        self.command(GCC, "-O2", "-Wno-psabi", *flags, "-c", "-o", self.path("shapes.o"),
                     source("shapes.c"))
        self.build("abi", "--cflags=-Wno-psabi -Wno-infinite-recursion", source("abi.c"),
                   self.path("shapes.o"), self.path("f.o"))
        self.assertEqual(self.command(self.path("abi")).stdout, "ok\n")

    # ---- Tracebacks ------------------------------------------------------------------------------

    def check_frames(self, text, function, lines, count):
        found = re.findall(r"^%s\(\.\.\.\)\n\t\S*/faults\.c:(\d+) \+0x" % function, text, re.M)
        self.assertEqual([int(n) for n in found], lines[:1] + lines[1:] * (count - 1), text)
        self.assertNotIn("morestack", text)

    def test_traceback(self):
        self.build("faults", "-O1", source("faults.c"))
        text = self.command(self.path("faults"), "traceback").stdout
        self.check_frames(text, "shallow", [18, 20], 41)
        self.assertRegex(text, r"worker\(\.\.\.\)\n\t\S*/faults\.c:42 ")
        self.assertRegex(text, r"created by run in goroutine 1\n\t\S*/faults\.c:57 ")
        text = self.command(self.path("faults"), "parked").stdout
        parked = text[text.index("[sleep"):]
        self.check_frames(parked, "parks", [29, 31], 41)
        self.assertRegex(parked, r"worker\(\.\.\.\)\n\t\S*/faults\.c:44 ")

    def test_overflow(self):
        self.build("faults", "-O1", "--cflags=-Wno-infinite-recursion", source("faults.c"))
        done = self.command(self.path("faults"), "overflow", good=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, "limit 1000000000\n") # as in Go; the program then sets less
        self.assertIn("runtime: goroutine stack exceeds 1048576-byte limit\n", done.stderr)
        self.assertIn("fatal error: stack overflow\n", done.stderr)
        self.assertRegex(done.stderr, r"\ngoroutine \d+ \[running\]:\nendless\(")
        self.assertRegex(done.stderr, r"endless\(\.\.\.\)\n\t\S*/faults\.c:10 ")
        self.assertRegex(done.stderr, r"created by run in goroutine 1\n")

    @unittest.skipUnless(shutil.which("gdb"), "no gdb")
    def test_gdb(self):
        self.build("faults", "-O0", source("faults.c"))
        done = self.command("gdb", "-q", "-batch", "-nx", "-ex", "set confirm off", "-ex",
                            "set debuginfod enabled off", "-ex", "break loam_traceback", "-ex", "run",
                            "-ex", "bt", "--args", self.path("faults"), "traceback")
        frames = re.findall(r"^#\d+ .*\bshallow \(n=(\d+)\) at \S*faults\.c:20", done.stdout, re.M)
        self.assertEqual(sorted({int(n) for n in frames}), list(range(1, 41)), done.stdout)
        self.assertRegex(done.stdout, r"worker \(arg=.*\) at \S*faults\.c:42")


if __name__ == "__main__":
    unittest.main()
