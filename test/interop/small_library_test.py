#!/usr/bin/env python3
"""Programs with small stacks beside libraries that were not made for them: signal handlers and jumps of such,
what counts against the limit of a stack, and libunwind. The programs are in test/small."""

import unittest

from small import GCC, GROW, Small, source


class SmallLibraryTest(Small):
    def library(self, *words):
        self.command(GCC, "-O2", "-D_FORTIFY_SOURCE=2", *words, source("library.c"))

    def right(self, *words):
        for env in ({}, GROW):
            self.assertEqual(self.command(self.path("libraries"), *words, **env).stdout.split(),
                             ["signals", "altstack", "flags", "longjmp", "builtin", "cleanup"])

    def test_shared_library(self):
        self.library("-fPIC", "-shared", "-o", self.path("liblibrary.so"))
        self.build("libraries", "-DLINKED", source("libraries.c"), "-L" + self.folder, "-llibrary",
                   "--ldflags=-Wl,-rpath," + self.folder)
        self.right()

    def test_opened_library(self):
        self.library("-fPIC", "-shared", "-o", self.path("library.so"))
        self.build("libraries", source("libraries.c"))
        self.right(self.path("library.so"))
        done = self.command(self.path("libraries"), self.path("library.so"), "elsewhere", good=False)
        self.assertEqual(done.stdout, "")
        self.assertIn("fatal error: foreign code runs the program on a stack of its own\n", done.stderr)

        done = self.command(self.path("libraries"), self.path("library.so"), "overflow", good=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("fatal error: stack overflow\n", done.stderr)

    def test_archive(self):
        self.library("-c", "-o", self.path("library.o"))
        self.command("ar", "rcs", self.path("library.a"), self.path("library.o"))
        self.build("libraries", "-O0", "-DLINKED", source("libraries.c"), self.path("library.a"))
        self.right()
        self.build("libraries", "-DLINKED", "--ldflags=-static", source("libraries.c"),
                   self.path("library.a"))
        self.right()

    def test_recursion_through_foreign_code(self):
        self.build("limits", source("limits.c"))
        done = self.command(self.path("limits"), "foreign", good=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("runtime: goroutine stack exceeds 67108864-byte limit\n", done.stderr)
        self.assertRegex(done.stderr, r"\ngoroutine \d+ \[running\]:\nrecurse\(\.\.\.\)\n"
                                      r"\t\S*/limits\.c:13 ")

    def test_memory_of_alloca(self):
        for level in ("-O0", "-O2", "-Os"):
            self.build("limits", level, source("limits.c"))
            for env in ({}, GROW):
                self.assertEqual(self.command(self.path("limits"), "freed", **env).stdout, "ok\n")

    def test_tail_calls(self):
        self.build("limits", source("limits.c"))
        for env in ({}, GROW):
            self.assertEqual(self.command(self.path("limits"), "tails", **env).stdout, "ok\n")
        self.build("limits", "-O0", source("limits.c"))  # where they are calls
        done = self.command(self.path("limits"), "tails", good=False)
        self.assertIn("runtime: goroutine stack exceeds 1048576-byte limit\n", done.stderr)

    def test_libunwind(self):
        self.command(GCC, "-O2", "-DFOREIGN", "-c", "-o", self.path("walk.o"), source("unwind.c"))
        for level in ("-O0", "-O2"):
            self.build("unwind", level, source("unwind.c"), self.path("walk.o"), "-lunwind")
            for env in ({}, GROW):
                self.assertEqual(self.command(self.path("unwind"), **env).stdout,
                                 "122 of 122 frames\n")


if __name__ == "__main__":
    unittest.main()
