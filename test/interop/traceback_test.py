#!/usr/bin/env python3
"""Tracebacks of programs that `loam run` and `loam build` make name functions and lines, in Go's
form, whatever becomes of the program's debug information."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

TOOL = os.environ["LOAM_TOOL"]
VARIANT = os.environ.get("LOAM_VARIANT", "release")
PATIENCE = 30

PROGRAM = """\
#include <loam.h>
#include <stdio.h>
static inline __attribute__((always_inline)) void innermost(int n)
{
    if (n > 0)
        loam_panic("n is %d", n); /* line 6 */
}
static inline __attribute__((always_inline)) void middle(int n)
{
    innermost(n); /* line 10 */
    __asm__ volatile("");
}
__attribute__((noinline)) static void outer(int n)
{
    middle(n); /* line 15 */
    __asm__ volatile("");
}
static void sleeper(void *arg)
{
    loam_sleep(INT64_C(3600) * 1000000000); /* line 20 */
    __asm__ volatile("" : : "r"(arg));
}
static int program(int argc, char **argv)
{
    (void)argv;
    loam_go(sleeper, NULL); /* line 26 */
    loam_sleep(10000000);
    if (argc > 1)
        outer(argc);
    puts("ready");
    fflush(stdout);
    loam_sleep(INT64_C(3600) * 1000000000); /* line 32 */
    return 0;
}
int main(int argc, char **argv)
{
    return loam_run(program, argc, argv);
}
"""

# A module that comes by dlopen and has no symbols but the exported one.
MODULE = """\
__attribute__((noinline)) static void nameless(void (*dump)(int))
{
    dump(2);
    __asm__ volatile("");
}
void (*volatile indirect)(void (*)(int)) = nameless;
void in_module(void (*dump)(int))
{
    indirect(dump);
    __asm__ volatile("");
}
"""

LOADER = """\
#include <dlfcn.h>
#include <loam.h>
static int program(int argc, char **argv)
{
    void *module = dlopen(argv[argc - 1], RTLD_NOW);
    void (*fn)(void (*)(int)) = (void (*)(void (*)(int)))dlsym(module, "in_module");
    fn(loam_dump_goroutines);
    return 0;
}
int main(int argc, char **argv)
{
    return loam_run(program, argc, argv);
}
"""

# Goroutines without a frame of the program: one that has not run yet, one whose last call was a jump.
FRAMELESS = """\
#include <loam.h>
static struct loam_mutex mutex;
static void jumps(void *arg)
{
    loam_mutex_lock(arg);
}
static void fresh(void *arg)
{
    (void)arg;
}
static int program(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    loam_mutex_lock(&mutex);
    loam_go(jumps, &mutex); /* line 16 */
    loam_sleep(10000000);
    loam_go_with(&(struct loam_go_options){.name = "new"}, fresh, NULL);
    loam_go(fresh, NULL); /* line 19 */
    loam_dump_goroutines(2);
    return 0;
}
int main(int argc, char **argv)
{
    return loam_run(program, argc, argv);
}
"""

# Overflows its stack: by recursion, or by one frame that is larger than the guard.
OVERFLOW = """\
#include <loam.h>
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) static int deep(int n)
{
    volatile char frame[200];
    frame[n % 200] = 1;
    return n < 0 ? 0 : deep(n + 1) + frame[n % 200]; /* line 8 */
}
__attribute__((noinline)) static int wide(int n)
{
    volatile char frame[n];
    frame[0] = 1;
    return frame[0]; /* line 14 */
}
static volatile int result;
static void reader(void *arg)
{
    result = strcmp(arg, "deep") == 0 ? deep(0) : wide(20 << 20); /* line 19 */
}
static int program(int argc, char **argv)
{
    struct loam_go_options with = {.name = "reader", .stack_size = 1 << 20};
    loam_go_with(&with, reader, argv[argc - 1]); /* line 24 */
    loam_sleep(INT64_C(3600) * 1000000000);
    return 0;
}
int main(int argc, char **argv)
{
    return loam_run(program, argc, argv);
}
"""


class Test(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.source = os.path.join(os.path.realpath(self.dir.name), "prog.c")
        with open(self.source, "w", encoding="ascii") as f:
            f.write(PROGRAM)

    def frames(self, text):
        """[(function, "prog.c:LINE" or other place)] of all frames; checks their form."""
        found = re.findall(r"^(\S+)\(\.\.\.\)\n\t(.*):(\d+)( \+0x[0-9a-f]+)?$", text, re.M)
        return [(f, f"{os.path.basename(file)}:{line}") for f, file, line, _ in found]

    def check_panic(self, done):
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("panic: n is 2\n", done.stderr)
        self.assertIn("\ngoroutine 1 [running]:\n", done.stderr)
        frames = self.frames(done.stderr)
        wanted = [("innermost", "prog.c:6"), ("middle", "prog.c:10"), ("outer", "prog.c:15"),
                  ("program", "prog.c:29")]
        at = [frames.index(w) for w in wanted if w in frames]
        self.assertEqual(len(at), len(wanted), done.stderr)
        self.assertEqual(at, list(range(at[0], at[0] + len(wanted))), done.stderr)
        self.assertIn(f"\t{self.source}:29 +0x", done.stderr)
        # As in Go: an inlined function has no offset of its own.
        self.assertIn(f"innermost(...)\n\t{self.source}:6\n", done.stderr)
        self.assertIn(f"middle(...)\n\t{self.source}:10\n", done.stderr)
        self.assertIn(f"\t{self.source}:15 +0x", done.stderr)

    def run_program(self, *command):
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE,
                              check=False)

    def test_panic(self):
        self.check_panic(self.run_program(TOOL, "run", self.source, "x"))

    def test_panic_of_a_stripped_program(self):
        program = os.path.join(self.dir.name, "prog")
        built = self.run_program(TOOL, "build", "-o", program, self.source)
        self.assertEqual((built.returncode, built.stderr), (0, ""))
        subprocess.run(["strip", program], check=True)
        self.check_panic(self.run_program(program, "x"))

    def test_stack_overflow(self):
        with open(self.source, "w", encoding="ascii") as f:
            f.write(OVERFLOW)
        program = os.path.join(self.dir.name, "prog")
        built = self.run_program(TOOL, "build", "-o", program, self.source)
        self.assertEqual((built.returncode, built.stderr), (0, ""))
        for stripped in (False, True):
            if stripped:
                subprocess.run(["strip", program], check=True)
            for function, first, last in ("deep", 4, 8), ("wide", 10, 14):
                done = self.run_program(program, function)
                self.assertEqual(done.returncode, 2, done.stderr)
                report = re.fullmatch(
                    r"runtime: goroutine stack exceeds (\d+)-byte limit\n"
                    r"runtime: sp=0x[0-9a-f]+ stack=\[0x([0-9a-f]+), 0x([0-9a-f]+)\]\n"
                    r'runtime: goroutine \d+ "reader" in (\w+) \((\S+):(\d+)\)\n'
                    r"runtime: give it more by stack_size .*\nfatal error: stack overflow\n"
                    r"\n(goroutine .*)", done.stderr, re.S)
                self.assertTrue(report, done.stderr)
                limit, low, high = int(report[1]), int(report[2], 16), int(report[3], 16)
                self.assertEqual(limit, high - low)
                self.assertTrue(1 << 20 <= limit < 2 << 20, limit)
                self.assertEqual((report[4], report[5]), (function, self.source))
                self.assertTrue(first <= int(report[6]) <= last, report[6])
                # From the instruction that overflowed to the goroutine's function.
                frames = self.frames(report[7])
                self.assertEqual(frames[0], (function, f"prog.c:{report[6]}"), done.stderr)
                self.assertIn(("reader", "prog.c:19"), frames, done.stderr)
                self.assertRegex(done.stderr, r"\ncreated by program in goroutine 1\n\t\S+:24 ")
                elided = re.search(r"^\.\.\.(\d+) frames elided\.\.\.$", report[7], re.M)
                if function == "wide":
                    self.assertIsNone(elided, done.stderr)
                    continue
                self.assertGreater(int(elided[1]), 100)
                self.assertEqual(set(frames[1:99]), {("deep", "prog.c:8")}, done.stderr)

    def test_goroutines_without_frames(self):
        with open(self.source, "w", encoding="ascii") as f:
            f.write(FRAMELESS)
        # One processor: what is new waits for its turn. (Races are the matter of other tests.)
        done = subprocess.run([TOOL, "run", self.source], capture_output=True, text=True,
                              timeout=PATIENCE, check=False,
                              env=dict(os.environ, LOAMMAXPROCS="1", TSAN_OPTIONS="exitcode=0"))
        self.assertEqual(done.returncode, 0, done.stderr)
        # The mutex's own frames may stand above, in builds that make calls of jumps.
        self.assertRegex(done.stderr, r"goroutine \d+ \[sync.Mutex.Lock\]:\n(?:loam_.*\n\t.*\n)*"
                         r"jumps\(\.\.\.\)\n\t.*/prog\.c:\d+ \+0x[0-9a-f]+\n"
                         r"created by program in goroutine 1\n\t.*/prog\.c:16 ")
        if VARIANT == "torture":  # they have had their turn already, maybe
            return
        for header, line in (('"new" \\[runnable\\]', 18), (r"\[runnable\]", 19)):
            self.assertRegex(done.stderr, r"goroutine \d+ %s:\nfresh\(\.\.\.\)\n\t.*/prog\.c:\d+ \+0x0\n"
                             r"created by program in goroutine 1\n\t.*/prog\.c:%d " % (header, line))

    def test_module_loaded_later(self):
        module = os.path.join(os.path.realpath(self.dir.name), "module.so")
        for name, text in (("module.c", MODULE), ("prog.c", LOADER)):
            with open(os.path.join(self.dir.name, name), "w", encoding="ascii") as f:
                f.write(text)
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-fno-omit-frame-pointer", "-s", "-o",
                        module, os.path.join(self.dir.name, "module.c")], check=True)
        done = self.run_program(TOOL, "run", self.source, module)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"\n\?\(\.\.\.\)\n\t%s \+0x[0-9a-f]+\n"
                         r"in_module\(\.\.\.\)\n\t%s \+0x[0-9a-f]+\n"
                         r"program\(\.\.\.\)\n\t%s:7 \+0x" % (
                             (re.escape(module),) * 2 + (re.escape(self.source),)))

    @unittest.skipIf(VARIANT == "tsan", "ThreadSanitizer keeps a signal back until the thread makes "
                     "a call that it intercepts, and idle threads of the runtime make none")
    def test_sigquit(self):
        with subprocess.Popen([TOOL, "run", self.source], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE) as child:
            self.assertEqual(child.stdout.readline(), "ready\n")
            time.sleep(0.2)  # out of write, where libc's missing frame pointers hide the caller
            child.send_signal(signal.SIGQUIT)
            try:
                _, text = child.communicate(timeout=PATIENCE)
            finally:
                child.kill()
        self.assertEqual(child.returncode, 2, text)
        frames = self.frames(text)
        self.assertIn(("program", "prog.c:32"), frames, text)
        self.assertIn(("sleeper", "prog.c:20"), frames, text)
        self.assertRegex(text, r"goroutine \d+ \[sleep\]:")
        self.assertLess(text.index("\ngoroutine 1 ["), text.index("created by"), text)
        self.assertRegex(text, r"created by program in goroutine 1\n\t.*/prog\.c:26 \+0x")


if __name__ == "__main__":
    unittest.main()
