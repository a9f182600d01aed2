#!/usr/bin/env python3
"""The driver of `make bench`: runs ours and the peers in turn, prints one table, writes bench.json.

goals.tsv declares the rows; README.md says what one operation is and how to read the table. A
program runs one repetition of one benchmark and prints one line of JSON. To add a table: write its
functions in both programs, add its lines to goals.tsv; nothing here changes, unless a value is
computed from several runs (see DERIVED).
"""

import argparse
import contextlib
import fnmatch
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections import namedtuple

HERE = pathlib.Path(__file__).resolve().parent
OURS = "loam"
TIMEOUT = 300  # seconds for one repetition: a hang, not a slow machine
NOISE = 1.25  # below this factor two figures are no different

# What would make a run depend on the shell that it was started from.
SETTINGS = ("DEBUG", "MAXPROCS", "GC", "MEMLIMIT", "TRACEBACK")


class BenchError(Exception):
    """A benchmark that did not run, or did not compute what the others did."""


# ---- Rows -----------------------------------------------------------------------------------------

Goal = namedtuple("Goal", "table name unit procs better peer kind goal note")


def read_goals(path):
    goals = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != len(Goal._fields):
            sys.exit(f"{path}:{number}: {len(fields)} fields, not {len(Goal._fields)}")
        goal = Goal(*fields)
        goals.append(
            goal._replace(
                procs=[int(p) for p in goal.procs.split(",")],
                peer=None if goal.peer == "-" else goal.peer,
                goal=None if goal.goal == "-" else float(goal.goal),
            )
        )
    return goals


def select(goals, patterns):
    """The rows whose name or table one of the patterns matches; all of them without a pattern."""
    if not patterns:
        return goals
    for pattern in patterns:
        if not any(fnmatch.fnmatch(word, pattern) for g in goals for word in (g.name, g.table)):
            sys.exit(f"run.py: no row or table matches {pattern!r}; --list shows them")
    return [g for g in goals if any(fnmatch.fnmatch(w, p) for p in patterns for w in (g.name, g.table))]


def benchmarks(goals):
    """The rows by benchmark, in the file's order: a list of (name, procs, its rows)."""
    found = {}
    for goal in goals:
        for procs in goal.procs:
            found.setdefault((goal.name, procs), []).append(goal)
    return [(name, procs, rows) for (name, procs), rows in found.items()]


# ---- One repetition -------------------------------------------------------------------------------


# Rows of ours that are measured on small stacks, by bench_small.
SMALL = {"recurse_first", "recurse_again", "spawn_100_frames", "hot_split", "parked_create_small", "parked_bytes_small", "parked_wake"}


