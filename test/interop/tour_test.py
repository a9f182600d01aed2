#!/usr/bin/env python3
"""loam tour: every step is measured, its JSON and its page hold what they must, and every single check
can fail: a recorded tour with one thing changed is judged again (--check)."""

import copy
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile

TOOL = os.environ["LOAM_TOOL"]
STEPS = {"1-automaton": "HOLDS", "1-park": "HOLDS", "1-schedtrace": "DIFFERS",
         "2.4-preempt": "DIFFERS", "3.1-newproc": "DIFFERS", "4.4-growth": "DIFFERS"}
ROOT = "/usr/include"

failures = []


def check(name, good, found=None):
    if not good:
        failures.append("%s: %s" % (name, str(found)[:3000]))


def tour(*args, **env):
    return subprocess.run([TOOL, "tour", *args], capture_output=True, text=True, timeout=180,
                          env={**os.environ, **env}, stdin=subprocess.DEVNULL)


# ---- A tour -----------------------------------------------------------------------------------

def rows(step, path):
    for key in path.split("."):
        step = step[key]
    return step


def measured():
    """One whole tour as JSON; everything else starts from it."""
    done = tour("--json", "--watch-root", ROOT)
    check("status", done.returncode == 0, (done.stdout[-2000:], done.stderr))
    check("nothing on stderr", done.stderr == "", done.stderr)
    whole = json.loads(done.stdout)
    steps = {s["id"]: s for s in whole["steps"]}
    check("the steps", list(steps) == list(STEPS), list(steps))
    for name, s in steps.items():
        for key in ("section", "title", "claim", "reason", "go", "loam"):
            check("%s.%s" % (name, key), isinstance(s.get(key), str) and s[key], s.get(key))
        check(name + ": verdict", s["verdict"] == s["expected"] == STEPS[name], s.get("reason"))
        check(name + ": checks", len(s["checks"]) >= 8 and all(c["ok"] for c in s["checks"]),
              s["checks"])
        for part in ("states", "memory", "machine"):
            check("%s: %s" % (name, part), s[part] and all(s[part].values()), s[part])
    summary = whole["summary"]
    check("summary", (summary["steps"], summary["held"], summary["differ"], summary["failed"]) ==
          (6, 2, 4, 0) and summary["watch_root"] == ROOT, summary)
    check("rates", summary["files_per_second"] > 0 and summary["mb_per_second"] > 0, summary)
    check("seconds", summary["seconds"] < 60, summary)
    return whole, steps


def against_the_machine(steps):
    """Where the tour's figures can be had otherwise, they are the same."""
    facts = steps["1-schedtrace"]["facts"]
    runs = len(facts["runs"])
    out = subprocess.run(["find", ROOT, "-type", "f", "-printf", "%s\n"], capture_output=True,
                         text=True).stdout.split()
    check("files", facts["files"] == runs * len(out), (facts["files"], runs, len(out)))
    check("bytes", facts["bytes"] == runs * sum(map(int, out)), facts["bytes"])
    # The disassembly is that of the file, as another disassembler reads it.
    if not shutil.which("objdump"):
        return
    text = subprocess.run(["objdump", "-d", "-w", "--no-addresses", TOOL], capture_output=True,
                          text=True).stdout
    for name, path, function in (("1-park", "machine.arch_switch", "arch_switch"),
                                 ("1-automaton", "machine.gopark", "gopark"),
                                 ("3.1-newproc", "machine.newproc sets the status", "newproc")):
        body = re.search(r"^<%s>:\n(.*?)\n\n" % function, text, re.M | re.S)
        codes = [line.split("\t")[1].strip() for line in body[1].splitlines() if "\t" in line]
        ours = [r["bytes"] for r in rows(steps[name], path)]
        # addresses in the operands are relative: the bytes in memory are those in the file
        check(path, any(codes[i:i + len(ours)] == ours for i in range(len(codes))), ours)


