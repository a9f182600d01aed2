#!/usr/bin/env python3
"""The table that `loam build` and `loam pcln` add: against addr2line and nm, and on strange files."""

import os
import random
import re
import shutil
import subprocess
import tempfile
import unittest

from pcln_table import Elf, Table

TOOL = os.environ["LOAM_TOOL"]
BUILD = os.environ["LOAM_BUILD_ROOT"]
CC = os.environ.get("CC", "cc").split()
CLANG = "clang" in subprocess.run([*CC, "--version"], capture_output=True, text=True,
                                  check=True).stdout
SEEDS = 60

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include "inner.h"
__attribute__((noinline)) static int worker(int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += middle(i); /* line 8 */
    return sum;
}
static int before_main(int n)
{
#include "body.h"
    return n;
}
__attribute__((noinline, cold)) void unlikely_end(void)
{
    puts("cold");
    exit(3);
}
int main(int argc, char **argv)
{
    if (argc > 3)
        unlikely_end();
    printf("%d %d %s\\n", worker(argc), before_main(argc), argv[0] ? "" : "no name");
    return 0;
}
"""
INNER = """\
volatile int store;
static inline __attribute__((always_inline)) int innermost(int x)
{
    store = x; /* line 4 */
    return store * 2;
}
static inline __attribute__((always_inline)) int middle(int x)
{
    return innermost(x) + 1; /* line 9 */
}
"""
BODY = "    store += n; /* line 1 of body.h */\n"


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


class Test(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        return self.path(name)

    def make(self, *flags, name="prog"):
        self.write("inner.h", INNER)
        self.write("body.h", BODY)
        source = self.write("main.c", MAIN)
        subprocess.run([*CC, "-O2", "-g", "-Wl,--build-id", *flags, "-o", self.path(name), source],
                       check=True, cwd=self.dir.name)
        return self.path(name)

    def add(self, path):
        done = run(TOOL, "pcln", path)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def starts(self, path):
        """Addresses of all functions with a size."""
        listing = run("nm", "-S", "--defined-only", path).stdout
        return sorted({int(w[0], 16) for w in map(str.split, listing.splitlines())
                       if len(w) == 4 and w[2] in "tTwW" and int(w[1], 16) > 0})

    def compare_with_addr2line(self, path, addresses):
        """Functions, files and lines, inlined ones too, as binutils' addr2line says them."""
        table = Table(path)
        said = subprocess.run(["addr2line", "-e", path, "-f", "-i", "-a"], capture_output=True,
                              text=True, timeout=120, check=True,
                              input="".join(f"{a:#x}\n" for a in addresses)).stdout
        by_address = {}
        for line in said.splitlines():
            if re.match("0x[0-9a-f]+$", line):
                here = by_address.setdefault(int(line, 16), [])
            else:
                here.append(line)
        compared = 0
        for address in addresses:
            words = by_address[address]
            theirs = []
            for function, place in zip(words[::2], words[1::2]):
                file, line = re.sub(r" \(discriminator \d+\)$", "", place).rsplit(":", 1)
                theirs.append((function, os.path.normpath(file), line))
            ours = [(f, os.path.normpath(file) if file else "??", str(line) if line else "?")
                    for f, file, line in table.frames(address)[0]]
            if theirs[0][2] in ("?", "0"):
                # No line: a file without debug information, or code of no line in particular, for
                # which we name the line before.
                continue
            if CLANG:  # binutils 2.40 does not read clang's ranges of inlined functions
                ours = [(theirs[0][0], *ours[0][1:])]
                theirs = theirs[:1]
            if ours != theirs and ours[0][1].endswith(".h"):
                # binutils 2.40 at times names the unit's file for a function from a header; the
                # line table itself says the header.
                theirs = [(theirs[0][0], ours[0][1], theirs[0][2])] + theirs[1:]
            self.assertEqual(ours, theirs, hex(address))
            compared += 1
        return compared

    # ---- Right answers ---------------------------------------------------------------------------

    def test_function_starts_of_the_tool(self):
        copy = self.path("tool")
        shutil.copy(TOOL, copy)
        self.add(copy)
        self.assertGreater(self.compare_with_addr2line(copy, self.starts(copy)), 60)

    def test_function_starts_of_the_shared_library(self):
        copy = self.path("libloam.so")
        shutil.copy(os.path.join(BUILD, "libloam.so"), copy)
        self.add(copy)
        self.assertGreater(self.compare_with_addr2line(copy, self.starts(copy)), 50)

    def test_every_row(self):
        program = self.make()
        self.add(program)
        table = Table(program)
        addresses = sorted({table.start + pc for pc in table.pcs if table.frames(
            table.start + pc)[0]})
        self.assertGreater(self.compare_with_addr2line(program, addresses), 15)

    def chains(self, program):
        """All (function, file, line) from the innermost outwards."""
        table = Table(program)
        return {tuple((f, os.path.basename(file), line)
                      for f, file, line in table.frames(table.start + pc)[0])
                for pc in table.pcs}

    def test_inlined_functions(self):
        program = self.make()
        self.add(program)
        chains = self.chains(program)
        self.assertIn((("innermost", "inner.h", 4), ("middle", "inner.h", 9),
                       ("worker", "main.c", 8)), chains)
        # a function's text in a file of its own
        self.assertTrue(any(("before_main", "body.h", 1) == c[0] for c in chains if c), chains)

    def test_forms_of_debug_information(self):
        forms = [["-gdwarf-4"], ["-gdwarf-5"], ["-gz"], ["-gsplit-dwarf"], ["-g1"], ["-g3"],
                 ["-O1"], ["-Os"], ["-static"], ["-no-pie", "-fno-pie"]]
        if not CLANG:  # clang's needs a plugin that it does not bring along
            forms.append(["-flto"])
        for flags in forms:
            program = self.make(*flags)
            self.add(program)
            self.assertIn((("innermost", "inner.h", 4), ("middle", "inner.h", 9),
                           ("worker", "main.c", 8)), self.chains(program), flags)

    def test_offsets(self):
        program = self.make()
        self.add(program)
        table = Table(program)
        starts = self.starts(program)
        for start in starts:
            frames, offset = table.frames(start)
            if frames:
                self.assertEqual(offset, 0, hex(start))

    def test_paths_are_tidied(self):
        os.mkdir(self.path("sub"))
        self.write("inner.h", INNER)
        self.write("body.h", BODY)
        self.write("main.c", MAIN)
        subprocess.run([*CC, "-g", "-I..", "-o", "prog", ".././sub/../main.c"], check=True,
                       cwd=self.path("sub"))
        self.add(self.path("sub/prog"))
        table = Table(self.path("sub/prog"))
        files = {file for pc in table.pcs for _, file, _ in table.frames(table.start + pc)[0]}
        self.assertIn(os.path.realpath(self.path("main.c")), files)
        self.assertFalse([f for f in files if "/../" in f or "/./" in f])

    def test_code_that_the_linker_dropped(self):
        self.write("inner.h", INNER)
        source = self.write("drop.c", '#include "inner.h"\n' + "".join(
            f"int unused{i}(int x) {{ return x * {i} + middle(x) / {i + 1}; }}\n"
            for i in range(400)) + "int main(void) { return middle(0) - 1; }\n")
        program = self.path("prog")
        subprocess.run([*CC, "-O1", "-g", "-ffunction-sections", "-Wl,--gc-sections", "-o", program,
                        source], check=True)
        self.add(program)
        table = Table(program)
        names = {f for pc in table.pcs for f, _, _ in table.frames(table.start + pc)[0]}
        self.assertIn("main", names)
        self.assertFalse([n for n in names if n.startswith("unused")])
        self.compare_with_addr2line(program, list(range(*self.main_range(program))))

    def main_range(self, path):
        for line in run("nm", "-S", path).stdout.splitlines():
            words = line.split()
            if words[-1] == "main":
                return int(words[0], 16), int(words[0], 16) + int(words[1], 16)
        raise AssertionError("no main")

    def test_without_debug_information(self):
        program = self.make("-g0")
        self.add(program)
        table = Table(program)
        begin, _ = self.main_range(program)
        self.assertEqual(table.frames(begin), ([("main", "", 0)], 0))

    def test_build_id(self):
        program = self.make()
        self.add(program)
        notes = run("readelf", "-n", program).stdout
        self.assertEqual(Table(program).build_id.hex(), re.search("Build ID: ([0-9a-f]+)",
                                                                  notes)[1])

    # ---- The file stays good -----------------------------------------------------------------------

    def test_program_works_and_tools_read_it(self):
        program = self.make()
        before = run(program, "x")
        loaded = run("readelf", "-lW", program).stdout
        self.add(program)
        after = run(program, "x")
        self.assertEqual((before.stdout, before.returncode), (after.stdout, after.returncode))
        self.assertEqual(loaded.split("Section to Segment")[0],
                         run("readelf", "-lW", program).stdout.split("Section to Segment")[0])
        sections = run("readelf", "-SW", program)
        self.assertEqual(sections.stderr, "")
        self.assertIn(".loam_pcln", sections.stdout)
        for command in (["objcopy", program, self.path("copy")], ["strip", "-o", self.path("bare"),
                                                                  program]):
            done = run(*command)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name in ("copy", "bare"):
            self.assertEqual(run(self.path(name), "x").stdout, after.stdout)
            self.assertEqual(Elf(self.path(name)).section(".loam_pcln"),
                             Elf(program).section(".loam_pcln"))
        if shutil.which("gdb"):
            lines = run("gdb", "-nx", "-batch", "-ex", "info line worker", program)
            self.assertRegex(lines.stdout, r'^Line [57] of ".*main\.c" .*<worker>')

    def test_again_does_not_grow(self):
        program = self.make()
        self.add(program)
        with open(program, "rb") as f:
            first = f.read()
        for _ in range(3):
            self.add(program)
        with open(program, "rb") as f:
            self.assertEqual(f.read(), first)

    def test_strip_then_again_keeps_the_table(self):
        program = self.make()
        self.add(program)
        table = Elf(program).section(".loam_pcln")
        subprocess.run(["strip", program], check=True)
        self.add(program)
        self.assertEqual(Elf(program).section(".loam_pcln"), table)

    # ---- Errors ------------------------------------------------------------------------------------

    def refuse(self, path, why):
        data = None
        if os.path.isfile(path):
            with open(path, "rb") as f:
                data = f.read()
        done = run(TOOL, "pcln", path)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"loam pcln: error: {path}: {why}\n")
        if data is not None:
            with open(path, "rb") as f:
                self.assertEqual(f.read(), data)

    def test_errors(self):
        self.refuse(self.path("none"), "No such file or directory")
        self.refuse(self.write("text", "text\n"), "it is no ELF file")
        self.refuse(self.write("empty", ""), "it is no ELF file")
        stripped = self.make()
        subprocess.run(["strip", stripped], check=True)
        self.refuse(stripped, "it has neither debug information nor symbols of functions")
        source = self.write("o.c", "int f(void) { return 1; }\n")
        subprocess.run([*CC, "-c", "-o", self.path("o.o"), source], check=True)
        self.refuse(self.path("o.o"), "it is not a linked program or shared object with code")

    def test_a_running_program(self):
        program = self.path("sleep")
        shutil.copy(shutil.which("sleep"), program)
        with subprocess.Popen([program, "60"]) as child:
            try:
                self.refuse(program, "it is running")
            finally:
                child.kill()

    def test_corrupt_files(self):
        """Debug information and headers of any content: an error or a table, never a crash."""
        program = self.make()
        elf = Elf(program)
        targets = [elf.find(n) for n in (".debug_info", ".debug_line", ".debug_abbrev", ".symtab",
                                         ".debug_rnglists", ".debug_str", ".strtab")]
        targets = [t for t in targets if t] + [(0, 64), (len(elf.data) - 64 * 30, 64 * 30)]
        for seed in range(SEEDS):
            rng = random.Random(seed)
            data = bytearray(elf.data)
            at, size = rng.choice(targets)
            for _ in range(rng.choice((1, 5, 50))):
                data[at + rng.randrange(size)] = rng.choice((0, 0xFF, 0x7F, rng.randrange(256)))
            if seed % 10 == 9:
                data = data[:rng.randrange(len(data))]
            with open(self.path("corrupt"), "wb") as f:
                f.write(data)
            done = run(TOOL, "pcln", self.path("corrupt"))
            self.assertIn(done.returncode, (0, 1), f"seed {seed}: {done.stderr}")


if __name__ == "__main__":
    unittest.main()