class Programs:
    """The programs of a build directory, and how to run one repetition of one of them."""

    def __init__(self, builddir):
        self.builddir = builddir

    def path(self, side):
        """Meson leaves its programs in its own bench/; the Go program is put beside them."""
        return self.builddir / "bench" / f"bench_{side}"

    def environment(self, procs):
        env = {k: v for k, v in os.environ.items() if k not in {p + s for p in ("GO", "LOAM") for s in SETTINGS}}
        env["GOMAXPROCS"] = str(procs)
        return env

    def start(self, side, name, procs, settings=()):
        path = self.path("small" if side == OURS and name in SMALL else side)
        if not path.exists():
            raise BenchError(f"{path} is not built")
        # A group of its own, so that a timeout ends whatever the program started.
        return subprocess.Popen(
            [path, name],
            env={**self.environment(procs), **dict(settings)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process, side, name, procs):
        what = f"bench_{side} {name} at GOMAXPROCS={procs}"
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise BenchError(f"{what}: no result after {TIMEOUT} s") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.returncode != 0:
            said = err.strip().splitlines()
            status = process.returncode
            ended = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            raise BenchError(f"{what}: {ended}" + (f": {said[0]}" if said else ""))
        try:
            result = json.loads(out)
            value, checksum = float(result["value"]), str(result["checksum"])
        except (ValueError, KeyError, TypeError):
            raise BenchError(f"{what}: not one line of JSON: {out.strip()[:100]!r}") from None
        if (result.get("name"), result.get("procs")) != (name, procs):
            raise BenchError(f"{what}: it ran {result.get('name')} at {result.get('procs')}")
        return value, checksum, result.get("unit")

    def run(self, side, name, procs, settings=()):
        return self.finish(self.start(side, name, procs, settings), side, name, procs)

    def run_two(self, side, name, procs):
        """Two independent processes at once: their mean value."""
        both = [self.start(side, name, procs) for _ in range(2)]
        try:
            values = [self.finish(process, side, name, procs)[0] for process in both]
        except BaseException:
            for process in both:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise
        return sum(values) / 2


def fib35_speedup(programs, side, procs):
    """P=1 over P=2, divided by what two independent processes reach on these two cores.

    Two processes that run at once and take `two` each do twice the work of one in two/alone of its
    time: they reach 2 * alone / two, which is 2 only where the cores share nothing.
    """
    alone, checksum, _ = programs.run(side, "fib35_cutoff10", 1)
    parallel, _, _ = programs.run(side, "fib35_cutoff10", procs)
    two = programs.run_two(side, "fib35_cutoff10", 1)
    return (alone / parallel) / (2 * alone / two), checksum, "1"


OVERHEAD_PAIRS = 6
OVERHEAD_SETTINGS = {"LOAMDEBUG": "schedtrace=1000"}


def schedtrace_1000_overhead(programs, side, procs):
    """chan_buf_4x4 with a line of schedtrace a second over without, in pairs that change their order:
    what gets slower or faster meanwhile hits both."""
    with_trace, without = [], []
    for pair in range(OVERHEAD_PAIRS):
        for settings in [{}, OVERHEAD_SETTINGS][:: -1 if pair % 2 else 1]:
            value, checksum, _ = programs.run(side, "chan_buf_4x4", procs, settings)
            (with_trace if settings else without).append(value)
    return statistics.median(with_trace) / statistics.median(without), checksum, "1"


# Rows whose value comes from several runs: name -> function(programs, side, procs).
DERIVED = {"fib35_speedup": fib35_speedup, "schedtrace_1000_overhead": schedtrace_1000_overhead}


# ---- All repetitions of a benchmark ---------------------------------------------------------------


class Samples:
    """What one side measured: a value per repetition, and the checksum that they agree on."""

    def __init__(self):
        self.values = []
        self.checksum = None
        self.error = None

    def add(self, value, checksum):
        if self.checksum not in (None, checksum):
            raise BenchError(f"checksum {checksum} after {self.checksum}")
        self.checksum = checksum
        self.values.append(value)

    @property
    def median(self):
        return statistics.median(self.values)


def measure(programs, name, procs, unit, sides, reps, progress):
    """Runs the sides in turn, A B A B ..., and returns their samples; a side that fails stops."""
    samples = {side: Samples() for side in sides}
    one = DERIVED.get(name, lambda programs, side, procs: programs.run(side, name, procs))
    for rep in range(reps):
        for side in sides:
            mine = samples[side]
            if mine.error:
                continue
            progress(f"{name} P={procs} {side} {rep + 1}/{reps}")
            try:
                value, checksum, said = one(programs, side, procs)
                if said != unit:
                    raise BenchError(f"bench_{side} {name}: unit {said}, not {unit}")
                mine.add(value, checksum)
            except BenchError as error:
                mine.error = str(error)
    return samples


Row = namedtuple("Row", "goal procs ours peer peer_name ratio verdict error")


def judge(goal, ours, ratio):
    """MET, missed, or `within noise` for a miss that is too small to mean anything."""
    if goal.goal is None:
        return ""
    if goal.kind == "ratio":
        over = ratio / goal.goal
    elif goal.better == "low":
        over = ours / goal.goal
    else:
        over = goal.goal / ours
    return "MET" if over <= 1 else "within noise" if over <= NOISE else "missed"


def compare(goal, procs, samples, peer_names, ours_wanted):
    """One row of the table. Without ours (--peers-only) it holds the peer's figures alone."""
    ours, peer = samples.get(OURS), samples.get(goal.peer)
    row = Row(goal, procs, ours, peer, peer_names.get(goal.peer, goal.peer), None, "", None)
    for side in (ours, peer):
        if side and side.error:
            return row._replace(error=side.error)
    if not ours_wanted:
        return row
    ratio = None
    if peer:
        if ours.checksum != peer.checksum:
            return row._replace(error=f"checksum {ours.checksum}, {row.peer_name} has {peer.checksum}")
        # Our cost over theirs: a rate is turned round, so that below 1 is better here as well.
        pair = (ours.median, peer.median) if goal.better == "low" else (peer.median, ours.median)
        if min(pair) <= 0:
            return row._replace(error=f"a value of {min(pair)} has no ratio")
        ratio = pair[0] / pair[1]
    return row._replace(ratio=ratio, verdict=judge(goal, ours.median, ratio))


# ---- Output ---------------------------------------------------------------------------------------


def figure(value):
    """Four digits are more than the machine's noise leaves."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def spread(samples):
    if not samples or not samples.values:
        return "-"
    return f"{figure(min(samples.values))}-{figure(max(samples.values))}"


def goal_text(goal):
    if goal.goal is None:
        return "-"
    sign = ">=" if goal.better == "high" and goal.kind == "abs" else "<="
    return f"{sign} {goal.goal:g}" + (" abs" if goal.kind == "abs" else "")


HEAD = ("name", "P", "unit", OURS, "spread", "peer", "", "spread", "ratio", "goal", "")
NUMBERS = {1, 3, 6, 8}  # columns set to the right


def cells(row):
    ours = row.ours.median if row.ours and row.ours.values else None
    peer = row.peer.median if row.peer and row.peer.values else None
    return (
        row.goal.name,
        str(row.procs),
        row.goal.unit,
        figure(ours),
        spread(row.ours),
        row.peer_name or "-",
        figure(peer),
        spread(row.peer),
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        goal_text(row.goal),
        f"ERROR: {row.error}" if row.error else row.verdict,
    )


def print_table(rows, ours_wanted):
    columns = list(range(len(HEAD))) if ours_wanted else [0, 1, 2, 5, 6, 7, 10]
    lines = [HEAD] + [cells(row) for row in rows]
    widths = [max(len(line[c]) for line in lines) if c != len(HEAD) - 1 else 0 for c in range(len(HEAD))]
    for line in lines:
        parts = [line[c].rjust(widths[c]) if c in NUMBERS else line[c].ljust(widths[c]) for c in columns]
        print("  ".join(parts).rstrip())


def write_json(rows, path):
    """bench.json holds what was measured; a row with an error is in the table only."""
    found = [
        {
            "name": row.goal.name,
            "procs": row.procs,
            "unit": row.goal.unit,
            "ours": row.ours.median,
            "peer": row.peer.median if row.peer else None,
            "peer_name": row.peer_name,
            "ratio": row.ratio,
        }
        for row in rows
        if not row.error
    ]
    path.write_text(json.dumps(found, indent=1) + "\n")


def progress_on_terminal(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine():
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
        model = found.group(1) if found else model
    load = os.getloadavg()[0]
    busy = " (others use it too: expect noise)" if load > 0.5 else ""
    return f"{model}, {len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}, load {load:.1f}{busy}"


# ---- Go -------------------------------------------------------------------------------------------


def build_go(programs):
    """Builds bench_go if `go` is on PATH and returns its name for the table; None without it."""
    go = shutil.which("go")
    if not go:
        return None
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True)
    out = programs.path("go")
    out.parent.mkdir(parents=True, exist_ok=True)
    # The newest Go on PATH is the peer: it must not fetch another, nor join a workspace around us.
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    build = subprocess.run([go, "build", "-C", HERE / "go", "-o", out.resolve(), "."], env=env)
    if build.returncode != 0:
        sys.exit("run.py: the Go side does not build")
    return version.stdout.strip()


# ---- Main -----------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description="Runs Loam's benchmarks beside those of its peers.")
    parser.add_argument(
        "names", nargs="*", help="names or tables to run, separated by commas or blanks; globs are allowed"
    )
    parser.add_argument("--reps", type=int, default=5, help="repetitions of each (default: 5)")
    parser.add_argument("--quick", action="store_true", help="3 repetitions, while developing")
    parser.add_argument("--list", action="store_true", help="print the rows and their goals")
    parser.add_argument("--peers-only", action="store_true", help="measure the peers, not Loam; writes no bench.json")
    parser.add_argument("--builddir", type=pathlib.Path, default=HERE.parent / "build", help="default: build")
    options = parser.parse_args()
    options.names = [n for word in options.names for n in re.split(r"[,\s]+", word) if n]
    options.reps = 3 if options.quick else options.reps
    if options.reps < 1:
        parser.error("--reps must be 1 or more")
    return options


def main():
    options = arguments()
    goals = select(read_goals(HERE / "goals.tsv"), options.names)
    if options.list:
        for g in goals:
            procs = ",".join(map(str, g.procs))
            print(f"{g.table:8} {g.name:24} {g.unit:5} P={procs:4} {g.peer or '-':9} {goal_text(g):12} {g.note}".rstrip())
        return 0

    if options.peers_only:
        goals = [g for g in goals if g.peer]
    programs = Programs(options.builddir)
    print(machine())
    peer_names = {}
    if any(g.peer == "go" for g in goals):
        go = build_go(programs)
        if go:
            peer_names["go"] = go
        else:
            print("go is not on PATH: the rows that compare with it are left out")
            goals = [g for g in goals if g.peer != "go"]

    rows = []
    ours_wanted = not options.peers_only
    for name, procs, mine in benchmarks(goals):
        sides = ([OURS] if ours_wanted else []) + [g.peer for g in mine if g.peer]
        samples = measure(programs, name, procs, mine[0].unit, sides, options.reps, progress_on_terminal)
        rows += [compare(goal, procs, samples, peer_names, ours_wanted) for goal in mine]
    progress_on_terminal("")
    print_table(rows, ours_wanted)
    if ours_wanted:
        options.builddir.mkdir(parents=True, exist_ok=True)
        write_json(rows, options.builddir / "bench.json")

    count = {v: sum(row.verdict == v for row in rows) for v in ("MET", "within noise", "missed")}
    failed = [row for row in rows if row.error]
    if ours_wanted:
        print(f"{count['MET']} met, {count['within noise']} within noise, {count['missed']} missed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
