"""What the gates share: finding the tree and its files, the command line, the self-test."""

import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


def files(root):
    """The project's files, relative to root: what git tracks or would; without git, all but build/."""
    if os.path.exists(os.path.join(root, ".git")):
        try:
            listed = subprocess.run(
                ["git", "-c", "safe.directory=*", "ls-files", "-z", "-c", "-o", "--exclude-standard"],
                cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
            return sorted(f for f in set(listed) if f and os.path.isfile(os.path.join(root, f)))
        except (OSError, subprocess.CalledProcessError):
            pass
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [d for d in folders
                      if d not in (".git", "__pycache__") and os.path.join(folder, d) !=
                      os.path.join(root, "build")]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def without_comments(text):
    """C text with comments blanked out; line numbers stay."""
    def blank(match):
        return match[0] if match[0][0] in "\"'" else re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def read_list(root, path):
    """Lines of `KEY... # reason`; returns {tuple of words: reason}. A reason is required."""
    entries = {}
    for number, line in enumerate(read(root, path).splitlines(), 1):
        words, _, reason = line.partition("#")
        words = tuple(words.split())
        if not words:
            continue
        if not reason.strip():
            sys.exit("%s:%d: an entry wants its reason: %s  # reason" % (path, number, line))
        entries[words] = reason.strip()
    return entries


class Tree:
    """A small tree in a temporary folder, for self-tests."""

    def __init__(self, contents):
        self.folder = tempfile.TemporaryDirectory(prefix="gate-")
        self.root = self.folder.name
        for path, text in contents.items():
            path = os.path.join(self.root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)

    def __enter__(self):
        return self.root

    def __exit__(self, *_):
        self.folder.cleanup()


def expect(complaints, *patterns):
    """In a self-test: exactly these complaints, one pattern each."""
    unmatched = list(complaints)
    for pattern in patterns:
        hit = next((c for c in unmatched if re.search(pattern, c)), None)
        if hit is None:
            sys.exit("self-test: no complaint matches %r among %r" % (pattern, complaints))
        unmatched.remove(hit)
    if unmatched:
        sys.exit("self-test: unexpected: %r" % unmatched)


def main(description, check, selftest, arguments=None):
    """Runs a gate. check(root, args) returns (complaints, summary); selftest() exits if it fails."""
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=ROOT, help="the tree to check (default: this one)")
    parser.add_argument("--build", default=None, help="a build directory (default: ROOT/build)")
    parser.add_argument("--self-test", action="store_true", help="show that the gate can fail")
    if arguments:
        arguments(parser)
    args = parser.parse_args()
    args.root = os.path.abspath(args.root)
    args.build = os.path.abspath(args.build or os.path.join(args.root, "build"))
    name = os.path.basename(sys.argv[0])
    if args.self_test:
        selftest()
        print("%s: self-test passed" % name)
        return
    complaints, summary = check(args.root, args)
    for complaint in complaints:
        print(complaint)
    print("%s: %s" % (name, "%d complaints" % len(complaints) if complaints else summary))
    sys.exit(1 if complaints else 0)
