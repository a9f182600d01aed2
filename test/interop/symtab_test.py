#!/usr/bin/env python3
"""symtab on files with a table, stripped, replaced and corrupted, by the probe interop_symtab."""

import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

from pcln_table import HEADER, NONE, Elf, Table

TOOL = os.environ["LOAM_TOOL"]
BUILD = os.environ["LOAM_BUILD_ROOT"]
CC = os.environ.get("CC", "cc").split()
PROBE = os.path.join(BUILD, "test", "interop_symtab")
SEEDS = 120


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


def functions(path):
    """{address: names} of the functions with a size in the file's symbol table."""
    found = {}
    listing = run("nm", "-S", "--defined-only", path).stdout
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "tTwW" and int(words[1], 16) > 0:
            found.setdefault(int(words[0], 16), set()).add(words[3])
    return found


class Test(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.probe = self.path("probe")
        shutil.copy(PROBE, self.probe)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def add_table(self, path):
        done = run(TOOL, "pcln", path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def find(self, path, addresses):
        """{address: [(function, file, line, offset), ...]}"""
        done = run(path, "find", *(f"{a:x}" for a in addresses))
        self.assertEqual(done.returncode, 0, done.stderr)
        frames = {}
        for line in done.stdout.splitlines():
            address, rest = line.split(" ", 1)
            here = frames.setdefault(int(address, 16), [])
            if rest != "none":
                function, file, number, offset, _ = rest.rsplit(" ", 4)
                here.append((function, file, int(number), int(offset, 16)))
        return frames

    def compare_with_table(self, probe):
        table = Table(probe)
        addresses = sorted({table.start + pc + extra for pc in table.pcs for extra in (0, 1)})
        addresses = addresses[::max(1, len(addresses) // 3000)]
        named = inlined = 0
        found = self.find(probe, addresses)
        for address in addresses:
            frames, offset = table.frames(address)
            expected = [(f or "?", file or "?", line, offset) for f, file, line in frames]
            self.assertEqual(found[address], expected or [("?", "?", 0, 0)], hex(address))
            named += bool(frames)
            inlined += len(frames) > 1
        self.assertGreater(named, 500)
        self.assertGreater(inlined, 20)

    def test_table(self):
        self.add_table(self.probe)
        self.compare_with_table(self.probe)

    def test_table_survives_strip(self):
        self.add_table(self.probe)
        subprocess.run(["strip", self.probe], check=True)
        self.assertIsNone(Elf(self.probe).section(".symtab"))
        self.compare_with_table(self.probe)

    def test_symbols(self):
        names = functions(self.probe)
        found = self.find(self.probe, names)
        self.assertGreater(len(names), 20)
        for address, expected in names.items():
            function, file, line, offset = found[address][0]
            self.assertIn(function, expected)
            self.assertEqual((file, line, offset), ("?", 0, 0))

    def test_stripped(self):
        address = max(functions(self.probe))
        subprocess.run(["strip", self.probe], check=True)
        self.assertEqual(self.find(self.probe, [address])[address], [("?", "?", 0, 0)])

    def test_replaced_object(self):
        """A shared object whose file is another one meanwhile is not believed."""
        for name, text in (("old", "int f(void) { return 1; }\n"),
                           ("new", "int g(void) { return 3; }\nint f(void) { return 2; }\n")):
            with open(self.path(name + ".c"), "w", encoding="ascii") as f:
                f.write(text)
            subprocess.run([*CC, "-g", "-shared", "-fPIC", "-Wl,--build-id", "-o",
                            self.path(name + ".so"), self.path(name + ".c")], check=True)
            self.add_table(self.path(name + ".so"))
        same = run(self.probe, "object", self.path("old.so"), "-", "f")
        self.assertEqual((same.stdout, same.stderr), ("f old.c 1 old.so\n", ""))
        relative = run(self.probe, "object", "./old.so", "-", "f", cwd=self.dir.name)
        self.assertEqual(relative.stdout, "f old.c 1 old.so\n")
        other = run(self.probe, "object", self.path("old.so"), self.path("new.so"), "f")
        self.assertEqual((other.stdout, other.stderr), ("? ? 0 old.so\n", ""))

    # ---- Corruption: names may be wrong, the lookup ends and reads nothing it must not -------------

    def sweep(self, data, what):
        with open(self.probe, "wb") as f:
            f.write(data)
        done = run(self.probe, "sweep")
        self.assertEqual(done.returncode, 0, f"{what}: {done.stderr}")
        return int(done.stdout.split()[0])

    def test_corrupt_header_of_the_table(self):
        self.add_table(self.probe)
        elf = Elf(self.probe)
        at, _ = elf.find(".loam_pcln")
        for i in range(HEADER.size - 32):
            for value in (0x00, 0x7F, 0xFF):
                data = bytearray(elf.data)
                data[at + i] = value
                self.sweep(data, f"byte {i} of the header is {value}")

    def test_corrupt_table(self):
        self.add_table(self.probe)
        elf = Elf(self.probe)
        at, size = elf.find(".loam_pcln")
        for seed in range(SEEDS):
            rng = random.Random(seed)
            data = bytearray(elf.data)
            for _ in range(rng.choice((1, 10, 1000))):
                data[at + HEADER.size + rng.randrange(size - HEADER.size)] = rng.choice(
                    (0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            self.sweep(data, f"seed {seed}")

    def test_cyclic_parents(self):
        self.add_table(self.probe)
        elf = Elf(self.probe)
        at, _ = elf.find(".loam_pcln")
        node_at, node_count = struct.unpack_from("<II", elf.data, at + 48)
        for parent in (0, 1, node_count - 1, node_count, NONE - 1):
            data = bytearray(elf.data)
            for i in range(node_count):
                struct.pack_into("<I", data, at + node_at + i * 20 + 8, parent)
            self.sweep(data, f"every parent is {parent}")
        data = bytearray(elf.data)
        for i in range(node_count):  # each its own
            struct.pack_into("<I", data, at + node_at + i * 20 + 8, i)
        self.sweep(data, "every node is its own parent")

    def test_corrupt_section_headers(self):
        self.add_table(self.probe)
        with_table = Elf(self.probe)
        for original in (with_table, Elf(PROBE)):  # in the other the symbols are what is read
            shoff = struct.unpack_from("<Q", original.data, 40)[0]
            count = len(original.sections)
            for seed in range(SEEDS):
                rng = random.Random(seed)
                data = bytearray(original.data)
                for _ in range(rng.choice((1, 3, 30))):
                    place = shoff + rng.randrange(count) * 64 + 4 * rng.randrange(16)
                    struct.pack_into("<I", data, place, rng.choice(
                        (0, 1, 2, 3, 11, 0x7FFFFFFF, 0xFFFFFFFF, rng.randrange(1 << 32))))
                self.sweep(data, f"seed {seed}, table {original is with_table}")

    def test_corrupt_elf_header(self):
        self.add_table(self.probe)
        data = Elf(self.probe).data
        for offset, code in ((40, "<Q"), (58, "<H"), (60, "<H"), (62, "<H")):
            for value in (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF, (1 << 64) - 1):
                changed = bytearray(data)
                struct.pack_into(code, changed, offset, value & (1 << 8 * struct.calcsize(code)) - 1)
                self.sweep(changed, f"{value} at {offset}")

    def test_corrupt_symbols(self):
        elf = Elf(self.probe)
        for seed in range(SEEDS):
            rng = random.Random(seed)
            data = bytearray(elf.data)
            at, size = elf.find(rng.choice((".symtab", ".strtab")))
            for _ in range(rng.choice((1, 100, 2000))):
                data[at + rng.randrange(size)] = rng.choice((0, 0xFF, rng.randrange(256)))
            self.sweep(data, f"seed {seed}")

    def test_truncated(self):
        self.add_table(self.probe)
        elf = Elf(self.probe)
        at, size = elf.find(".loam_pcln")
        loaded = max(s[4] + s[5] for s in elf.sections if s[2] & 2 and s[1] != 8)
        for end in [*range(loaded, at, (at - loaded) // 20 + 1), at, at + 1, at + HEADER.size,
                    at + size // 2, at + size, len(elf.data) - 64, len(elf.data) - 1]:
            self.sweep(elf.data[:end], f"cut at {end} of {len(elf.data)}")


if __name__ == "__main__":
    if not os.path.exists(PROBE):
        sys.exit(f"{PROBE} is missing: ninja builds it")
    unittest.main()
