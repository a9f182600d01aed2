#!/usr/bin/env python3
"""Runs what the documentation shows.

In README.md, HACKING.md and docs/: a ```console block is a list of `$ command` lines, each followed by what it
prints; a line `...` stands for any lines. A ```c block whose first line is a comment with a file's name must be
that file's program. Commands run at the top of the source tree, with build/ standing for the build directory.
"""
import glob
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.dirname(os.path.abspath(os.environ.get("LOAM_TOOL", os.path.join(TOP, "build/loam"))))


def matches(want, got):
    """Whether the lines of got are those of want, where `...` stands for any lines."""
    if not want:
        return not got
    if want[0] == "...":
        return any(matches(want[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and want[0] == got[0] and matches(want[1:], got[1:])


def console(path, block, problems):
    commands = re.split(r"^\$ ", block, flags=re.M)[1:]
    for text in commands:
        command, _, want = text.partition("\n")
        real = command.replace("build/", os.path.relpath(BUILD, TOP) + "/")
        done = subprocess.run(["sh", "-c", real], cwd=TOP, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        got = done.stdout.rstrip("\n").split("\n") if done.stdout else []
        lines = want.rstrip("\n").split("\n") if want.strip() else []
        if not matches(lines, got):
            problems.append("%s: `%s` prints\n    %s\n  where the page shows\n    %s"
                            % (path, command, "\n    ".join(got), "\n    ".join(lines)))
    return len(commands)


def program(path, block, problems):
    match = re.match(r"// (\S+\.c)\n", block)
    if not match:
        return 0
    with open(os.path.join(TOP, match[1])) as f:
        code = re.sub(r"\A/\*.*?\*/\n", "", f.read(), flags=re.S)
    if code.strip() != block[match.end():].strip():
        problems.append("%s: the program shown is not %s" % (path, match[1]))
    return 1


def main():
    assert matches(["a", "...", "c"], ["a", "b", "c"]) and not matches(["a"], ["b"])
    problems, ran = [], 0
    for path in ["README.md", "HACKING.md"] + sorted(glob.glob("docs/*.md", root_dir=TOP)):
        with open(os.path.join(TOP, path)) as f:
            text = f.read()
        for kind, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.M | re.S):
            if kind == "console":
                ran += console(path, block, problems)
            elif kind == "c":
                ran += program(path, block, problems)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            if not os.path.exists(os.path.join(TOP, os.path.dirname(path), target)):
                problems.append("%s: links to %s, which is not there" % (path, target))
    print("\n".join(problems + ["%d commands and programs, %d problems" % (ran, len(problems))]))
    return 1 if problems or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
