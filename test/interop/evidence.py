"""Strict parsers of what LOAMDEBUG prints: each takes a text and either understands all of it or
raises Malformed. The tables of states, wait reasons and events are read from the runtime's own."""

import os
import re
from collections import Counter, namedtuple

SOURCE = os.environ["LOAM_SOURCE_ROOT"]


class Malformed(Exception):
    """A line that is not of the form, or that cannot follow those before it."""


def need(condition, what, *where):
    if not condition:
        raise Malformed(": ".join([what, *map(str, where)]))


def table(path, macro):
    """The arguments of each MACRO(...) of one of the runtime's tables, as strings."""
    with open(os.path.join(SOURCE, "runtime", path), encoding="ascii") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    rows = re.findall(r"^%s\((.*)\)$" % macro, text, re.M)
    return [[a.strip('"') for a in re.findall(r'"[^"]*"|[^,\s][^,]*', row)] for row in rows]


G_STATES = {name: int(number) for name, number, _ in table("sched/states.tbl", "GSTATE")}
P_STATES = {name: int(number) for name, number, _ in table("sched/states.tbl", "PSTATE")}
G_EDGES = {tuple(row[:2]) for row in table("sched/states.tbl", "GEDGE")}
REASONS = [text for _, text in table("sched/waitreasons.tbl", "WAIT")]
EVENTS = {name: (int(number), args.split())
          for number, name, args in table("trace/events.tbl", "EVENT")}

# ---- schedtrace, scheddetail, schedstates, ASLEEP -------------------------------------------------

NUM = r"(\d+)"
BOOL = r"(true|false)"
OR_NIL = r"(\d+|nil)"
HEAD = re.compile(
    f"SCHED {NUM}ms: gomaxprocs={NUM} idleprocs={NUM} threads={NUM} spinningthreads={NUM} "
    f"needspinning={NUM} idlethreads={NUM} runqueue={NUM}")
HEAD_NAMES = "time gomaxprocs idleprocs threads spinningthreads needspinning idlethreads runqueue"
BRIEF = re.compile(r" \[((?: \d+)+) \] schedticks=\[((?: \d+)+) \]")
DETAIL = re.compile(f" gcwaiting={BOOL} nmidlelocked={NUM} stopwait={NUM} sysmonwait={BOOL}")
P_LINE = re.compile(f"  P{NUM}: status={NUM} schedtick={NUM} syscalltick={NUM} m={OR_NIL} "
                    f"runqsize={NUM} gfreecnt={NUM} timerslen={NUM}")
M_LINE = re.compile(f"  M{NUM}: p={OR_NIL} curg={OR_NIL} mallocing={NUM} throwing={NUM} preemptoff= "
                    f"locks={NUM} dying={NUM} spinning={BOOL} blocked={BOOL} lockedg={OR_NIL}")
G_LINE = re.compile(rf"  G{NUM}: status={NUM}\((.*)\) m={OR_NIL} lockedm={OR_NIL}")
STATES_LINE = re.compile(f"GSTATES {NUM}ms: gidle={NUM} grunnable={NUM} grunning={NUM} "
                         f"gsyscall={NUM} gwaiting={NUM} gdead={NUM}")
ASLEEP_LINE = re.compile(f"ASLEEP p={NUM} m={NUM} g={NUM} name=(.+): in the kernel for {NUM}ms "
                         "without loam_blocking")

P = namedtuple("P", "id status schedtick syscalltick m runqsize gfreecnt timerslen")
M = namedtuple("M", "id p curg mallocing throwing locks dying spinning blocked lockedg")
G = namedtuple("G", "id status reason m lockedm")
Asleep = namedtuple("Asleep", "p m g name ms")


def value(text):
    """A number, a truth value, None for nil; or the text itself."""
    return {"nil": None, "true": True, "false": False}.get(
        text, int(text) if text.isdigit() else text)


