#!/usr/bin/env python3
"""Tests tools/testrun.py with small shell programs in the place of tests."""

import os
import subprocess
import sys
import time
import unittest

TESTRUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testrun.py")


def run(*args, env=None):
    environment = {k: v for k, v in os.environ.items() if k != "LOAMDEBUG"}
    return subprocess.run([sys.executable, TESTRUN, *args], env={**environment, **(env or {})},
                          capture_output=True, text=True, timeout=60)


class TestRun(unittest.TestCase):
    def test_passes_status_and_output_through(self):
        done = run("--", "sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "out\n", "err\n"))

    def test_reports_signals(self):
        done = run("--", "sh", "-c", "kill -SEGV $$")
        self.assertEqual(done.returncode, 128 + 11)
        self.assertIn("SIGSEGV", done.stderr)

    def test_expected_status(self):
        self.assertEqual(run("--exit", "2", "--", "sh", "-c", "exit 2").returncode, 0)
        self.assertNotEqual(run("--exit", "2", "--", "true").returncode, 0)

    def test_timeout_asks_for_a_dump(self):
        done = run("--timeout", "0.5", "--", "sh", "-c",
                   "trap 'echo goroutine 1; exit 2' QUIT; while :; do sleep 0.1; done")
        self.assertEqual(done.returncode, 124)
        self.assertIn("goroutine 1", done.stdout)
        self.assertIn("goroutine dump above", done.stderr)

    def test_timeout_kills_what_does_not_answer(self):
        begin = time.monotonic()
        done = run("--timeout", "0.5", "--grace", "0.5", "--", "sh", "-c",
                   "trap '' QUIT; while :; do sleep 0.1; done")
        self.assertEqual(done.returncode, 124)
        self.assertIn("killed", done.stderr)
        self.assertLess(time.monotonic() - begin, 10)

    def test_seeds_name_the_failing_one(self):
        script = 'case $LOAMDEBUG in *dst=5) echo broken; exit 1;; esac'
        done = run("--seeds", "1..8", "--", "sh", "-c", script, env={"LOAMDEBUG": "a=1"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("broken", done.stdout)
        self.assertIn("seed 5 failed", done.stdout)
        self.assertIn("LOAMDEBUG=a=1,dst=5 sh -c", done.stdout)

    def test_seeds_pass(self):
        done = run("--seeds", "1..4", "--", "sh", "-c", 'test -n "$LOAMDEBUG"')
        self.assertEqual((done.returncode, done.stdout), (0, "4 runs passed\n"))

    def test_repeat(self):
        done = run("--repeat", "3", "--", "sh", "-c", "exit 4")
        self.assertEqual(done.returncode, 4)
        self.assertIn("of 3 failed: exit status 4", done.stdout)

    def test_leaves_no_process_behind(self):
        done = run("--", "sh", "-c", "sleep 100 & echo $!")
        time.sleep(0.1)
        try:
            with open("/proc/%d/stat" % int(done.stdout)) as stat:
                state = stat.read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            state = "gone"
        self.assertIn(state, ("gone", "Z"))  # Z: nobody has reaped the orphan yet


if __name__ == "__main__":
    unittest.main()
