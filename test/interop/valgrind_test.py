#!/usr/bin/env python3
"""Valgrind finds no error and no leak in programs on goroutines, and knows their stacks: it would
warn of a switch between stacks that nobody has registered."""

import os
import shutil
import subprocess
import sys
import unittest

from evidence import SOURCE
from evidence_run import PATIENCE, Scratch, environment, example

FAILED = 9


def valgrind(*command, **settings):
    return subprocess.run(["valgrind", "--leak-check=full", "--show-leak-kinds=all",
                           "--errors-for-leak-kinds=all", "--fair-sched=try",
                           f"--error-exitcode={FAILED}", *command], capture_output=True, text=True,
                          timeout=PATIENCE, check=False, env=environment(**settings))


class Test(unittest.TestCase):
    def clean(self, out, *command):
        for procs in ("1", "2"):
            done = valgrind(*command, LOAMMAXPROCS=procs)
            self.assertEqual((done.returncode, done.stdout), (0, out), done.stderr)
            self.assertIn("All heap blocks were freed", done.stderr)
            self.assertIn("ERROR SUMMARY: 0 errors from 0 contexts", done.stderr)
            self.assertNotIn("switching stacks", done.stderr)
            self.assertNotIn("Warning", done.stderr)

    def test_hello(self):
        self.clean("1\n4\n9\n", example("hello"))

    def test_restarts(self):
        source = os.path.join(SOURCE, "test/interop/restarts.c")
        self.clean("done\n", Scratch(self).build("restarts", source))

    def test_it_would_find(self):
        """A leak and an invalid read on a goroutine are found: the others pass for a reason."""
        scratch = Scratch(self)
        source = scratch.file("bad.c")
        with open(source, "w", encoding="ascii") as f:
            f.write("#include <loam.h>\n#include <stdlib.h>\n"
                    "static int bad(int argc, char **argv)\n{\n"
                    "    volatile char *volatile p = malloc(8);\n    (void)argv;\n    loam_yield();\n"
                    "    if (argc > 1)\n        p[0] = p[8];\n    p = NULL;\n    return 0;\n}\n"
                    "int main(int argc, char **argv)\n{\n    return loam_run(bad, argc, argv);\n}\n")
        program = scratch.build("bad", source)
        done = valgrind(program)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("definitely lost: 8 bytes in 1 blocks", done.stderr)
        self.assertNotIn("Invalid read", done.stderr)
        self.assertIn("Invalid read of size 1", valgrind(program, "x").stderr)


if __name__ == "__main__":
    if not shutil.which("valgrind"):
        print("valgrind is not on PATH", file=sys.stderr)
        sys.exit(77)
    unittest.main()