class Stop:
    """One SCHED line with all that belongs to it."""

    def __init__(self, line):
        found = HEAD.match(line)
        need(found, "no SCHED line of the form", line)
        self.line = line
        self.__dict__.update(zip(HEAD_NAMES.split(), map(int, found.groups())))
        rest = line[found.end():]
        brief, detail = BRIEF.fullmatch(rest), DETAIL.fullmatch(rest)
        need(brief or detail, "the end of the SCHED line", line)
        self.detail = detail is not None
        if brief:
            self.queues, self.ticks = ([int(n) for n in part.split()] for part in brief.groups())
        else:
            names = ("gcwaiting", "nmidlelocked", "stopwait", "sysmonwait")
            self.__dict__.update(zip(names, map(value, detail.groups())))
        self.ps, self.ms, self.gs, self.counts, self.asleep = {}, {}, [], None, []

    def add(self, line):
        """True if the line belongs to this stop; the order is P, M, G, GSTATES, ASLEEP."""
        for pattern, make, put, before in (
                (P_LINE, P, lambda x: self.ps.__setitem__(x.id, x), lambda: self.ms),
                (M_LINE, M, lambda x: self.ms.__setitem__(x.id, x), lambda: self.gs),
                (G_LINE, G, self.gs.append, lambda: self.counts or self.asleep)):
            found = pattern.fullmatch(line)
            if found:
                made = make(*(value(v) for v in found.groups()))
                need(self.detail, "not asked for", line)
                need(not before(), "out of order", line)
                need(made.id not in (self.ps if make is P else self.ms if make is M else ()),
                     "twice", line)
                put(made)
                return True
        found = STATES_LINE.fullmatch(line)
        if found:
            need(self.counts is None and not self.asleep, "out of order", line)
            need(int(found[1]) == self.time, "another time than its SCHED line", line)
            names = ("idle", "runnable", "running", "syscall", "waiting", "dead")
            self.counts = dict(zip(names, map(int, found.groups()[1:])))
            return True
        found = ASLEEP_LINE.fullmatch(line)
        if found:
            self.asleep.append(Asleep(*(value(v) for v in found.groups())))
            return True
        return False

    def check(self):
        """What holds at every stop, however much goes on while it is printed."""
        n = self.gomaxprocs
        need(n >= 1 and self.idleprocs <= n, "more idle Ps than Ps", self.line)
        need(self.spinningthreads + self.idlethreads <= self.threads, "threads", self.line)
        need(self.spinningthreads <= n, "more spin than there are Ps", self.line)
        need(self.threads >= 1, "no thread", self.line)
        for a in self.asleep:
            need(a.p < n, "ASLEEP on a P that is not there", a)
        need(len({a.p for a in self.asleep}) == len(self.asleep), "ASLEEP twice", self.asleep)
        if self.detail:
            self.check_detail()
        else:
            need(len(self.queues) == n, "one queue length for each P", self.line)
            need(len(self.ticks) == n, "one tick for each P", self.line)

    def check_detail(self):
        """sched.lock is held while this is printed: what lies on the idle lists stays there."""
        need(list(self.ps) == list(range(self.gomaxprocs)), "the Ps in order", self.line, self.ps)
        need(len(self.ms) >= self.threads - 2, "an M for each thread but the monitor and the maker", self.line)
        free = [p for p in self.ps.values() if p.status == P_STATES["idle"] and p.m is None]
        need(len(free) >= self.idleprocs, "idle Ps", self.line, self.ps)
        free = [m for m in self.ms.values() if m.p is None and m.curg is None]
        need(len(free) >= self.idlethreads, "idle Ms", self.line, self.ms)
        for p in self.ps.values():
            need(p.status in P_STATES.values(), "a status that is not in the table", p)
            need(p.m is None or p.m in self.ms, "an M that is not there", p)
        for m in self.ms.values():
            need(m.p is None or m.p in self.ps, "a P that is not there", m)
        for g in self.gs:
            need(g.status in G_STATES.values(), "a status that is not in the table", g)
            waits = g.status == G_STATES["waiting"]
            need(g.reason in REASONS and (g.reason != "") == waits, "the reason", g)
            need(g.m is None or g.m in self.ms, "an M that is not there", g)
            need(g.m is None or g.status in (G_STATES["running"], G_STATES["syscall"]), "an M", g)
            need(g.lockedm is None or g.lockedm in self.ms, "an M that is not there", g)
        if self.counts is not None:
            listed = Counter(g.status for g in self.gs)
            need({G_STATES[name]: n for name, n in self.counts.items() if n} == dict(listed),
                 "GSTATES does not count what is listed", self.counts, listed)

    def check_settled(self):
        """What holds besides where nothing moves any more: every reference has its counterpart."""
        ps, ms, alive = self.ps, self.ms, [g for g in self.gs if g.status != G_STATES["dead"]]
        gs = {g.id: g for g in alive}
        need(len(gs) == len(alive), "a goroutine twice", alive)
        need(self.idleprocs == sum(p.status == P_STATES["idle"] for p in ps.values()),
             "idle Ps", self.line, ps)
        need(self.idlethreads + self.nmidlelocked == sum(m.blocked for m in ms.values()),
             "threads asleep", self.line, ms)
        need(self.nmidlelocked == sum(m.blocked and m.lockedg is not None for m in ms.values()),
             "threads that wait for their goroutine", self.line, ms)
        for p in ps.values():
            need((p.m is not None) == (p.status == P_STATES["running"]), "who has this P", p)
            need(p.m is None or ms[p.m].p == p.id, "P and M", p, ms.get(p.m))
        for m in ms.values():
            need(m.p is None or ps[m.p].m == m.id, "M and P", m, ps.get(m.p))
            need(m.curg is None or gs[m.curg].m == m.id, "M and G", m, gs.get(m.curg))
            need(m.lockedg is None or gs[m.lockedg].lockedm == m.id, "wired", m)
            need(not m.blocked or m.p is None and m.curg is None, "asleep with work", m)
        for g in alive:
            need((g.m is not None) == (g.status in (G_STATES["running"], G_STATES["syscall"])),
                 "who runs it", g)
            need(g.m is None or ms[g.m].curg == g.id, "G and M", g, ms.get(g.m))
            need(g.lockedm is None or ms[g.lockedm].lockedg == g.id, "wired", g)
            if g.status in (G_STATES["running"], G_STATES["syscall"]):
                need((ms[g.m].p is not None) == (g.status == G_STATES["running"]), "its P", g)
        for a in self.asleep:
            need(ps[a.p].m == a.m and ms[a.m].curg == a.g, "ASLEEP and the lists", a)