def twice(steps):
    """Nothing is a constant: addresses and counts change from run to run."""
    again = json.loads(tour("--json", "1-automaton", "1-park").stdout)
    check("single steps", [s["id"] for s in again["steps"]] == ["1-automaton", "1-park"], again)
    for s in again["steps"]:
        for part in ("memory", "machine"):
            check("%s: %s is measured" % (s["id"], part), s[part] != steps[s["id"]][part], s[part])
    check("counts are measured", again["steps"][0]["states"]["edges"] !=
          steps["1-automaton"]["states"]["edges"])


# ---- The page ---------------------------------------------------------------------------------

def page():
    done = tour("--watch-root", ROOT)
    check("page: status", done.returncode == 0, done.stdout[-2000:])
    check("page: no colours", "\033" not in done.stdout)
    for name, verdict in STEPS.items():
        block = re.search(r"^%s  .*document, section .*  %s$.*?^  verdict %s: \d+ checks agree$" %
                          (re.escape(name), verdict, verdict), done.stdout, re.M | re.S)
        check("page: " + name, block, done.stdout)
        for label in ("claim", "states", "memory", "machine", "checks", "Go", "Loam"):
            check("page: %s: %s" % (name, label),
                  block and re.search(r"^  %s +\S" % label, block[0], re.M))
    last = done.stdout.splitlines()[-1]
    check("page: summary", re.fullmatch(
        r"6 steps: 2 held, 4 differ from the document as explained, 0 failed; treehash on %s: "
        r"\d+ files/s, \d+\.\d MB/s; \d+\.\d s" % ROOT, last), last)


def on_terminal(**env):
    ours, theirs = pty.openpty()
    process = subprocess.Popen([TOOL, "tour", "1-park"], stdout=theirs, stdin=subprocess.DEVNULL,
                               env={**os.environ, "TERM": "xterm", **env})
    os.close(theirs)
    shown = b""
    try:
        while True:
            data = os.read(ours, 65536)
            if not data:
                break
            shown += data
    except OSError:
        pass
    os.close(ours)
    check("on a terminal: status", process.wait() == 0)
    return shown


def usage(recorded):
    done = tour("--list")
    check("--list", done.returncode == 0 and
          [line.split()[0] for line in done.stdout.splitlines()] == list(STEPS), done.stdout)
    done = tour("1-parc")
    check("unknown step", done.returncode == 2 and "did you mean 1-park?" in done.stderr, done)
    done = tour("--help")
    check("--help", done.returncode == 0 and "--watch-root" in done.stdout and
          "--probe" not in done.stdout, done.stdout)
    check("colours", b"\033[1;32mHOLDS" in on_terminal())
    check("NO_COLOR", b"\033[" not in on_terminal(NO_COLOR="1"))
    with open("/dev/full", "w") as full:
        done = subprocess.run([TOOL, "tour", "--check", recorded], stdout=full,
                              stderr=subprocess.PIPE, text=True)
    check("/dev/full", done.returncode == 1 and "cannot write" in done.stderr, done.stderr)


