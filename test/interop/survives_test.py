#!/usr/bin/env python3
"""errno, __thread variables and locks of FILEs across all public functions: survives.c, compiled at
-O2 by both compilers, whose optimisers keep different things across a call."""

import glob
import os
import re
import shutil
import subprocess
import unittest

from evidence import SOURCE
from evidence_run import PATIENCE, Scratch, environment

BUILD = os.environ["LOAM_BUILD_ROOT"]
PROGRAM = os.path.join(SOURCE, "test/interop/survives.c")

# What it does not call between two looks, and why. The rest of the headers it must call.
LEFT_OUT = {
    "start and stop, where no goroutine is": "loam_start_version loam_stop loam_run_version",
    "they do not return": "loam_goexit loam_panic",
    "paths of others": "loam_mutex_lock_slow loam_mutex_unlock_slow loam_rwmutex_rlock_slow "
                       "loam_rwmutex_runlock_slow loam_waitgroup_add_slow loam_once_do_slow",
    "called for what others are called on": "loam_chan_new loam_chan_new_or_panic loam_chan_delete "
                                           "loam_objpool_new loam_objpool_free loam_pool_new "
                                           "loam_pool_free loam_local_key_new loam_local_key_free",
    "they keep the goroutine where it is": "loam_lock_os_thread loam_unlock_os_thread",
    "the subject itself": "loam_errno_location",
}
# Macros over functions, and the rows of survives.c that stand for them.
ROWS = {"loam_recv_ok", "loam_select_default", "loam_mutex_lock", "loam_mutex_unlock",
        "loam_rwmutex_rlock", "loam_rwmutex_runlock", "loam_waitgroup_add", "loam_once_do"}


def public_functions():
    found = set()
    for path in glob.glob(os.path.join(SOURCE, "include", "**", "*.h"), recursive=True):
        with open(path, encoding="utf-8") as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        # The last word before the first parenthesis; a channel's type has some of its own.
        for declaration in re.findall(r"LOAM_API\s+([^;{]+?);", text):
            declaration = re.sub(r"loam_chan\(\w+\)|__attribute__\(.*", "", declaration)
            found.add(re.search(r"\b(loam_\w+)\(", declaration)[1])
    return found


class Test(unittest.TestCase):
    def setUp(self):
        self.scratch = Scratch(self)

    def compile(self, compiler, *link):
        if not shutil.which(compiler):
            self.skipTest(f"no {compiler} on PATH")
        program = self.scratch.file("survives")
        done = subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra",
                               "-Werror", "-I", os.path.join(SOURCE, "include"), "-o", program,
                               PROGRAM, *link, "-lpthread"], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return program

    def check(self, program):
        """Returns how often each function moved its goroutine."""
        path = self.scratch.file("lines")
        done = subprocess.run([program, path], capture_output=True, text=True, check=False,
                              timeout=PATIENCE, stdin=subprocess.DEVNULL,
                              env=environment(LD_LIBRARY_PATH=BUILD))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        size, *rows = done.stdout.splitlines()
        with open(path, encoding="ascii") as f:
            text = f.read()
        # What several threads wrote into one FILE is there, in whole lines.
        self.assertEqual(len(text), int(size))
        for line in text.splitlines():
            self.assertRegex(line, r"\A(\d+) loam_\w+ \1\.\Z")
        return [(name, int(n)) for name, n in (row.split() for row in rows)]

    def test_gcc(self):
        self.check(self.compile("gcc", os.path.join(BUILD, "libloam.a")))

    def test_clang(self):
        self.check(self.compile("clang-14", os.path.join(BUILD, "libloam.a")))

    def test_shared(self):
        moved = self.check(self.compile("gcc", "-L", BUILD, "-lloam"))
        left_out = {name for names in LEFT_OUT.values() for name in names.split()}
        self.assertEqual({name for name, _ in moved} - ROWS, public_functions() - left_out)


if __name__ == "__main__":
    unittest.main()
