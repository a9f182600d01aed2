#!/usr/bin/env python3
"""The example programs: each runs from its build and by `loam run FILE.c` and prints what its head
promises; sieve prints what the same program in Go prints. treehash has a test of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.path.join(os.environ["LOAM_SOURCE_ROOT"], "examples")
BUILT = os.path.join(os.environ["LOAM_BUILD_ROOT"], "examples")
RELEASE = os.environ["LOAM_VARIANT"] == "release"

failures = []


def check(name, good, found):
    if not good:
        failures.append("%s: %r" % (name, found))


def run(command, **env):
    # Goroutines that the end of main abandons own memory, as in Go; there is no one left to free it.
    sanitizer = {"ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env={**os.environ, **sanitizer, **env}, stdin=subprocess.DEVNULL)


def primes(n):
    found = []
    k = 2
    while len(found) < n:
        if all(k % p for p in found):
            found.append(k)
        k += 1
    return "".join("%d\n" % p for p in found)


# name, arguments, what it prints, how it ends
EXPECTED = [
    ("growth", [], "", 0),
    ("hello", [], "1\n4\n9\n", 0),
    ("sieve", [], primes(100), 0),
    ("sieve", ["7"], primes(7), 0),
    ("sieve", ["0"], "", 0),
    ("pipeline", [], "sum of squares 1..1000: 333833500\n", 0),
    ("pipeline", ["100000", "3"], "sum of squares 1..100000: 333338333350000\n", 0),
    ("pipeline", ["0"], "sum of squares 1..0: 0\n", 0),
    ("ring", [], "%d\n" % (100000 % 503 + 1), 0),
    ("ring", ["503", "1000"], "498\n", 0),
    ("ring", ["1", "10"], "1\n", 0),
    ("ring", ["10000", "10001"], "2\n", 0),
    ("ring", ["0"], "", 2),
    ("workers", [], "1feb1a8a5a5581ed is the hash of 1234567\n", 0),
    ("workers", ["0"], "0000000000000000 is the hash of 0\n", 0),
    ("workers", ["999999999999999", "30"], r"[0-9a-f]{16}: not found, deadline exceeded\n", 1),
]


def built_programs():
    environments = [{"LOAMMAXPROCS": str(p)} for p in (1, 2, 4)]
    environments += [{"LOAMDEBUG": "dst=%d" % seed} for seed in (1, 7)]
    for name, args, out, status in EXPECTED:
        for env in environments:
            # A seeded run has no time but the timers': a search that spins has no deadline.
            if "LOAMDEBUG" in env and "deadline" in out:
                continue
            done = run([os.path.join(BUILT, name), *args], **env)
            what = "%s %s %s" % (name, " ".join(args), env)
            check(what, re.fullmatch(out, done.stdout) if "[" in out else done.stdout == out,
                  done.stdout[-200:] + done.stderr[-500:])
            check(what + ": status", done.returncode == status, done)


def by_loam_run():
    for name in sorted(f[:-2] for f in os.listdir(SOURCE) if f.endswith(".c")):
        args = ["--help"] if name == "treehash" else []
        if name == "treehash" and not os.path.exists(os.path.join(BUILT, name)):
            continue
        done = run([TOOL, "run", os.path.join(SOURCE, name + ".c"), "--", *args])
        expected = [e for e in EXPECTED if e[0] == name and e[1] == args]
        good = done.stdout == expected[0][2] if expected else done.stdout.startswith("Usage:")
        check("loam run %s.c" % name, good and done.returncode == 0, done)
        check("loam run %s.c: warnings" % name, "warning" not in done.stderr, done.stderr)


def heads():
    """Each file's head says how to run it and shows Go's form; hello is explained in the README."""
    for name in sorted(f for f in os.listdir(SOURCE) if f.endswith(".c") and f != "hello.c"):
        with open(os.path.join(SOURCE, name), encoding="utf-8") as f:
            head = f.read().split("*/")[0]
        check(name + ": its head", "loam run examples/" + name in head and "Go form" in head, head)


def sieve_in_go():
    if not shutil.which("go"):
        print("no go on PATH: sieve is compared with known primes only", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="loam-go-") as scratch:
        env = {"GO111MODULE": "off", "GOTOOLCHAIN": "local"}
        if "HOME" not in os.environ:
            env["GOCACHE"] = scratch
        for n in ("100", "500"):
            go = run(["go", "run", os.path.join(SOURCE, "go", "sieve.go"), n], **env)
            ours = run([os.path.join(BUILT, "sieve"), n])
            check("sieve %s in Go" % n, go.returncode == 0 and go.stdout == ours.stdout != "",
                  (go, ours))


built_programs()
heads()
if RELEASE:
    by_loam_run()
    sieve_in_go()
for failure in failures:
    print("FAILED", failure)
print("%d failures" % len(failures))
sys.exit(bool(failures))
