#!/usr/bin/env python3
"""Programs with small stacks, `loam build --stack=small`: the ABI with growth at every offset, foreign code
from 2 KB of stack, ends in all depths, tracebacks over segments (ours and gdb's), the limit; and what must be
refused. The programs are in test/small."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.path.join(os.environ["LOAM_SOURCE_ROOT"], "test", "small")
GCC = "gcc"
GROW = {"LOAMDEBUG": "stackgrow=1"}

HELLO = """
#include <loam.h>
%s
static int run(int argc, char **argv) { (void)argv; return argc - 1; }
int main(int argc, char **argv) { return loam_run(run, argc, argv); }
"""
TEXT_OF_REFUSAL = "or build it with --stack=slots|or build with --stack=slots"


def source(name):
    return os.path.join(SOURCE, name)


class SmallTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, *words, good=True, **env):
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=self.folder,
                              env={**os.environ, **env}, stdin=subprocess.DEVNULL)
        if good:
            self.assertEqual(done.returncode, 0, "%s: %s%s" % (words, done.stdout, done.stderr))
        return done

    def build(self, out, *words, good=True, stack="small"):
        return self.command(TOOL, "build", "--cc=" + GCC, "--stack=" + stack, "-o",
                            self.path(out), *words, good=good)

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
        self.build("foreign", source("foreign.c"), "-lm")
        names = ["glob", "getaddrinfo", "printf", "qsort", "table", "dlsym", "address", "thread",
                 "longjmp", "signal", "library", "goexit", "backtrace"]
        for env in ({}, GROW):
            self.assertEqual(self.command(self.path("foreign"), **env).stdout.split("\n"),
                             names + [""])

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

    # ---- What is refused ---------------------------------------------------------------------------

    def refused(self, text, *words, what):
        with open(self.path("r.c"), "w", encoding="utf-8") as f:
            f.write(HELLO % text)
        done = self.build("r", self.path("r.c"), *words, good=False)
        self.assertEqual(done.returncode, 1, what)
        self.assertRegex(done.stderr, what)
        self.assertRegex(done.stderr, TEXT_OF_REFUSAL)
        self.assertFalse(os.path.exists(self.path("r")))

    def test_refused_code(self):
        for text, what in (
                ("#include <ucontext.h>\nucontext_t c; void f(void) { getcontext(&c); }",
                 "uses getcontext"),
                ("#include <unistd.h>\nint f(void) { return vfork(); }", "uses vfork"),
                ("void *b[5]; int f(void) { return __builtin_setjmp(b); }", "__builtin_setjmp"),
                ("__attribute__((no_split_stack)) void f(void) { }", "do not look"),
                ("void f(void *p) { __asm__ volatile(\"call *%0\" : : \"r\"(p)); }",
                 "f: calls or jumps through a pointer"),
                ("void (*g)(void); void f(void) { __asm__ volatile(\"jmp *g(%rip)\"); }",
                 "f: calls or jumps through a pointer"),
                ("__asm__(\".text\\n.globl f\\nf: ret\");", "f: is code of inline assembly"),
                ("int f(int k) { int in(int n) { return n + k; } int (*volatile p)(int) = in;"
                 " return p(1); }", "executable memory"),
                ("#include <setjmp.h>\nint (*f)(jmp_buf) = _setjmp;\n"
                 "int (*g(void))(jmp_buf) { return _setjmp; }", "address of _setjmp"),
                
                ("__attribute__((target_clones(\"avx2\", \"default\"))) int f(int n) { return n * 3; }",
                 "f.*: is chosen when the program starts"),
                ("int sigaction(void) { return 0; }", "sigaction: is defined"),
                ("#include <string.h>\nstruct large { char b[70000]; }; void g(struct large);"
                 "void f(struct large *l) { g(*l); }", "f: may pass 7.... bytes on the stack")):
            self.refused(text, what=what)

    def test_refused_flags(self):
        self.refused("", "--cflags=-flto", what="-flto leaves the code to the linker")
        self.refused("", "--cflags=-pg", what="-pg")
        self.refused("", "--cflags=-fsanitize=address", what="sanitizers")
        self.refused("", "--cflags=-m32", what="no gcc for x86-64")

    @unittest.skipUnless(shutil.which("clang-14"), "no clang")
    def test_refused_clang(self):
        self.refused("", "--cc=clang-14", what="is clang")

    def test_refused_archive(self):
        with open(self.path("a.c"), "w", encoding="utf-8") as f:
            f.write("int f(int n) { return n; }\n")
        self.command(GCC, "-fsplit-stack", "-c", "-o", self.path("a.o"), self.path("a.c"))
        self.command("ar", "rcs", self.path("a.a"), self.path("a.o"))
        done = self.build("r", source("faults.c"), self.path("a.a"), good=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("members compiled with -fsplit-stack", done.stderr)


if __name__ == "__main__":
    unittest.main()
