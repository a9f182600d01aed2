#!/usr/bin/env python3
"""The work behind ./check: builds, takes the tour, runs the gates and the tests of all variants.

Every build, gate, tour and test counts as one check. While the tests of one variant run, the next are
built at the lowest priority: many tests wait more than they compute. Prints one line a phase with its
duration (a build's is its own, whatever ran beside it), then the failures with the ends of their logs,
and as the very last line "N passed, N failed".
The logs stay in build/check/.

A test that fails is run a second time, alone. One that passes then is counted as passed, and shown as
flaky with the log of its failure: a starved machine must not refuse a change, but such a test, or what
it tests, has a bug all the same. --strict counts it as failed.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "check")
EXCERPT = 40  # lines of a failure's log that are shown
TOUR_SECONDS = 120
FLAKY_MAX = 10  # more failures than that are no accident

Build = collections.namedtuple("Build", "name folder cc suite options")
# The suite is what is run of the tests: None is all of them.
BUILDS = [
    Build("release", "build", "gcc", None, ["-Dvariant=release"]),
    Build("clang", "build/clang", "clang-14", "fast", ["-Dvariant=release"]),
    Build("torture", "build/torture", "gcc", None, ["-Dvariant=torture"]),
    Build("asan", "build/asan", "gcc", None, ["-Dvariant=asan"]),
    Build("ubsan", "build/ubsan", "gcc", None, ["-Dvariant=ubsan"]),
    Build("tsan", "build/tsan", "gcc", None, ["-Dvariant=tsan"]),
]
PHASES = ["tour", "gates"] + [b.name for b in BUILDS]

# The verdict is passed, failed, skipped, or flaky.
Result = collections.namedtuple("Result", "phase name verdict log")

# What runs, for who ends before its thread does.
processes = set()


def run(log, command, env=None, timeout=None):
    """Runs a command with its output in a log; returns its status."""
    with open(log, "ab") as out:
        out.write(("$ %s\n" % " ".join(command)).encode())
        out.flush()
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
                                   start_new_session=True)
        processes.add(process)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            out.write(b"TIMEOUT after %d s\n" % timeout)
            os.killpg(process.pid, signal.SIGQUIT)
            time.sleep(2)
            return 124
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            processes.discard(process)


def tail(path):
    """The end of a log, without Ninja's lines about what went well."""
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = [line for line in f if not re.match(r"\[\d+/\d+\] ", line)]
    return "".join(lines[-EXCERPT:])


def verdict_of(test):
    known = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}
    return known.get(test["result"], "failed")


def test_name(test):
    """Meson's is "loam:unit+fast / name" or, of one suite, "loam:unit / name"."""
    return test["name"].split(":", 1)[-1]


