#!/usr/bin/env python3
"""The completion scripts offer what the tool has, and nothing else: each option of each --help by its
long name, or by the short one where it has no other. bash is asked as if somebody pressed the key;
of the scripts for zsh and fish, which need not be installed, the text is read."""

import os
import re
import subprocess
import sys

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.environ["LOAM_SOURCE_ROOT"]
SCRIPTS = ("loam.bash", "_loam", "loam.fish")
# Commands that the scripts may offer before the tool has them: by the file that brings them.
TO_COME = {"tour": "cmd/loam/tour.c"}


def script(name):
    with open(os.path.join(SOURCE, "completions", name), encoding="utf-8") as f:
        return f.read()


def help_of(*words):
    return subprocess.run([TOOL, *words, "--help"], capture_output=True, text=True, check=True,
                          timeout=30, stdin=subprocess.DEVNULL).stdout


def section(text, title):
    match = re.search(r"^%s:\n((?:[ \t].*\n|\n(?=[ \t]))*)" % title, text, re.M)
    return match[1] if match else ""


def explained(text):
    """[names] of each option that a help explains, at the beginning of an indented line."""
    found = []
    for line in text.splitlines():
        if re.match(r" {1,4}-", line):
            names = re.findall(r"(?<![\w-])(--[a-z][a-z-]+|-[A-Za-z](?![a-z]))",
                               re.split(r"(?<=\S)  ", line)[0])
            found.append(names)
    return found


def offered_by_bash(*words):
    """What the script answers behind these words."""
    ask = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _loam; ' \
          'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", ask, "bash",
                           os.path.join(SOURCE, "completions", "loam.bash"), TOOL, *words],
                          capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    if done.returncode != 0 or done.stderr:
        sys.exit("loam.bash fails behind %s: %s" % (" ".join(words), done.stderr))
    return {line.rstrip("=") for line in done.stdout.split()}


def offered_by_zsh(command):
    """Names in the specifications of _arguments, in the command's case and in arrays that it uses."""
    text = script("_loam")
    case = re.search(r"^\s*%s\)(.*?);;" % command, text, re.M | re.S)
    if not case:
        return set()
    specs = case[1]
    for array in re.findall(r"\$(\w+)", case[1]):
        specs += re.search(r"^\s*%s=\((.*?)^\s*\)" % array, text, re.M | re.S)[1]
    specs = re.sub(r"'\([^')]*\)", "'", specs)  # what a name excludes
    return set(re.findall(r"(?<=[',{*])(--[a-z-]*[a-z]|-[A-Za-z])(?=[+=]?[\[,}])", specs))


def offered_by_fish(command):
    found = set()
    for line in script("loam.fish").splitlines():
        if re.search(r" -n '__loam_is [^';]*\b%s\b" % command, line):
            options = re.sub(r" -n '[^']*'", "", line)
            found |= set("--" + o for o in re.findall(r" -l ([a-z][a-z-]+)", options))
            found |= set("-" + o for o in re.findall(r" -s ([A-Za-z])\b", options))
    return found


def wrong_options(name, command, offers, help_options):
    wrong = ["%s: %s lacks %s" % (name, command or "the tool", names[-1])
             for names in help_options
             if not offers & set(n for n in names
                                 if n.startswith("--") or len(names) == 1)]
    known = {n for names in help_options for n in names}
    return wrong + ["%s: %s has no %s" % (name, command or "the tool", o)
                    for o in sorted(offers - known)]


def main():
    commands = set(re.findall(r"^ {1,4}([a-z]+)\b", section(help_of(), "Commands"), re.M))
    if not commands:
        sys.exit("`loam --help` has no section \"Commands:\"")
    wrong = []
    at_first = offered_by_bash("")
    wrong += wrong_options("loam.bash", "", {o for o in at_first if o.startswith("-")},
                           explained(help_of()))
    offered = {
        "loam.bash": {o for o in at_first if not o.startswith("-")},
        "_loam": set(re.findall(r"^\s*'([a-z]+):", re.search(
            r"commands=\((.*?)^\s*\)", script("_loam"), re.M | re.S)[1], re.M)),
        "loam.fish": set(re.findall(r"-n __loam_begins -a ([a-z]+)", script("loam.fish"))),
    }
    absent = {c for c, file in TO_COME.items() if not os.path.exists(os.path.join(SOURCE, file))}
    for name in SCRIPTS:
        wrong += ["%s lacks the command %s" % (name, c) for c in sorted(commands - offered[name])]
        wrong += ["%s: the tool has no command %s" % (name, c)
                  for c in sorted(offered[name] - commands - absent)]
    if offered_by_bash("help", "") - absent != commands:
        wrong.append("loam.bash: `loam help` does not offer the commands")
    for command in sorted(commands - {"help"}):
        has = explained(help_of(command))
        wrong += wrong_options("loam.bash", command, offered_by_bash(command, "-"), has)
        wrong += wrong_options("_loam", command, offered_by_zsh(command), has)
        wrong += wrong_options("loam.fish", command, offered_by_fish(command), has)
    variables = {line.split("=")[0] for line in subprocess.run(
        [TOOL, "env"], capture_output=True, text=True, check=True).stdout.splitlines()}
    if offered_by_bash("env", "") != variables:
        wrong.append("loam.bash: `loam env` does not offer its variables")
    if offered_by_bash("run", "--variant", "=", "as") != {"asan"}:
        wrong.append("loam.bash: --variant= does not offer the variants")
    if offered_by_bash("run", "x.c", "-"):
        wrong.append("loam.bash: options where the program's arguments are")
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
