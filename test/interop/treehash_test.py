#!/usr/bin/env python3
"""treehash prints what find, sort and sha256sum print, byte for byte; its limits and exit codes."""

import os
import pty
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile

BUILT = os.path.join(os.environ["LOAM_BUILD_ROOT"], "examples", "treehash")
VARIANT = os.environ["LOAM_VARIANT"]
SLOW = {"release": 1, "debug": 2}.get(VARIANT, 8)
REFERENCE = "find \"$1\" -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum"

failures = []


def check(name, good, found=None):
    if not good:
        failures.append("%s: %s" % (name, str(found)[:2000]))


def run(args, program=BUILT, **more):
    env = {**os.environ, **more.pop("env", {})}
    return subprocess.run([program, *args], capture_output=True, timeout=60 * SLOW, env=env,
                          stdin=subprocess.DEVNULL, **more)


def reference(root, cwd=None):
    return subprocess.run(["sh", "-c", REFERENCE, "sh", root], cwd=cwd, capture_output=True,
                          timeout=60 * SLOW).stdout


def first_difference(a, b):
    for x, y in zip(a.splitlines(), b.splitlines()):
        if x != y:
            return x, y
    return "%d and %d lines" % (a.count(b"\n"), b.count(b"\n"))


def same(name, root, **more):
    ours, theirs = run([root], **more), reference(root, more.get("cwd"))
    check(name, ours.stdout == theirs, first_difference(ours.stdout, theirs))
    check(name + ": status", ours.returncode == 0 and ours.stderr == b"", ours.stderr[-500:])
    return theirs.count(b"\n")