def parse_sched(lines, detail, states, foreign=r"(?!)"):
    """The stops of a piece of standard error; lines that match `foreign` are the program's own."""
    stops = []
    for line in lines:
        if re.fullmatch(foreign, line):
            continue
        if not stops or not stops[-1].add(line):
            stops.append(Stop(line))
    for stop in stops:
        stop.check()
        need(stop.detail == detail, "detail", stop.line)
        need((stop.counts is not None) == states, "GSTATES", stop.line)
    for a, b in zip(stops, stops[1:]):
        need(a.time <= b.time, "time goes backward", a.line, b.line)
        for i in range(min(a.gomaxprocs, b.gomaxprocs)):
            before, after = ((s.ps[i].schedtick if detail else s.ticks[i]) for s in (a, b))
            need(before <= after, "a tick goes backward", a.line, b.line)
            if detail:
                need(a.ps[i].syscalltick <= b.ps[i].syscalltick, "a tick goes backward", b.line)
    return stops


# ---- gtrace -----------------------------------------------------------------------------------------

GTRACE_LINE = re.compile(r"GTRACE (\d+)\.(\d{6})ms: g=(\d+) (\w+)->(\w+) p=(\d+|nil) m=(\d+|nil)"
                         r"(?: reason=(.+))?")
Transition = namedtuple("Transition", "ns g before after p m reason")


def parse_gtrace(lines, goid, foreign=r"(?!)"):
    """The transitions of one goroutine, each an edge of the table and the next of the one before."""
    found = []
    for line in lines:
        if re.fullmatch(foreign, line):
            continue
        match = GTRACE_LINE.fullmatch(line)
        need(match, "no GTRACE line of the form", line)
        ms, ns, *rest, reason = match.groups()
        found.append(t := Transition(int(ms) * 1000000 + int(ns), *map(value, rest), reason))
        need(t.g == goid, "another goroutine", line)
        need((t.before, t.after) in G_EDGES, "no edge of the automaton", line)
        need((t.reason is not None) == (t.after == "waiting"), "a reason", line)
        need(t.reason is None or t.reason in REASONS[1:], "no reason of the table", line)
        if "running" in (t.before, t.after) and t.after != "syscall":
            need(t.m is not None, "runs on no thread", line)
        if t.after == "running" and t.before != "syscall":
            need(t.p is not None, "runs without a P", line)
        last = found[-2] if len(found) > 1 else None
        need(t.before == (last.after if last else "dead"), "not from where it was", last, line)
        need(last is None or last.ns <= t.ns, "time goes backward", last, line)
    return found


# ---- evtrace ----------------------------------------------------------------------------------------

