#!/usr/bin/env python3
"""What the tool does at its edges: files that are none, compilers that are none, output that cannot be
written, packages with many flags."""

import os
import subprocess
import sys
import tempfile

TOOL = os.environ["LOAM_TOOL"]

failures = []


def run(words, output=subprocess.PIPE, **env):
    """(status, standard output, standard error); status None: it did not end."""
    try:
        done = subprocess.run([TOOL, *words], stdout=output, stderr=subprocess.PIPE, text=True,
                              timeout=20, stdin=subprocess.DEVNULL, env={**os.environ, **env})
    except subprocess.TimeoutExpired:
        return None, "", ""
    return done.returncode, done.stdout, done.stderr


def check(name, found, status, text=""):
    """status: True for any but 0."""
    good = found[0] not in (0, None) if status is True else found[0] == status
    if not good or text not in (found[1] or "") + found[2]:
        failures.append("%s: %r" % (name, found))


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def files(directory):
    fifo = os.path.join(directory, "ff.c")
    os.mkfifo(fifo)
    for command in ("run", "build"):
        check("%s of a FIFO" % command, run([command, fifo]), True, "no regular file")


def compilers(directory):
    source = write(os.path.join(directory, "x.c"),
                   "#include <stdio.h>\nint main(void) { puts(\"ran\"); return 0; }\n")
    check("CC of blanks", run(["run", source], CC=" \n"), 0, "ran")
    check("CC of nothing, quoted", run(["run", source], CC="''"), 125, "no compiler")
    check("CC is a directory", run(["run", source], CC=directory), 125, "no compiler")
    check("env of a CC that is none", run(["env", "CC"], CC="nosuch"), 1, "no compiler 'nosuch'")
    check("env with a CC that is none", run(["env"], CC="nosuch"), 1, "LOAMROOT=")
    check("env of something else", run(["env", "LOAMOS"], CC="nosuch"), 0, "linux")


def output():
    for words in (["version"], ["--version"], ["env"], ["env", "--json"], ["help"], ["--help"],
                  ["run", "--help"]):
        check("%s to /dev/full" % " ".join(words), run(words, open("/dev/full", "w")), 1,
              "cannot write to standard output")


def packages(directory):
    source = write(os.path.join(directory, "p.c"),
                   "// loam: pkgs=big\nint main(void) { return LAST; }\n")
    many = " ".join("-DNUMBER_%04d=%d" % (i, i) for i in range(2000))
    big = write(os.path.join(directory, "big"),
                "#!/bin/sh\n[ $1 = --libs ] || echo '%s -DLAST=33'\n" % many, 0o755)
    check("flags of 40 KB", run(["run", source], PKG_CONFIG=big), 33)
    quote = write(os.path.join(directory, "quote"), "#!/bin/sh\necho \"-DLAST='33\"\n", 0o755)
    check("an open quote", run(["run", source], PKG_CONFIG=quote), 125, "a quote is not closed in")


with tempfile.TemporaryDirectory(prefix="loam-edges-") as scratch:
    files(scratch)
    compilers(scratch)
    output()
    packages(scratch)
for failure in failures:
    print("FAILED", failure)
print("%d failures" % len(failures))
sys.exit(bool(failures))