def not_measured(scratch):
    """What cannot be measured fails, with its reason, in the steps that need it."""
    def failed(name, args, pattern, page="^FAILED +1-schedtrace +could not be measured: "):
        done = tour("--json", "1-schedtrace", *args)
        step = json.loads(done.stdout)["steps"][0]
        check(name, done.returncode == 1 and step["verdict"] == "FAILED" and
              re.search(pattern, step["reason"]), (done.returncode, step.get("reason")))
        page_of = tour("1-schedtrace", *args)
        check(name + ": page", page_of.returncode == 1 and
              re.search(page, page_of.stdout, re.M),
              page_of.stdout[-600:])

    failed("no such directory", ["--watch-root", scratch + "/missing"], "No such file")
    failed("no such program", ["--watch-program", scratch + "/missing"], "cannot run .*missing")
    failed("another program", ["--watch-program", "/bin/true"], "ended with status 0")
    dying = os.path.join(scratch, "dying")
    with open(dying, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\nkill -SEGV $$\n")
    os.chmod(dying, 0o755)
    failed("a program that dies", ["--watch-program", dying], r"signal 11 \(Segmentation fault\)")
    os.mkdir(os.path.join(scratch, "empty"))
    # Where the machine is slow, there is time for lines even so.
    failed("too small a directory", ["--watch-root", os.path.join(scratch, "empty")],
           r"treehash on .*/empty \(0 files\) ends too soon|the program did its work meanwhile"
           "|schedstates counts them",  # in whose lines nobody may have come to wait
           page="^FAILED +1-schedtrace ")
    # Small stacks need gcc.
    done = tour("--json", "4.4-growth", PATH=scratch)
    check("no compiler", done.returncode == 1 and "growth cannot be compiled" in done.stdout, done)
    # A tool without its debug information cannot see itself, and says so.
    if shutil.which("strip"):
        stripped = os.path.join(scratch, "stripped")
        subprocess.run(["strip", "-g", "-o", stripped, TOOL], check=True)
        done = subprocess.run([stripped, "tour", "--json", "1-park"], capture_output=True, text=True,
                              env={**os.environ, "LOAMROOT": os.environ["LOAM_SOURCE_ROOT"]})
        check("stripped", done.returncode == 1 and "debug information" in done.stdout, done)


# ---- Each check can fail ------------------------------------------------------------------------

class Doctor:
    """Changes one thing in a recorded tour; exactly the named checks must notice."""

    def __init__(self, whole, scratch):
        self.whole = whole
        self.path = os.path.join(scratch, "tour.json")
        self.noticed = set()

    def judge(self, whole):
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump(whole, f)
        done = tour("--json", "--check", self.path)
        return done, {s["id"]: s for s in json.loads(done.stdout)["steps"]}

    def unchanged(self):
        done, steps = self.judge(self.whole)
        check("--check of what --json wrote", done.returncode == 0 and
              {n: s["verdict"] for n, s in steps.items()} == STEPS, done.stdout[-2000:])
        bad = tour("--check", "/dev/null")
        check("--check of nothing", bad.returncode == 1 and "is no tour" in bad.stderr, bad)

    def change(self, step, what, edit, expected):
        whole = copy.deepcopy(self.whole)
        mine = [s for s in whole["steps"] if s["id"] == step][0]
        edit(mine)
        done, steps = self.judge(whole)
        wrong = [c["check"] for c in steps[step]["checks"] if not c["ok"]]
        self.noticed |= {(step, c) for c in wrong}
        name = "%s: %s" % (step, what)
        check(name, done.returncode == 1 and steps[step]["verdict"] == "FAILED", done.stdout[-500:])
        check(name + ": noticed", any(w.startswith(expected) for w in wrong), wrong)
        others = [n for n, s in steps.items() if n != step and s["verdict"] != STEPS[n]]
        check(name + ": only there", not others, others)

    def all_noticed(self):
        for s in self.whole["steps"]:
            for c in s["checks"]:
                check("some change is noticed by '%s'" % c["check"],
                      (s["id"], c["check"]) in self.noticed)


def setter(path, value):
    """An edit that sets a.b.0.c; a '/' separates names that hold dots or blanks alike."""
    keys = path.split("/")

    def edit(step):
        at = step
        for key in keys[:-1]:
            at = at[int(key)] if isinstance(at, list) else at[key]
        key = int(keys[-1]) if isinstance(at, list) else keys[-1]
        at[key] = value(at[key]) if callable(value) else value
    return edit


def automaton(doctor):
    def change(what, edit, expected):
        doctor.change("1-automaton", what, edit, expected)

    change("another reason", setter("states/waits/0/reason", "chan send"), "every way to wait")
    change("a wait too few", setter("states/waits", lambda w: w[:5]), "every way to wait")
    change("an edge not taken", setter("states/edges/4/count", 0), "the program takes every edge")
    change("one too many in a state", setter("states/balance/4/now", lambda n: n + 1),
           "goroutines and processors change state")
    change("never at rest", setter("facts/settled", False), "goroutines and processors change state")
    change("counters of another run", setter("states/balance/1/in", lambda n: n + 10 ** 9),
           "goroutines and processors change state")
    change("a transition that is no edge",
           setter("states/main goroutine as traced/0/to", "waiting"), "every transition that gtrace")
    change("nothing traced", setter("states/main goroutine as traced", []),
           "every transition that gtrace")

    def unknown_state(step):
        step["machine"]["status stores"][0].update(how="store", state="none")
    change("a store of no state", unknown_state, "casgstatus's machine code")
    change("no store in gopark", setter("machine/status stores", lambda rows: [
        r for r in rows if r["function"] != "gopark"]), "casgstatus's machine code")

    def bad_edge(step):
        step["machine"]["status stores"][0]["how"] = "store"
        step["facts"]["bad_edge_calls"] = 1
    change("an edge that is checked at run time", bad_edge, "an edge that is not in the table")
    change("another state in memory", setter("memory/a goroutine that waits for ever/1/bytes",
                                             "02 00 00 00"), "the state of a parked goroutine")
    change("another address", setter("facts/status_address", "0x0"), "the state of a parked")
    change("a child that lives on", setter("facts/illegal/status", 0), "an illegal transition")
    change("a child that dies of something else", setter("facts/illegal/says", "fatal error: x"),
           "an illegal transition")


def park(doctor):
    def change(what, edit, expected):
        doctor.change("1-park", what, edit, expected)

    def without_parking(trace):
        return [r for r in trace if r["to"] != "waiting"]
    change("never parked", setter("states/one goroutine", without_parking),
           "a goroutine that waits is parked")
    change("another reason", setter("states/one goroutine", lambda t: [
        {**r, "reason": "sleep" if r["reason"] else ""} for r in t]), "trace and memory agree")
    change("another reason in memory", setter("facts/parked/reason", "sleep"), "trace and memory agree")
    change("waits elsewhere", setter("memory/its frames/0/function", "os_futex_wait"),
           "it waits inside gopark")
    change("nobody received", setter("memory/its frames", lambda f: f[:2]),
           "the frames on its stack")
    change("a stack pointer elsewhere", setter("facts/parked/sp", 4096), "its saved context lies")
    change("a word too few", setter("memory/its stack from the saved sp on", lambda w: w[:-1]),
           "the switch loads as many words")
    change("a load too few", setter("machine/arch_switch", lambda c: [
        {**r, "key": ""} for r in c]), "the switch loads as many words")
    change("no way to goready", setter("facts/path", []), "it is woken through goready")
    change("no store in goready", setter("machine/goready", []), "goready makes it runnable")
    change("a wait past gopark", setter("machine/who calls gopark", lambda c: c[:1]),
           "every wait of the library")


def schedtrace(doctor):
    def change(what, edit, expected):
        doctor.change("1-schedtrace", what, edit, expected)

    def each_line(edit):
        def edit_all(step):
            for run in step["facts"]["runs"]:
                run["trace"] = [line for line in map(edit, run["trace"]) if line is not None]
        return edit_all

    def once(pattern, new):
        state = []

        def edit(line):
            if not state and re.search(pattern, line):
                state.append(line)
                return re.sub(pattern, new, line) if new is not None else None
            return line
        return edit

    parses = "every line has the form"
    change("a line cut short", each_line(once(r"^SCHED (.*) schedticks.*", r"SCHED \1")), parses)
    change("another key", each_line(once("idleprocs", "idlepros")), parses)
    change("keys in another order", each_line(once(
        r"(idleprocs=\d+) (threads=\d+)", r"\2 \1")), parses)
    change("a key of GSTATES missing", each_line(once(r" gsyscall=\d+", "")), parses)
    change("counts in the SCHED line", each_line(lambda line: line.replace(
        " runqueue=", " gidle=0 gwaiting=1 grunning=2 runqueue=")), "the SCHED line counts")

    def slower(line):
        return re.sub(r" (\d+)ms:", lambda m: " %dms:" % (int(m[1]) * 100), line)
    change("a line a second", each_line(slower), "a line every 10 ms")
    change("more idle Ps than Ps", each_line(once(r"idleprocs=\d+", "idleprocs=99")),
           "its figures fit")
    change("a queue too many", each_line(once(
        r"\[ (.*) \] schedticks=\[", r"[ 0 \1 ] schedticks=[ 0")), "its figures fit")
    change("ticks of a P missing", each_line(once(r"schedticks=\[ \d+", "schedticks=[")), parses)
    change("a P more in one line", each_line(once(
        r"gomaxprocs=(\d+)", lambda m: "gomaxprocs=%d" % (int(m[1]) + 1))), "its figures fit")
    change("time going back", each_line(once(r"^SCHED [1-9]\d*ms", "SCHED 999999999ms")),
           "its figures fit")
    change("a GSTATES too few", each_line(once("^GSTATES.*", None)), "schedstates counts them")
    change("a GSTATES of another moment", each_line(once(r"^GSTATES \d+ms", "GSTATES 123456ms")),
           "schedstates counts them")
    change("nobody waits", each_line(lambda line: re.sub(r"gwaiting=\d+", "gwaiting=0", line)),
           "schedstates counts them")
    change("a goroutine too few", setter("facts/detail", lambda d: [
        line for line in d if line != [g for g in d if g.startswith("  G")][-1]]),
        "the counts add up")
    change("another figure in memory", setter("memory/the program while it ran/0/value", 77),
           "the figures lie in the program's memory")
    change("no code", setter("machine/schedtrace reads sched", []), "schedtrace's machine code")
    change("a line of output too few", setter("facts/runs/0/lines", lambda n: n - 1),
           "the program did its work")
    change("a failure hidden", setter("facts/runs/0/status", 1), "the program did its work")


def newproc(doctor):
    def change(what, edit, expected):
        doctor.change("3.1-newproc", what, edit, expected)

    change("runs without being runnable", setter("states/one goroutine", lambda t: t[1:]),
           "a goroutine becomes runnable")
    change("on no P", setter("states/one goroutine/1/p", "nil"), "each transition names")
    change("left waiting", setter("facts/followed/state", "waiting"), "newproc leaves it runnable")
    change("another function", setter("facts/followed/fn", "main"), "the struct g holds")
    change("no exchange", setter("machine/runqput takes runnext", []), "its machine code sets")
    change("not queued", setter("machine/newproc queues it", []), "its machine code sets")
    change("the pc is the function", setter("facts/whole/entry", "newborn"), "newproc sets the saved")
    change("another entry", setter("facts/whole/first", "newborn"), "its first context")
    change("a context elsewhere", setter("facts/whole/within", False), "its first context")

    def direct(step):
        step["states"]["edges"].append({"automaton": "G", "from": "idle", "to": "runnable",
                                        "count": 1, "by": "", "where": ""})
    change("from idle at once", direct, "newproc leads from Gidle")
    change("never dead", setter("states/edges", lambda e: [
        r for r in e if (r["automaton"], r["from"], r["to"]) != ("G", "idle", "dead")]),
        "by way of dead")
    change("yields while idle", setter("facts/idle/yields", 3), "schedule calls gosched_impl")
    change("calls gosched", setter("machine/what schedule calls/0/function", "gosched"),
           "schedule calls gosched_impl")
    change("a thread that runs", setter("states/threads with nothing to run/0/state", "R"),
           "its threads sleep")
    change("goroutines ran meanwhile", setter("facts/idle/runs", 1), "its threads sleep")
    change("does not execute", setter("machine/what schedule calls", lambda c: [
        r for r in c if r["function"] != "execute"]), "schedule asks findRunnable")
    change("leads nowhere", setter("facts/path", []), "schedule asks findRunnable")


def preempt(doctor):
    def change(what, edit, expected):
        doctor.change("2.4-preempt", what, edit, expected)

    change("no signal", setter("facts/preemptions", 0), "sysmon sees to it")
    change("ran later", setter("facts/beside", False), "sysmon sees to it")
    change("never stopped", setter("states/the loop", lambda t: [t[0], t[1], t[-1]]),
           "the loop stops, and starts again")
    change("stopped without a signal", setter("states/the loop with asyncpreemptoff=1", lambda t: [
        *t[:2], {**t[2], "to": "runnable"}, t[1], t[2]]), "with asyncpreemptoff=1 it runs")
    change("a signal in spite of it", setter("facts/off/preemptions", 1), "and the other waits")
    change("ran beside it in spite of it", setter("facts/off/beside", True), "and the other waits")
    change("held as running", setter("facts/held/state", "running"), "its thread sleeps with it")
    change("held by nobody", setter("facts/held now", 0), "its thread sleeps with it")
    change("held with another", setter("facts/held/its own", False), "its thread sleeps with it")
    change("kept its processor", setter("facts/held/another thread", False), "its processor has gone")
    change("found elsewhere", setter("facts/held/pc", "memcpy+0x10"), "the signal found it")
    change("found in another file", setter("facts/held/source", "park.c:12"), "the signal found it")
    change("no code", setter("machine/where SIGURG found the loop", []), "the signal found it")
    change("nobody sends", setter("facts/sends", []), "sysmon sends SIGURG")
    change("does not leave", setter("facts/leaves", []), "sysmon sends SIGURG")
    change("another handler", setter("facts/handler", "on_sigprof"), "SIGURG is taken")
    change("taken in spite of it", setter("facts/off/handler", "on_sigurg"), "SIGURG is taken")
    change("never blocked", setter("facts/off/waits", 3), "a goroutine that blocks")
    change("blocks by sysmon", setter("facts/blocks", ["gopark", "sysmon", "arch_switch"]),
           "a goroutine that blocks")


def growth(doctor):
    def change(what, edit, expected):
        doctor.change("4.4-growth", what, edit, expected)

    def each(key, value, which=lambda r: True):
        return setter("states/each growth of a stack", lambda rows: [
            {**r, key: value(r)} if which(r) else r for r in rows])

    def source(name):
        return lambda r: r["source"] == name

    change("no way to stackalloc", setter("facts/grows", []), "a stack that is too small")
    change("no refill", each("through", lambda r: "stackalloc,pool,system", source("system")),
           "an empty cache is filled")
    change("past the cache for nothing", each("through", lambda r: "stackalloc,stackcacherefill,pool",
                                              source("cache")), "an empty cache is filled")
    change("the system unseen", each("through", lambda r: r["through"].replace(",system", ""),
                                     source("system")), "an empty cache is filled")
    for name in ("cache", "pool", "system"):
        change("nothing from the " + name, setter("states/each growth of a stack", lambda rows, n=name: [
            r for r in rows if r["source"] != n]), "cache, pool and system")
    for name in ("facts/back from the pool", "facts/back from large ones"):
        change(name, setter(name, ["stackpoolalloc", "stackalloc"]), "stackcacherefill calls")
    for name in ("facts/to the pool", "facts/to large ones"):
        change(name, setter(name, []), "it goes to the pool")
    change("went on", setter("facts/reentry/status", 0), "a stackalloc inside")
    change("died of something else", setter("facts/reentry/says", "fatal error: x"),
           "a stackalloc inside")
    change("no mark", setter("machine/the allocator marks its thread", []), "the allocator marks")
    change("a piece of another size", setter("states/each growth of a stack/2/piece", 4096),
           "each piece is twice")
    change("another total", setter("states/each growth of a stack/3/total", lambda n: n + 1),
           "each piece is twice")
    pieces = "memory/the pieces of a deep stack, the first one first"
    change("a piece too few", setter(pieces, lambda p: p[:-1]), "the pieces in memory")
    change("a piece of another", setter(pieces + "/2/came from", "0x10"), "the pieces in memory")
    change("another sum", setter(pieces + "/3/bytes up to it", 1), "the pieces in memory")
    change("runs elsewhere", setter(pieces + "/-1/holds", ""), "it runs on the last")
    change("a refill more", setter("states/figures of each size/1/refills", lambda n: n + 1),
           "the counters of each size")
    change("more stacks than memory", setter("states/figures of each size/0/cached", 999),
           "the counters of each size")
    change("no look", setter("machine/descend looks whether there is room", []), "its code asks")
    change("another call", setter("machine/and asks for a piece if not", lambda c: [
        {**r, "instruction": "call 0x1 <malloc>"} for r in c]), "its code asks")


# ---- What the tour says of Go ---------------------------------------------------------------------

GO = """package main
import ("runtime"; "time")
func main() {
    for i := 0; i < 10; i++ { go func() { select {} }() }
    runtime.Gosched()
    time.Sleep(30 * time.Millisecond)
}
"""


def go_facts(scratch):
    if not shutil.which("go"):
        print("no go on PATH: what the tour says of Go is not tried", file=sys.stderr)
        return
    source, program = os.path.join(scratch, "g.go"), os.path.join(scratch, "g")
    with open(source, "w", encoding="utf-8") as f:
        f.write(GO)
    env = {**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local"}
    env.setdefault("GOCACHE", scratch + "/cache") if "HOME" not in env else None
    subprocess.run(["go", "build", "-o", program, source], check=True, env=env)
    err = subprocess.run([program], env={**env, "GODEBUG": "schedtrace=5"}, capture_output=True,
                         text=True).stderr
    keys = re.findall(r"([a-z]+)=", err.splitlines()[0])
    check("Go's SCHED line", keys == ["gomaxprocs", "idleprocs", "threads", "spinningthreads",
                                      "needspinning", "idlethreads", "runqueue", "schedticks"] and
          "gwaiting" not in err and "gidle" not in err, err[:500])
    err = subprocess.run([program], env={**env, "GODEBUG": "schedtrace=5,scheddetail=1"},
                         capture_output=True, text=True).stderr
    check("Go's scheddetail", re.search(r"^  G\d+: status=4\(", err, re.M) and
          "gwaiting" not in err, err[:500])
    code = subprocess.run(["go", "tool", "objdump", "-s", r"^runtime\.(schedule|newproc1|stackcacherefill|stackalloc)$", program],
                          capture_output=True, text=True, env=env).stdout
    functions = dict(re.findall(r"^TEXT (runtime\.\w+)\(SB\).*?\n(.*?)(?=^TEXT|\Z)", code,
                                re.M | re.S))
    check("Go's schedule", "runtime.findRunnable" in functions["runtime.schedule"] and
          "gosched" not in functions["runtime.schedule"], functions["runtime.schedule"][:300])
    check("Go's newproc1", "runtime.casgstatus" in functions["runtime.newproc1"] and
          "runtime.goexit" in functions["runtime.newproc1"], functions["runtime.newproc1"][:300])
    calls = set(re.findall(r"CALL (runtime\.\w+)", functions["runtime.stackcacherefill"]))
    check("Go's stackcacherefill", "runtime.stackpoolalloc" in calls and
          "runtime.stackalloc" not in calls and "runtime.throw" not in calls, calls)
    check("Go's stackalloc", "runtime.stackcacherefill" in functions["runtime.stackalloc"] and
          "runtime.throw" in functions["runtime.stackalloc"], functions["runtime.stackalloc"][:300])


def main():
    with tempfile.TemporaryDirectory(prefix="loam-tour-") as scratch:
        whole, steps = measured()
        if failures:
            return
        against_the_machine(steps)
        twice(steps)
        page()
        doctor = Doctor(whole, scratch)
        doctor.unchanged()
        for changes in (automaton, park, schedtrace, preempt, newproc, growth):
            changes(doctor)
        doctor.all_noticed()
        doctor.judge(whole)
        usage(doctor.path)
        not_measured(scratch)
        go_facts(scratch)


main()
for failure in failures:
    print("FAILED", failure)
print("%d failures" % len(failures))
sys.exit(bool(failures))