def write(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


# ---- What it prints ---------------------------------------------------------------------------

def names(root):
    """Names that the order and the escapes have to get right."""
    hard = [b"a", b"a.b", b"a-c", b"a0", b"A", b"a b", b" ", b"-n", b"*", b"\\", b"back\\slash",
            b"new\nline", b"cr\rcr", b"\n", b"\r", b"tab\tq", b"\x01", b"\xff\xfe", "ä€".encode(),
            b"'", b'"', b".hidden", b"a\\\nb\\", b"z" * 255]
    for depth in (b"", b"sub", b"sub.d", b"sub-d", b"sub0", b"sub/sub", b"n\nl", b"b\\s"):
        os.makedirs(os.path.join(root, depth), exist_ok=True)
        for name in hard:
            path = os.path.join(root, depth, name)
            if not os.path.isdir(path):
                write(path, name)
    # Each of these sorts differently as a file and as a directory.
    for i, name in enumerate((b"x", b"x.h", b"x.d", b"x-", b"x0", b"x_", b"x,y")):
        os.makedirs(os.path.join(root, b"mixed", name) if i % 2 else os.path.join(root, b"mixed"),
                    exist_ok=True)
        write(os.path.join(root, b"mixed", name, b"in") if i % 2 else
              os.path.join(root, b"mixed", name), name)


SIZES = (0, 1, 55, 56, 63, 64, 65, 4096, 131071, 131072, 131073, 262144, 1000003)


def sizes(root):
    """Around the sizes of a block, a page and the reader's buffer."""
    for size in SIZES:
        write(os.path.join(root, b"size%d" % size), random.randbytes(size))


def others(root):
    """What is no regular file is left out; links are not followed."""
    write(os.path.join(root, b"file"), b"file")
    os.mkdir(os.path.join(root, b"dir"))
    write(os.path.join(root, b"dir", b"in"), b"in")
    os.mkdir(os.path.join(root, b"empty"))
    os.symlink(b"file", os.path.join(root, b"link"))
    os.symlink(b"dir", os.path.join(root, b"link to dir"))
    os.symlink(b".", os.path.join(root, b"loop"))
    os.symlink(b"nowhere", os.path.join(root, b"dangling"))
    os.mkfifo(os.path.join(root, b"fifo"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.join(root, b"socket"))


def random_tree(root, rng):
    alphabet = [b"a", b"b", b".", b"-", b"0", b"\\", b"\n", b"_", b" "]
    directories = [root]
    for _ in range(rng.randrange(20, 120)):
        name = b"".join(rng.choices(alphabet, k=rng.randrange(1, 5)))
        path = os.path.join(rng.choice(directories), name)
        if name in (b".", b"..") or os.path.lexists(path):
            continue
        if rng.random() < 0.35:
            os.mkdir(path)
            directories.append(path)
        else:
            write(path, rng.randbytes(rng.randrange(0, 300)))


def contents(scratch):
    for make in (names, sizes, others):
        root = os.path.join(scratch, make.__name__.encode())
        os.mkdir(root)
        make(root)
        check(make.__name__ + ": not empty", same(make.__name__, root) > 0)
    for spelling in (b"names/", b"./names", b"names//", b"names/sub/../sub", b"others/loop/", b"."):
        same("spelled %r" % spelling, spelling, cwd=scratch)
    same("a file as root", os.path.join(scratch, b"names", b"back\\slash"))
    link = os.path.join(scratch, b"others", b"link to dir")
    done = run([link])
    check("a link as root", done.stdout == reference(link) == b"" and done.returncode == 0 and
          b"not followed" in done.stderr, done)
    for seed in range(20 if SLOW < 8 else 5):
        root = os.path.join(scratch, b"random%d" % seed)
        os.mkdir(root)
        random_tree(root, random.Random(seed))
        same("random tree %d" % seed, root)
        same("random tree %d, in a seeded run" % seed, root, env={"LOAMDEBUG": "dst=%d" % seed})
    for procs in ("1", "2", "4"):
        same("GOMAXPROCS=" + procs, os.path.join(scratch, b"names"), env={"GOMAXPROCS": procs})


# ---- What it reports ----------------------------------------------------------------------------

def too_long(scratch):
    """Below the longest path: a file and a directory that nobody can open by their paths."""
    root = os.path.join(scratch, b"deep")
    os.mkdir(root)
    write(os.path.join(root, b"fine"), b"fine")
    here = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(b"d" * 250, dir_fd=here)
        below = os.open(b"d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        os.close(os.open(b"f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    ours = run([root])
    check("too long", ours.stdout == reference(root), first_difference(ours.stdout, reference(root)))
    check("too long: status", ours.returncode == 1, ours.returncode)
    check("too long: says so", b"File name too long" in ours.stderr, ours.stderr[-300:])
    check("too long: counts", b"could not be read" in ours.stderr.splitlines()[-1], ours.stderr[-300:])


def unreadable(scratch):
    """Files and directories without permission, as somebody who is not root."""
    root = os.path.join(scratch, b"closed")
    for d in (b"open", b"no list", b"no search"):
        os.makedirs(os.path.join(root, d))
        write(os.path.join(root, d, b"file"), d)
    write(os.path.join(root, b"no read\n"), b"secret")
    os.chmod(os.path.join(root, b"no read\n"), 0)
    os.chmod(os.path.join(root, b"no list"), 0o300)
    os.chmod(os.path.join(root, b"no search"), 0o400)
    who = {}
    program = BUILT
    if os.geteuid() == 0:  # root reads everything
        program = os.path.join(scratch, b"treehash")
        shutil.copy(BUILT, program)
        for path, folders, files in os.walk(root):
            for name in folders + files:
                os.chown(os.path.join(path, name), 65534, 65534)
        os.chown(root, 65534, 65534)
        who = {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        ours = run([root], program=program, cwd="/", **who)
    except PermissionError as error:
        print("cannot become another user: %s; permissions not tried" % error, file=sys.stderr)
        return
    finally:
        os.chmod(os.path.join(root, b"no search"), 0o700)
        os.chmod(os.path.join(root, b"no list"), 0o700)
    lines = ours.stderr.splitlines()
    expected = reference(os.path.join(root, b"open"))
    check("unreadable: the rest", ours.stdout == expected, (ours.stdout, expected))
    check("unreadable: status", ours.returncode == 1, ours.returncode)
    for name in (b"no read\\n", b"no list", b"no search/file"):
        line = b"treehash: " + os.path.join(root, name) + b": Permission denied"
        check("unreadable: " + name.decode(), line in lines, lines)
    last = b"treehash: 2 files and 1 directories could not be read"
    check("unreadable: the counts", lines[-1:] == [last], lines)


def statuses(scratch):
    done = run(["--help"])
    check("--help", done.returncode == 0 and done.stdout.startswith(b"Usage: treehash"), done)
    for args in ([], ["a", "b"], ["--nonsense"], [""]):
        done = run(args)
        check("usage %s" % args, done.returncode == 2 and done.stdout == b"" and
              done.stderr.startswith(b"treehash: "), done)
    done = run([os.path.join(scratch, b"missing")])
    check("missing", done.returncode == 1 and b"No such file" in done.stderr, done)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BUILT, os.path.join(scratch, b"names")], stdout=full,
                              stderr=subprocess.PIPE, timeout=60 * SLOW)
    check("/dev/full", done.returncode == 1 and b"No space left" in done.stderr, done)
    done = run(["--summary", os.path.join(scratch, b"sizes")])
    expected = "treehash: files=%d directories=1 bytes=%d unreadable=0 seconds=" % (len(SIZES),
                                                                                    sum(SIZES))
    check("summary", done.stderr.startswith(expected.encode()), done.stderr)


# ---- What it needs ------------------------------------------------------------------------------

def open_files(scratch):
    """Files and directories open at once are few, however many there are.

    64 threads on files that take longer than a time slice: without a limit all would be open."""
    root = os.path.join(scratch, b"wide")
    for i in range(60):
        os.makedirs(os.path.join(root, b"%d" % i, b"a", b"b"))
        with open(os.path.join(root, b"%d" % i, b"a", b"b", b"file"), "wb") as f:
            f.write(b"%d" % i)
            f.truncate(10 << 20)

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    same("40 descriptors", root, preexec_fn=limit, env={"GOMAXPROCS": "64"})


def memory(scratch):
    """Ten times the files with long paths take no more memory."""
    root = os.path.join(scratch, b"many")
    path = root + (b"/" + b"p" * 240) * 8
    os.makedirs(path)
    peak = []
    made = 0
    for count in (2000, 20000):
        for made in range(made, count):
            os.close(os.open(b"%s/%d" % (path, made), os.O_CREAT | os.O_WRONLY))
        process = subprocess.Popen([BUILT, root], stdout=subprocess.DEVNULL)
        peak.append(os.wait4(process.pid, 0)[2].ru_maxrss)
        process.returncode = 0
    shutil.rmtree(root)
    # 18,000 paths of 2 KB would be 36 MB; their names in one listing are 1 MB.
    check("memory", peak[1] - peak[0] < 8 << 10, "%d KB, then %d KB" % tuple(peak))


def on_terminal(scratch):
    """Progress goes to a terminal, and only there."""
    path = os.path.join(scratch, b"big", b"sparse")
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as f:
        f.truncate(1 << 30)
    env = {"TERM": "xterm"}
    quiet = run([os.path.dirname(path)], env=env)
    check("progress, no terminal", quiet.stderr == b"", quiet.stderr[:300])
    for options, expected in (([], True), (["--no-progress"], False)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([BUILT, *options, os.path.dirname(path)], stdout=subprocess.PIPE,
                                   stderr=theirs, env={**os.environ, **env})
        out = process.stdout.read()
        os.close(theirs)
        shown = b""
        try:
            while True:
                data = os.read(ours, 65536)
                if not data:
                    break
                shown += data
        except OSError:  # the other side is closed and all is read
            pass
        os.close(ours)
        check("progress: status", process.wait() == 0 and out == quiet.stdout, out)
        check("progress %s" % options, (b"files/s" in shown) == expected, shown[:300])
        if expected:
            check("progress: cleared at the end", shown.endswith(b"\r\033[K"), shown[-100:])


def main():
    if not os.path.exists(BUILT):
        print("treehash was not built: libcrypto is missing", file=sys.stderr)
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="loam-treehash-") as folder:
        os.chmod(folder, 0o755)
        scratch = folder.encode()
        contents(scratch)
        statuses(scratch)
        unreadable(scratch)
        open_files(scratch)
        if VARIANT in ("release", "debug"):  # sanitizers hold on to memory, and take their time
            memory(scratch)
            on_terminal(scratch)
        too_long(scratch)
    same("/usr/include/linux", "/usr/include/linux")
    for failure in failures:
        print("FAILED", failure)
    print("%d failures" % len(failures))
    sys.exit(bool(failures))


main()
