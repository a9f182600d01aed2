#!/usr/bin/env python3
"""Modules and their notes: `loam build --migratable`, shared objects that are opened while the runtime runs,
notes that are wrong; tracebacks of goroutines whose context was copied, ours and gdb's. The programs are in
test/modules."""

import os
import re
import shutil
import subprocess
import unittest

from folder import Folder

TOOL = os.environ["LOAM_TOOL"]
CC = os.environ.get("CC", "cc").split()
ROOT = os.environ["LOAM_SOURCE_ROOT"]
VARIANT = os.environ.get("LOAM_VARIANT", "release")
SOURCE = os.path.join(ROOT, "test", "modules")

# What a note is made of; each case changes one thing.
NOTE = {"type": 1, "desc": 80, "version": 1, "size": 80, "flags": 0, "lo": "1b - .",
        "hi": "2b - .", "rest": ".quad 0, 0, 0, 0, 0, 0"}
CODE = """
__asm__(".text\\n.globl spin\\nspin:\\n1: movl (%%rdi), %%eax\\ntestl %%eax, %%eax\\nje spin\\nret\\n2:\\n"
        ".section .note.loam,\\"a\\",@note\\n.balign 4\\n.long 5, %(desc)s, %(type)s\\n.asciz \\"Loam\\"\\n"
        ".balign 4\\n.long %(version)s, %(size)s, %(flags)s, 0\\n.quad %(lo)s\\n.quad %(hi)s\\n%(rest)s\\n"
        ".text\\n");
"""
WRONG = [({"desc": 32, "rest": ""}, "it is too short"),
         ({"desc": 4000}, "it is too short"),  # and cut off
         ({"version": 2}, "it is of another version"),
         ({"size": 8}, "its size is wrong"),
         ({"size": 96}, "its size is wrong"),
         ({"flags": 6}, "it has unknown flags"),
         ({"hi": "1b - ."}, None),  # an empty range: nothing is wrong, nothing is registered
         ({"lo": "2b - .", "hi": "1b - ."}, "a range of it is not in the module's code"),
         ({"hi": "0x7fffffff"}, "a range of it is not in the module's code"),
         ({"hi": "0"}, "a range of it is not in the module's code"),
         ({"type": 9}, None)]  # not ours