EVENT_LINE = re.compile(r"(\d+) (\d+) (\d+) (\w+)((?: \w+=\d+)*)")
Event = namedtuple("Event", "index ns name args")


class Trace:
    """Go's rules for the order of events, as `go tool trace` checks them, for one P."""

    def __init__(self):
        self.g, self.seq, self.p_seq = {}, {}, 0
        self.p, self.current, self.stopped = "idle", None, False
        self.events = []

    def feed(self, line):
        match = EVENT_LINE.fullmatch(line)
        need(match, "no event of the form", line)
        index, ns, number, name, rest = match.groups()
        need(name in EVENTS and EVENTS[name][0] == int(number), "no such event", line)
        pairs = [pair.split("=") for pair in rest.split()]
        need([key for key, _ in pairs] == EVENTS[name][1], "its arguments", line)
        event = Event(int(index), int(ns), name, {key: int(v) for key, v in pairs})
        need(event.index == len(self.events), "the index", line)
        need(not self.events or self.events[-1].ns <= event.ns, "time goes backward", line)
        rule = getattr(self, name, None)
        need(rule, "an event that a seeded run does not have", line)
        try:
            rule(**event.args)
        except Malformed as error:
            raise Malformed(f"{line}: {error}; running: {self.current}") from None
        self.events.append(event)

    def next_of(self, g, seq):
        need(seq == self.seq[g] + 1, "the goroutine's sequence number", self.seq[g])
        self.seq[g] = seq

    def next_of_p(self, seq):
        need(seq == self.p_seq + 1, "the P's sequence number", self.p_seq)
        self.p_seq = seq

    def leaves(self, g, to):
        need(self.current == g and self.g[g] == "running", "it does not run")
        self.g[g], self.current = to, None

    def ProcsChange(self, n):
        need(n == 1, "a seeded run has one P")

    def ProcStart(self, p, seq):
        need(p == 0 and self.p == "idle" and not self.stopped, "the P", self.p)
        self.next_of_p(seq)
        self.p = "running"

    def ProcStop(self, p):
        need(p == 0 and self.p == "running" and self.current is None, "the P", self.p)
        self.p = "idle"

    def GoCreate(self, g, parent):
        need(g > 0 and g not in self.g, "it exists already")
        need(parent in (0, self.current), "its parent does not run")
        self.g[g], self.seq[g] = "runnable", 0

    def GoStart(self, g, seq):
        need(self.g[g] == "runnable", "not runnable", self.g[g])
        need(self.p == "running" and self.current is None and not self.stopped, "nothing to run on")
        self.next_of(g, seq)
        self.g[g], self.current = "running", g

    def GoDestroy(self, g):
        self.leaves(g, "dead")

    def GoStop(self, g, reason):
        del reason
        self.leaves(g, "runnable")

    def GoBlock(self, g, reason):
        need(0 < reason < len(REASONS), "no reason of the table")
        self.leaves(g, "waiting")

    def GoUnblock(self, g, seq):
        need(self.g[g] == "waiting", "not waiting", self.g[g])
        self.next_of(g, seq)
        self.g[g] = "runnable"

    def GoSyscallBegin(self, g, pseq):
        need(self.current == g and self.g[g] == "running", "it does not run")
        self.next_of_p(pseq)
        self.g[g] = "syscall"

    def GoSyscallEnd(self, g):
        need(self.current == g and self.g[g] == "syscall", "not in a call")
        self.g[g] = "running"

    def STWBegin(self, kind):
        need(kind in range(4) and not self.stopped, "a stop within a stop")
        self.stopped = True

    def STWEnd(self):
        need(self.stopped, "the world runs")
        self.stopped = False


def parse_evtrace(text):
    need(text.endswith("\n"), "the last line is whole", text[-80:])
    trace = Trace()
    for line in text.splitlines():
        trace.feed(line)
    return trace


# ---- stacktrace --------------------------------------------------------------------------------------

GROWN = re.compile(rf"STACK (grow|alloca) g={NUM} need={NUM} size={NUM} source=(cache|pool|system) "
                   rf"total={NUM}")
TAKEN = re.compile(rf"STACK alloc size={NUM} path=stackalloc(,stackcacherefill)?,(pool|large)(,system)? "
                   rf"batch={NUM}")
GIVEN = re.compile(rf"STACK free size={NUM} path=stackfree(,stackcacherelease)?,(pool|large) batch={NUM}")
LARGE = 64 << 10  # from here on a stack is not cached
Growth = namedtuple("Growth", "how g need size source total taken")
Taken = namedtuple("Taken", "size refill place system batch")