class Check:
    def __init__(self, strict):
        self.results = []
        self.strict = strict

    def add(self, phase, name, passed, log=""):
        self.results.append(Result(phase, name, "passed" if passed else "failed", log))

    def phase(self, name, work):
        """Runs a phase and prints its line. The work may return how long it took."""
        begin, before = time.monotonic(), len(self.results)
        seconds = work()
        mine = collections.Counter(r.verdict for r in self.results[before:])
        counts = "%d passed, %d failed" % (mine["passed"], mine["failed"])
        for verdict in ("skipped", "flaky"):
            if mine[verdict]:
                counts += ", %d %s" % (mine[verdict], verdict)
        print("%-16s %-36s %6.1f s" % (name, counts, seconds or time.monotonic() - begin), flush=True)

    def built(self, b, future):
        """Waits for a build and counts it; returns how long it took."""
        passed, log, seconds = future.result()
        self.add(b.name, "build", passed, log)
        return seconds

    def test(self, b):
        log = os.path.join(LOGS, b.name + "-test.log")
        status, tests = self.run_tests(b, log, ["--suite", b.suite] if b.suite else [])
        failed = [t for t in tests if self.add_test(b, t)]
        if status != 0 and not failed:
            self.add(b.name, "meson test", False, log)
        if self.strict or len(failed) > FLAKY_MAX:
            return
        for t in failed:
            _, again = self.run_tests(b, log, ["--num-processes", "1", t["name"].rpartition("/ ")[2]])
            if again and all(verdict_of(a) == "passed" for a in again):
                name = test_name(t)
                self.results = [r._replace(verdict="flaky") if (r.phase, r.name) == (b.name, name) else r
                                for r in self.results]

    def run_tests(self, b, log, which):
        """Runs `meson test`; returns its status and its log's entries."""
        results = os.path.join(ROOT, b.folder, "meson-logs", "testlog.json")
        if os.path.exists(results):
            os.remove(results)
        status = run(log, ["meson", "test", "-C", b.folder, "--no-rebuild", *which])
        if not os.path.exists(results):
            return status, []
        with open(results, encoding="utf-8") as f:
            return status, list(map(json.loads, f))

    def add_test(self, b, test):
        """Adds one line of meson's log; returns whether the test failed."""
        verdict, name = verdict_of(test), test_name(test)
        log = os.path.join(LOGS, "%s-%s.log" % (b.name, name.replace(" ", "").replace("/", "-")))
        if verdict != "passed":
            with open(log, "w", encoding="utf-8") as f:
                f.write(test.get("stdout", "") + test.get("stderr", ""))
                f.write("\n%s, status %s, %.1f s; again: meson test -C %s %s\n" %
                        (test["result"], test.get("returncode"), test.get("duration", 0),
                         b.folder, name.rpartition("/ ")[2]))
        self.results.append(Result(b.name, name, verdict, log))
        return verdict == "failed"

    def tour(self):
        log = os.path.join(LOGS, "tour.log")
        self.add("tour", "./run", run(log, ["./run"], timeout=TOUR_SECONDS) == 0, log)

    def gates(self):
        log, results = os.path.join(LOGS, "gates.log"), os.path.join(LOGS, "gates.json")
        run(log, [sys.executable, "tools/gates/all", "--build", "build", "--json", results])
        if not os.path.exists(results):
            self.add("gates", "all", False, log)
            return
        with open(results, encoding="utf-8") as f:
            for gate in json.load(f):
                log = os.path.join(LOGS, "gate-%s.log" % gate["name"])
                with open(log, "w", encoding="utf-8") as out:
                    out.write(gate["stdout"])
                self.add("gates", gate["name"], gate["result"] == "OK", log)
                if gate["name"] == "slack" and gate["result"] == "OK":
                    print(gate["stdout"].splitlines()[-1], flush=True)

    def finish(self, seconds):
        counts = collections.Counter(r.verdict for r in self.results)
        for r in self.results:
            if r.verdict == "skipped":
                print("skipped: %s: %s: %s" % (r.phase, r.name, tail(r.log).strip().split("\n")[0]))
        for r in self.results:
            if r.verdict in ("failed", "flaky"):
                print("\n==== %s: %s: %s (%s)" % (r.verdict.upper(), r.phase, r.name,
                                                  os.path.relpath(r.log, ROOT)))
                print(tail(r.log).rstrip())
        failures = ["%s: %s" % (r.phase, r.name) for r in self.results if r.verdict == "failed"]
        if failures:
            print("\nfailed:\n    " + "\n    ".join(failures))
        print("%d s, %d skipped, %d flaky" % (seconds, counts["skipped"], counts["flaky"]))
        print("%d passed, %d failed" % (counts["passed"] + counts["flaky"], counts["failed"]), flush=True)
        return 1 if counts["failed"] or not counts["passed"] else 0


def build(b, politely):
    """Configures and builds a variant; returns whether that went well, its log, and how long it took."""
    begin, log = time.monotonic(), os.path.join(LOGS, b.name + "-build.log")
    configured = os.path.exists(os.path.join(ROOT, b.folder, "build.ninja"))
    nice = ["nice", "-n", "19"] if politely else []
    passed = run(log, [*nice, "meson", "configure" if configured else "setup", b.folder, *b.options,
                       "-Dwerror=true"], {"CC": b.cc}) == 0
    passed = passed and run(log, [*nice, "ninja", "-C", b.folder, "-k", "0"]) == 0
    return passed, log, time.monotonic() - begin


def run_phases(check, builds, phases, builder):
    ahead = {builds[0].name: builder.submit(build, builds[0], False)}
    for b in builds:
        check.phase(b.name + " build", lambda: check.built(b, ahead[b.name]))
        passed = ahead[b.name].result()[0]
        if b is BUILDS[0]:
            if "tour" in phases and passed:
                check.phase("tour", check.tour)
            if "gates" in phases:
                check.phase("gates", check.gates)
        if b is builds[0]:  # not earlier: tour and gates must not find the others' load
            ahead.update({other.name: builder.submit(build, other, True) for other in builds[1:]})
        if passed and b.name in phases:
            check.phase(b.name + " tests", lambda: check.test(b))


def main():
    parser = argparse.ArgumentParser(description=__doc__, prog="./check",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the phases")
    parser.add_argument("--strict", action="store_true", help="a flaky test has failed")
    parser.add_argument("phases", nargs="*", metavar="PHASE", help="default: all")
    args = parser.parse_args()
    if args.list:
        print("\n".join(PHASES))
        return 0
    unknown = set(args.phases) - set(PHASES)
    if unknown:
        parser.error("no phase %s; there are: %s" % (", ".join(unknown), ", ".join(PHASES)))
    phases = args.phases or PHASES
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)

    begin, check = time.monotonic(), Check(args.strict)
    builds = [b for b in BUILDS if b.name in phases]
    if BUILDS[0] not in builds and {"tour", "gates"} & set(phases):
        builds.insert(0, BUILDS[0])
    builder = concurrent.futures.ThreadPoolExecutor(1)
    try:
        run_phases(check, builds, phases, builder)
    finally:
        builder.shutdown(wait=False, cancel_futures=True)
        for process in list(processes):
            os.killpg(process.pid, signal.SIGKILL)
    return check.finish(time.monotonic() - begin)


if __name__ == "__main__":
    sys.exit(main())
