"""Reads the section .loam_pcln of an ELF file, independently of the C code that reads and writes it.

The format is described in runtime/stack/symtab.h."""

import bisect
import struct

NONE = 0xFFFFFFFF
HEADER = struct.Struct("<8sIIQQQIIIIIIII32s")
ROW = struct.Struct("<III")
NODE = struct.Struct("<IIIII")


class Elf:
    """Sections and executable segments of a 64-bit little-endian ELF file."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        d = self.data
        assert d[:6] == b"\x7fELF\x02\x01", path
        phoff, shoff = struct.unpack_from("<QQ", d, 32)
        phsize, phnum, shsize, shnum, shstrndx = struct.unpack_from("<HHHHH", d, 54)
        self.sections = [list(struct.unpack_from("<IIQQQQIIQQ", d, shoff + i * shsize))
                         for i in range(shnum)]
        names = self.sections[shstrndx][4]
        for s in self.sections:
            end = d.index(b"\0", names + s[0])
            s[0] = d[names + s[0]:end].decode()
        text = []
        for i in range(phnum):
            kind, flags, _, vaddr, _, _, memsz, _ = struct.unpack_from(
                "<IIQQQQQQ", d, phoff + i * phsize)
            if kind == 1 and flags & 1:
                text.append((vaddr, vaddr + memsz))
        self.text = (min(t[0] for t in text), max(t[1] for t in text)) if text else None

    def find(self, name):
        """(offset, size) of a section in the file, or None."""
        for s in self.sections:
            if s[0] == name:
                return s[4], s[5]
        return None

    def section(self, name):
        at = self.find(name)
        return None if at is None else self.data[at[0]:at[0] + at[1]]


class Table:
    """The decoded table; checks everything that the format promises."""

    def __init__(self, path):
        elf = Elf(path)
        raw = elf.section(".loam_pcln")
        assert raw is not None, f"{path} has no .loam_pcln"
        (magic, version, header_size, size, self.start, self.end, row_at, row_n, node_at, node_n,
         string_at, string_n, id_size, unused, build_id) = HEADER.unpack_from(raw)
        assert magic == b"LOAMPCLN" and version == 1 and header_size == HEADER.size and unused == 0
        assert size == len(raw)
        assert (self.start, self.end) == elf.text
        self.build_id = build_id[:id_size]
        self.size = size
        self.rows = list(ROW.iter_unpack(raw[row_at:row_at + row_n * ROW.size]))
        self.nodes = list(NODE.iter_unpack(raw[node_at:node_at + node_n * NODE.size]))
        self.strings = raw[string_at:string_at + string_n]
        assert len(self.rows) == row_n and len(self.nodes) == node_n
        assert len(self.strings) == string_n
        assert self.strings[0] == 0 and self.strings[-1] == 0
        self.pcs = [row[0] for row in self.rows]
        assert self.pcs == sorted(set(self.pcs)), "rows are not sorted"
        for i, (_, _, parent, _, _) in enumerate(self.nodes):
            assert parent == NONE or parent < i, "a parent behind its child"
        for _, node, _ in self.rows:
            assert node == NONE or node < node_n

    def string(self, offset):
        return self.strings[offset:self.strings.index(b"\0", offset)].decode()

    def frames(self, address):
        """[(function, file, line), ...] from the innermost outwards, and the offset in the
        function around all; ([], 0) where there is none."""
        i = bisect.bisect_right(self.pcs, address - self.start) - 1
        if i < 0 or self.rows[i][1] == NONE:
            return [], 0
        _, node, line = self.rows[i]
        frames = []
        entry = self.nodes[node][4]
        while node != NONE:
            name, file, parent, call_line, _ = self.nodes[node]
            frames.append((self.string(name), self.string(file), line))
            node, line = parent, call_line
        return frames, address - self.start - entry
