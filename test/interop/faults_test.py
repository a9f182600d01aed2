#!/usr/bin/env python3
"""Sanitizers see goroutines as they see threads: planted faults of faults.c are reported, with the
stacks of the goroutines; correct programs are not."""

import os
import re
import unittest

from evidence import SOURCE
from evidence_run import VARIANT, Scratch, run

# Each race and the two functions that take part in it.
RACES = {"race": ("left_writes", "right_writes"), "race_busy": ("left_busy", "right_busy"),
         "race_early": ("sends_early", "receives_early")}
# What AddressSanitizer calls it, and where it happens.
MEMORY = {"stack": ("stack-buffer-overflow", "overflows_stack"),
          "heap": ("heap-buffer-overflow", "overflows_heap"),
          "free": ("heap-use-after-free", "uses_after_free"),
          "return": ("stack-use-after-return", "uses_after_return")}
# The second function that a report has to name: who freed it, whose local it was.
ALSO = {"free": ("freed by", "frees"), "return": ("is located in stack of", "address_of_local")}


def stack_after(text, line):
    """The functions of the stack that follows a line."""
    found = re.search(line + r".*\n((?:\s+#\d+ .*\n)+)", text)
    return re.findall(r"#\d+ (?:0x[0-9a-f]+ in )?(\S+)", found[1]) if found else []


class Test(unittest.TestCase):
    def setUp(self):
        self.program = Scratch(self).build("faults", os.path.join(SOURCE, "test/interop/faults.c"))

    def clean(self, name, **settings):
        for procs in ("1", "2", "4"):
            done = run(self.program, name, LOAMMAXPROCS=procs, **settings)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "done\n", ""))

    @unittest.skipIf(VARIANT != "tsan", "needs ThreadSanitizer")
    def test_races(self):
        for name, functions in RACES.items():
            for procs in ("1", "2"):
                done = run(self.program, name, LOAMMAXPROCS=procs, TSAN_OPTIONS="exitcode=66")
                text = f"{name} at GOMAXPROCS={procs}:\n{done.stderr}"
                self.assertEqual(done.returncode, 66, text)
                self.assertEqual(text.count("WARNING: ThreadSanitizer: data race "), 1, text)
                last = stack_after(text, r"  (?:Read|Write) of size 4 at 0x\w+ by ")
                previous = stack_after(text, "  Previous write of size 4 at ")
                self.assertEqual({*last[:1], *previous[:1]}, set(functions), text)
                for stack in (last, previous):  # down to where a goroutine begins
                    self.assertIn("goroutine_entry", stack, text)
                self.assertIn("Location is global 'shared'", text)
                # Where each was created.
                self.assertEqual(len(re.findall(r"  Thread T\d+ .* created by ", text)), 2, text)
                self.assertIn(name, stack_after(text, r"  Thread T\d+ .* created by "), text)

    @unittest.skipIf(VARIANT != "asan", "needs AddressSanitizer")
    def test_memory(self):
        for name, (kind, function) in MEMORY.items():
            for procs in ("1", "2"):
                done = run(self.program, name, LOAMMAXPROCS=procs,
                           ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1:exitcode=67")
                text = f"{name} at GOMAXPROCS={procs}:\n{done.stderr}"
                self.assertEqual(done.returncode, 67, text)
                self.assertIn(f"ERROR: AddressSanitizer: {kind} on address", text)
                self.assertEqual(stack_after(text, "WRITE of size [14] at ")[0], function, text)
                if name in ALSO:
                    line, other = ALSO[name]
                    self.assertIn(other, stack_after(text, line), text)

    @unittest.skipIf(VARIANT != "asan", "needs AddressSanitizer")
    def test_clean_memory(self):
        for after_return in "01":
            options = f"detect_leaks=0:detect_stack_use_after_return={after_return}"
            for name in ("deep_clean", "clean", "dead_clean"):
                self.clean(name, ASAN_OPTIONS=options)

    @unittest.skipIf(VARIANT != "tsan", "needs ThreadSanitizer")
    def test_clean_order(self):
        for name in ("clean", "deep_clean"):
            self.clean(name)


if __name__ == "__main__":
    unittest.main()
