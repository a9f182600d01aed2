#!/usr/bin/env python3
"""What `loam build --stack=small` refuses: code, flags and ways to link that nothing could guard, each with what to
do instead."""

import os
import shutil
import unittest

from small import GCC, Small, source

HELLO = """
#include <loam.h>
%s
static int run(int argc, char **argv) { (void)argv; return argc - 1; }
int main(int argc, char **argv) { return loam_run(run, argc, argv); }
"""
TEXT_OF_REFUSAL = "or build it with --stack=slots|or build with --stack=slots"


class SmallRefusedTest(Small):
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
        self.refused("", "--sanitize=undefined", what="sanitizers")

    def test_refused_links(self):
        self.refused("", "--ldflags=-Wl,-z,lazy", what="binds calls when they are made first")
        with open(self.path("hide"), "w", encoding="utf-8") as f:
            f.write("{ local: *; };\n")
        self.refused("", "--ldflags=-Wl,--version-script=" + self.path("hide"),
                     what="does not export sigaction")

    @unittest.skipUnless(shutil.which("clang-14"), "no clang")
    def test_refused_clang(self):
        self.refused("", "--cc=clang-14", what="is clang")

    def test_refused_object(self):
        with open(self.path("o.c"), "w", encoding="utf-8") as f:
            f.write("int g(int); int f(int n) { return g(n) + g(n + 1); }\n")
        for flags, what in ((["-fomit-frame-pointer"], "f: calls others and keeps no frame pointer"),
                            (["-fno-split-stack"], None)):
            self.command(GCC, "-O2", "-fsplit-stack", "-mindirect-branch=thunk-extern", *flags, "-c",
                         "-o", self.path("o.o"), self.path("o.c"))
            with open(self.path("r.c"), "w", encoding="utf-8") as f:
                f.write(HELLO % "int g(int n) { return n; }")
            done = self.build("r", self.path("r.c"), self.path("o.o"), good=what is None)
            if what is not None:
                self.assertIn(what, done.stderr)

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
