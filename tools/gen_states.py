#!/usr/bin/env python3
"""Makes docs/states.md from runtime/sched/states.tbl, the table that the code itself is made from.

usage: gen_states.py [--check] [--self-test]
  --check      write nothing; exit 1 if docs/states.md is not what the table says
"""
import csv
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, "runtime/sched/states.tbl")
PAGE = os.path.join(ROOT, "docs/states.md")
HEAD = """# The automata of G and P

Made by tools/gen_states.py from runtime/sched/states.tbl; do not edit. `casgstatus` and `caspstatus` take no other
edge: one that is not in the table does not compile into a transition but into a throw. Debug and torture builds
also check that a state is left by its owner alone; all builds count, see `loam_read_edges`. "shared": several threads may try the edge, a
compare-and-swap decides.
"""


def rows(text, macro):
    pattern = re.compile(r"^%s\((.*)\)$" % macro, re.M)
    for match in pattern.finditer(text):
        yield next(csv.reader([match[1]], skipinitialspace=True))


def page(text):
    out = [HEAD]
    for letter, what in (("G", "A goroutine"), ("P", "A processor")):
        states = list(rows(text, letter + "STATE"))
        edges = list(rows(text, letter + "EDGE"))
        names = {s[0] for s in states}
        for edge in edges:
            if edge[0] not in names or edge[1] not in names:
                raise SystemExit("states.tbl: edge %s -> %s names no state" % (edge[0], edge[1]))
        out.append("## %s: %s\n" % (letter, what))
        out.append("```mermaid\nstateDiagram-v2")
        out += ["    %s --> %s: %s" % (e[0], e[1], e[4]) for e in edges]
        out.append("```\n\n| state | number | meaning |\n|---|---|---|")
        out += ["| %s | %s | %s |" % tuple(s[:3]) for s in states]
        out.append("\n| from | to | | who | where |\n|---|---|---|---|---|")
        out += ["| %s | %s | %s | %s | %s |" % tuple(e[:5]) for e in edges]
        out.append("")
    return "\n".join(out)


def main():
    if "--help" in sys.argv:
        print(__doc__.strip())
        return 0
    if "--self-test" in sys.argv:
        try:
            page('GSTATE(a, 0, "x")\nGEDGE(a, b, owned, "m", "f")\n')
        except SystemExit:
            return 0
        print("gen_states: an edge to no state was accepted")
        return 1
    with open(TABLE) as f:
        text = page(f.read())
    if "--check" not in sys.argv:
        with open(PAGE, "w") as f:
            f.write(text)
        return 0
    with open(PAGE) as f:
        if f.read() == text:
            return 0
    print("docs/states.md is not what runtime/sched/states.tbl says: run tools/gen_states.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