def parse_stacktrace(lines, foreign=r"(?!)"):
    """(growths, what was taken, what was given) of a run with one processor, where the line of what was
    taken for a growth stands before it."""
    grown, taken, given, last = [], [], [], None
    for line in lines:
        if re.fullmatch(foreign, line):
            continue
        match = GROWN.fullmatch(line) or TAKEN.fullmatch(line) or GIVEN.fullmatch(line)
        need(match, "no STACK line of the form", line)
        size = int(match[4] if match.re is GROWN else match[1])
        need(2048 <= size <= 1 << 30 and size & size - 1 == 0, "the size", line)
        if match.re is GROWN:
            how, goid, room, _, source, total = (value(v) for v in match.groups())
            need(goid > 0 and room < size and total >= size, "the figures", line)
            need(size < LARGE or source != "cache", "a large one is never in a cache", line)
            mine = None if source == "cache" else last
            if source != "cache":
                need(mine and mine.size == size, "nothing was taken for it", line)
                need(mine.system == (source == "system"), "another source", line, mine)
            grown.append(Growth(how, goid, room, size, source, total, mine))
            last = None
            continue
        large, batch = match[3] == "large", int(match[5 if match.re is TAKEN else 4])
        need(large == (size >= LARGE), "pool or large", line)
        need(match[2] is None or not large, "a large one is never in a cache", line)
        need(batch >= 1 and (batch == 1 or match[2]), "a batch is the cache's", line)
        if match.re is TAKEN:
            last = Taken(size, match[2] is not None, match[3], match[4] is not None, batch)
            taken.append(last)
        else:
            given.append(size)
            last = None
    return grown, taken, given


# ---- Tracebacks and dumps ------------------------------------------------------------------------------

HEADER = re.compile(r'goroutine (\d+)(?: "([^"\n]+)")? \[([^],\n]+)(?:, (\d+) minutes)?'
                    r"(, asleep in the kernel)?(, locked to thread)?\](?: \{.*\})?:")
FUNCTION = re.compile(r"([^\s()]+)\(\.\.\.\)|(0x[0-9a-f]+)")
PLACE = re.compile(r"\t(?:(/[^:]+):(\d+)(?: \+0x[0-9a-f]+)?|(/\S+|\?|[^/\s]\S*)(?: \+0x[0-9a-f]+)?)")
CREATED = re.compile(r"created by (\S+) in goroutine (\d+)")
ELSEWHERE = "\tgoroutine running on other thread; stack unavailable"
STATUSES = {"runnable", "running", "syscall", *REASONS[1:]}
Goroutine = namedtuple("Goroutine", "id name status asleep locked frames created")


def parse_goroutine(block):
    lines = block.splitlines()
    head = HEADER.fullmatch(lines[0])
    need(head, "no header of the form", lines[0])
    need(head[3] in STATUSES, "no status of the table", lines[0])
    frames, created = [], None
    lines = lines[1:]
    if lines[:1] == [ELSEWHERE]:
        need(head[3] in ("running", "syscall"), "its stack is at hand", block)
        lines = lines[1:]
    while lines:
        need(created is None, "a frame after the creator", block)
        elided = re.fullmatch(r"\.\.\.[1-9]\d* frames elided\.\.\.", lines[0])
        function, creator = FUNCTION.fullmatch(lines[0]), CREATED.fullmatch(lines[0])
        need(function or creator or elided, "no frame of the form", lines[0])
        if elided:
            lines = lines[1:]
            continue
        place = PLACE.fullmatch(lines[1]) if len(lines) > 1 else None
        need(place, "no place of the form", lines[:2])
        where = (os.path.basename(place[1]), int(place[2])) if place[1] else (place[3], None)
        if creator:
            created = (creator[1], int(creator[2]), where)
        else:
            frames.append((function[1] or function[2], *where))
        lines = lines[2:]
    return Goroutine(int(head[1]), head[2], head[3], head[5] is not None, head[6] is not None,
                     frames, created)


def parse_dump(text):
    """(what stands before the first goroutine, all goroutines); none of them twice."""
    before, *blocks = re.split(r"\n(?=goroutine \d)", "\n" + text)
    found = [parse_goroutine(block) for block in blocks]
    need(len({g.id for g in found}) == len(found), "a goroutine twice", [g.id for g in found])
    return before[1:], found