class ModulesTest(Folder):
    limit = 50

    def build(self, name, *words):
        self.command(TOOL, "build", "--cc=" + " ".join(CC), "-o", self.path(name), *words)
        return self.path(name)

    def host(self):
        return self.build("host", os.path.join(SOURCE, "host.c"), "-ldl")

    def module(self, name, *words):
        self.command(*CC, "-O2", "-shared", "-fPIC", "-I" + os.path.join(ROOT, "include"), "-o",
                     self.path(name), *words)
        return self.path(name)

    def good(self, name, flags):
        return self.module(name, "-DFLAGS=%d" % flags, os.path.join(SOURCE, "module.c"))

    # ---- Shared objects --------------------------------------------------------------------------

    def test_found(self):
        host = self.host()
        done = self.command(host, "copied", self.good("m.so", 1), GOMAXPROCS="2")
        self.assertEqual(done.stderr, "")
        self.command(host, "held", self.good("h.so", 0))
        self.assertEqual(self.command(host, "kept", self.good("k.so", 0)).stdout, "kept\n")

    def test_constructor(self):
        """One that looks for modules while another does does not wait for that one, which waits for it."""
        host = self.build("host", os.path.join(SOURCE, "host.c"), "--ldflags=-rdynamic", "-ldl")
        module = self.module("m.so", "-DFLAGS=0", "-DLOOKS", os.path.join(SOURCE, "module.c"), "-pthread")
        self.assertEqual(self.command(host, "kept", module).stdout, "kept\n")

    def test_not_preempted(self):
        host = self.host()
        for flags in (0, 1):
            done = self.command(host, "alone", self.good("m%d.so" % flags, flags), GOMAXPROCS="1")
            self.assertEqual(done.stdout, "0\n")

    def test_wrong_notes(self):
        modules, expected = [], []
        for i, (change, message) in enumerate(WRONG):
            with open(self.path("w%d.c" % i), "w", encoding="utf-8") as f:
                f.write(CODE % {**NOTE, **change})
            modules.append(self.module("w%d.so" % i, self.path("w%d.c" % i)))
            if message is not None:
                expected.append("loam: the module note of %s is ignored: %s" % (modules[-1], message))
        with open(self.path("t.c"), "w", encoding="utf-8") as f:
            f.write(CODE % {**NOTE, "flags": 1})
        modules.append(self.module("t.so", self.path("t.c"), "-Wl,--no-eh-frame-hdr"))
        expected.append("loam: the module note of %s is ignored: the module is migratable, and has no "
                        "table .eh_frame_hdr" % modules[-1])
        done = self.command(self.host(), "held", *modules)
        self.assertEqual(done.stderr.splitlines(), expected)

    # ---- loam build --migratable -----------------------------------------------------------------

    def test_build(self):
        loops = os.path.join(SOURCE, "loops.c")
        for words in ([], ["-O0"], ["--ldflags=-static"], ["--cflags=-fno-pie", "--ldflags=-no-pie"],
                      ["--cflags=-ffunction-sections", "--ldflags=-Wl,--gc-sections"]):
            program = self.build("loops", "--migratable", loops, *words)
            self.assertEqual(self.command(program).stdout, "copied 0\n", words)
        self.assertEqual(self.command(self.build("loops", loops)).stdout, "held 0\n")

    @unittest.skipUnless("gcc" in CC[0], "small stacks need gcc")
    def test_small_stacks(self):
        """What does not fit is held."""
        program = self.build("loops", "--migratable", "--stack=small", os.path.join(SOURCE, "loops.c"))
        self.assertRegex(self.command(program).stdout, r"^(copied|held) 0\n$")

    def refused(self, text, what, *words):
        with open(self.path("r.c"), "w", encoding="utf-8") as f:
            f.write("#include <loam.h>\n%s\nint main(void) { return 0; }\n" % text)
        done = self.command(TOOL, "build", "--migratable", *words, "-o", self.path("r"),
                            self.path("r.c"), status=1)
        self.assertRegex(done.stderr, what)
        self.assertFalse(os.path.exists(self.path("r")))

    def test_refused(self):
        self.refused("static __thread int x; int f(void) { return ++x; }",
                     r"r\.c: f uses the thread-local \S+, which belongs to a thread")
        self.refused("int g(void) { return errno; }", r"r\.c: g uses errno")
        if "gcc" in CC[0]:
            own = '__thread volatile long n; __attribute__((section("hot"))) void h(void) { for (;;) n++; }'
            self.refused(own, r"r\.c: h uses the thread-local", "--stack=small")
        self.refused("", "-flto leaves the code to the linker", "--cflags=-flto")

    # ---- Tracebacks --------------------------------------------------------------------------------

    @unittest.skipUnless(VARIANT == "release", "the frames are those of a build without checks")
    def test_dump(self):
        text = self.command(self.build("loops", "--migratable", "-O0", os.path.join(SOURCE, "loops.c")),
                            "dump", GOMAXPROCS="2").stdout
        found = re.findall(r"\[runnable\]:\ninner\(\.\.\.\)\n\t\S*/loops\.c:1[34] \+0x\w+\n"
                           r"loop\(\.\.\.\)\n\t\S*/loops\.c:19 \+0x\w+\ncreated by run", text)
        self.assertGreater(len(found), 1, text)
        self.assertNotIn("preempt", text)

    @unittest.skipUnless(shutil.which("gdb"), "no gdb")
    def test_gdb(self):
        program = self.build("loops", "--migratable", "-O0", os.path.join(SOURCE, "loops.c"))
        done = self.command("gdb", "-q", "-batch", "-nx", "-ex", "set confirm off", "-ex",
                            "set debuginfod enabled off", "-ex", "handle SIGURG nostop noprint pass",
                            "-ex", "break preempt_copied", "-ex", "run", "-ex", "bt", program)
        self.assertRegex(done.stdout, r"#\d+  <signal handler called>\n"
                         r"#\d+  (0x\w+ in )?inner \(\) at \S*loops\.c:1[34]\n"
                         r"#\d+  0x\w+ in loop \(arg=[^#]*loops\.c:19\n"
                         r"#\d+  0x\w+ in goroutine_entry \(\)", done.stdout)


if __name__ == "__main__":
    unittest.main()
