#!/usr/bin/env python3
"""The completion scripts offer what the tool has, and nothing else."""

import os
import re
import subprocess
import sys

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.environ["LOAM_SOURCE_ROOT"]


def help_of(*words):
    return subprocess.run([TOOL, *words, "--help"], capture_output=True, text=True, check=True,
                          timeout=30, stdin=subprocess.DEVNULL).stdout


def section(text, title):
    match = re.search(r"^%s:\n((?:[ \t].*\n|\n(?=[ \t]))*)" % title, text, re.M)
    return match[1] if match else ""


def options(text):
    """Long options that the help explains, at the beginning of an indented line."""
    found = {"--help"}
    for line in text.splitlines():
        if re.match(r" {1,4}-", line):
            found |= set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.split(r"\S  ", line)[0]))
    return found


def offered(name, command):
    """Long options that a script offers for a command."""
    with open(os.path.join(SOURCE, "completions", name), encoding="utf-8") as f:
        text = f.read()
    if name == "loam.fish":
        lines = [line for line in text.splitlines() if re.search(
            r"'__fish_seen_subcommand_from [^']*\b%s\b" % command, line)]
        found = set(re.findall(r" -l ([a-z][a-z-]+)", "\n".join(lines)))
        return {"--" + f for f in found} | {"--help"}
    lines = [line for line in text.splitlines() if re.match(r"\s*%s\)" % command, line)]
    return set(re.findall(r"--[a-z][a-z-]+", "\n".join(lines)))


def main():
    wrong = []
    commands = set(re.findall(r"^ {1,4}([a-z]+)\b", section(help_of(), "Commands"), re.M))
    if not commands:
        sys.exit("`loam --help` has no section \"Commands:\"")
    for name in ("loam.bash", "_loam", "loam.fish"):
        with open(os.path.join(SOURCE, "completions", name), encoding="utf-8") as f:
            text = f.read()
        for command in sorted(commands):
            if not re.search(r"\b%s\b" % command, text):
                wrong.append("%s lacks the command %s" % (name, command))
                continue
            if command == "help":
                continue
            has = options(help_of(command))
            offers = offered(name, command)
            wrong += ["%s: %s lacks %s" % (name, command, o) for o in sorted(has - offers)]
            wrong += ["%s: %s has no %s" % (name, command, o) for o in sorted(offers - has)]
    bash = set(re.search(r"commands='([^']*)'", open(os.path.join(
        SOURCE, "completions", "loam.bash"), encoding="utf-8").read())[1].split())
    wrong += ["the tool has no command %s" % c for c in sorted(bash - commands)]
    if subprocess.run(["bash", "-n", os.path.join(SOURCE, "completions", "loam.bash")],
                      check=False).returncode:
        wrong.append("loam.bash does not parse")
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
