#!/usr/bin/env python3
"""Runs a test program: in a process group of its own, with a timeout after which it has to dump.

On a timeout the group gets SIGQUIT, to which the runtime answers with a dump of all goroutines and
exit status 2; after a grace period it is killed. Output passes through as it comes; the exit status
is the program's own, 128 + N if signal N killed it, 124 after a timeout.

With --repeat N the program runs N times, with --seeds A..B once per seed with LOAMDEBUG=dst=SEED
added, two at a time; the first failure is shown with the exact command that repeats it.
"""

import argparse
import concurrent.futures
import ctypes
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

TIMEOUT_STATUS = 124
ADDR_NO_RANDOMIZE = 0x0040000

# Defaults only: what the environment already says stays. TSan sleeps a second at the end of each process
# that has more than one thread or fiber, to see what the others still do: of tests that start hundreds of
# processes that was most of the time.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99:second_deadlock_stack=1:atexit_sleep_ms=10",
}


def in_child(no_aslr):
    """What the child does before it becomes the test."""
    libc = ctypes.CDLL(None)

    def prepare():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A shell ignores it for what it starts in the background: no dump then, and tests of it fail.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        if no_aslr:
            # Where a container forbids it the test still runs, with the layout as it comes.
            libc.personality(ADDR_NO_RANDOMIZE)

    return prepare


def signal_group(pgid, number):
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        pass


def run_once(command, env, args, end, stdout=None, stop=None):
    """Runs the command until the time `end`; returns its status. stop, an event, ends it early."""
    sys.stdout.flush()
    begin = time.monotonic()
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=stdout,
                               stderr=subprocess.STDOUT if stdout else None,
                               start_new_session=True, preexec_fn=in_child(args.no_aslr))
    pgid = process.pid
    status = None
    try:
        while status is None:
            left = end - time.monotonic()
            if left <= 0 or (stop and stop.is_set()):
                break
            try:
                status = process.wait(min(left, 0.5) if stop else left)
            except subprocess.TimeoutExpired:
                pass
        if status is None and stop and stop.is_set():
            status = 0
        elif status is None:
            seconds = time.monotonic() - begin
            signal_group(pgid, signal.SIGQUIT)
            try:
                process.wait(args.grace)
                how = "goroutine dump above"
            except subprocess.TimeoutExpired:
                how = "no answer to SIGQUIT within %g s, killed" % args.grace
            text = "TIMEOUT after %.0f s, %s\n" % (seconds, how)
            if stdout:
                stdout.write(text.encode())
                stdout.flush()
            else:
                sys.stderr.write(text)
            status = TIMEOUT_STATUS
    finally:
        # Also what the program left behind.
        signal_group(pgid, signal.SIGKILL)
        process.wait()
    return 128 - status if status < 0 else status


def describe(status):
    if status > 128:
        try:
            return "killed by " + signal.Signals(status - 128).name
        except ValueError:
            pass
    return "exit status %d" % status


def with_seed(env, seed):
    value = ",".join(filter(None, [env.get("LOAMDEBUG"), "dst=%d" % seed]))
    return {**env, "LOAMDEBUG": value}, "LOAMDEBUG=" + shlex.quote(value) + " "


def run_many(command, env, args):
    """Runs all seeds or repetitions, args.jobs at a time, up to the first failure.

    The timeout is for all of them together, a run gets what the others have left of it."""
    end = time.monotonic() + args.timeout
    if args.seeds:
        first, last = args.seeds
        runs = [("seed %d" % s, *with_seed(env, s)) for s in range(first, last + 1)]
    else:
        runs = [("run %d of %d" % (i, args.repeat), env, "") for i in range(1, args.repeat + 1)]
    stop = threading.Event()
    failures = []

    def one(run):
        label, run_env, prefix = run
        if stop.is_set():
            return
        with tempfile.TemporaryFile() as output:
            status = run_once(command, run_env, args, end, stdout=output, stop=stop)
            if status != args.exit and not stop.is_set():
                stop.set()
                output.seek(0)
                failures.append((label, status, prefix, output.read()))

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(one, runs))
    if not failures:
        print("%d runs passed" % len(runs))
        return 0
    label, status, prefix, output = failures[0]
    if "/" in command[0]:
        command = [os.path.abspath(command[0]), *command[1:]]
    sys.stdout.flush()
    sys.stdout.buffer.write(output)
    print("\n%s failed: %s\nrepeat it with: %s%s" %
          (label, describe(status), prefix, shlex.join(command)))
    return status or 1


def seed_range(text):
    match = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError("expected A..B with A <= B")
    return int(match[1]), int(match[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=30, help="seconds for the whole test")
    parser.add_argument("--grace", type=float, default=5, help="seconds between dump and kill")
    parser.add_argument("--no-aslr", action="store_true", help="fixed address space layout")
    parser.add_argument("--exit", type=int, default=0, help="the status that means success")
    parser.add_argument("--repeat", type=int, help="run N times")
    parser.add_argument("--seeds", type=seed_range, metavar="A..B", help="run once per seed")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at once")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("no command")
    env = {**SANITIZERS, **os.environ}
    if args.seeds or args.repeat:
        return run_many(command, env, args)
    status = run_once(command, env, args, time.monotonic() + args.timeout)
    if status == args.exit:
        return 0
    if status > 128:
        print(describe(status), file=sys.stderr)
    return status or 1


if __name__ == "__main__":
    sys.exit(main())
