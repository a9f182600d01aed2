#!/usr/bin/env python3
"""Makes the manual pages.

Section 3, a page for each documented function, macro and type, and one for each header, from the
documentation comments of the public headers: the block comment directly above a declaration; its
first sentence is the summary, lines indented by five blanks are code; declarations that follow each
other without a blank line and a comment of their own share it. A macro that is used like a function
says so by a line of code, its prototype, which the page shows in its place. "Errors: -ENAME what; ..."
becomes a list. Section 7, the overview loam(7),
from the comments at the heads of the headers and the table of settings. Section 1 from the tool's
own --help texts: a usage line, paragraphs, and headings that end in a colon over indented entries
`  -x, --long ARG  text`; the entries under "Commands:" are asked for their own --help.

usage: gen_man.py --out DIR [--tool build/loam]
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETTINGS = "runtime/base/debugvar.tbl"

# kind is function, macro or type; lines is the declaration as it is shown.
Item = collections.namedtuple("Item", "kind name lines")
# text is the comment's, as a list of lines.
Group = collections.namedtuple("Group", "text items section")
Header = collections.namedtuple("Header", "path text groups bare")


# ---- Reading headers ---------------------------------------------------------------------------

def comment_text(block):
    """The lines of a block comment without its frame; indentation beyond one blank stays."""
    body = block[2:-2]
    lines = [re.sub(r"^ \* ?", "", line) if i else line.strip(" ")
             for i, line in enumerate(body.split("\n"))]
    return [line.rstrip() for line in "\n".join(lines).strip().split("\n")]


def function_name(text):
    """The identifier before the last parameter list that stands in no other."""
    name, depth = None, 0
    for match in re.finditer(r"(\w+)?\s*([()])", text):
        if match[2] == ")":
            depth -= 1
        else:
            if depth == 0 and match[1]:
                name = match[1]
            depth += 1
    return name


def make_item(lines):
    text = "\n".join(lines)
    match = re.match(r"#\s*define\s+(\w+)(\([^)]*\))?(.*)", text, re.S)
    if match:
        constant = match[2] is None and "\\" not in match[3]
        return Item("macro", match[1], ["#define %s%s%s" % (
            match[1], match[2] or "", match[3].rstrip() if constant else "")])
    match = re.match(r"(?:typedef\s+)?(struct|union|enum)\s*(\w*)\s*(?:\{|;)", text)
    if match and not text.startswith("typedef"):
        return Item("type", match[2], lines)
    if text.startswith("typedef"):
        match = re.search(r"(\w+)\s*(?:\)\s*\(.*\))?;$", text, re.S)
        return Item("type", match[1] if match else "", lines)
    text = re.sub(r"\s*__attribute__\s*\(\(.*\)\)", "", text.split("{")[0], flags=re.S)
    text = re.sub(r"\b(LOAM_API|static|inline|extern)\s+", "", text).replace("LOAM_NORETURN",
                                                                             "_Noreturn")
    text = text.strip().rstrip(";") + ";"
    name = function_name(text) or ""
    first, *more = text.split("\n")
    # What is left out moves the parameters: they stay below each other.
    indent = first.index(name + "(") + len(name) + 1 if name + "(" in first else 4
    return Item("function", name, [first] + [" " * indent + line.strip() for line in more])


def prototype(item, text):
    """A macro's (item, comment) with the prototype that the comment gives instead of its #define."""
    for i, line in enumerate(text):
        if (item.kind == "macro" and line.startswith("    ") and line.endswith(");") and
                function_name(line.strip()) == item.name):
            rest = text[:i] + text[i + 1:]
            while i < len(rest) and not rest[i] and (i == 0 or not rest[i - 1]):
                del rest[i]
            return Item("macro", item.name, [line.strip()]), rest
    return item, text


def parse_header(path, text):
    lines = text.split("\n")
    head, groups, bare, section = None, [], [], ""
    pending, open_group = None, None
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.startswith("/*"):
            block = line
            while "*/" not in lines[i]:
                i += 1
                block += "\n" + lines[i]
            title = re.fullmatch(r"/\* -+ (.*?) -+ \*/", block)
            if title:
                section, pending, open_group = title[1], None, None
            elif head is None:
                head = comment_text(block)
            else:
                pending, open_group = comment_text(block), None
        elif not line.strip():
            pending, open_group = None, None
        elif re.match(r"#\s*(?!define)|LOAM_(BEGIN|END)_DECLS|extern \"C\"|\}", line):
            pending = None
        else:
            declaration = [line]
            if line.startswith("#"):
                while lines[i].endswith("\\"):
                    i += 1
                    declaration.append(lines[i])
            else:
                def complete():
                    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", "\n".join(declaration), flags=re.S)
                    return (code.count("{") == code.count("}") and
                            code.count("(") == code.count(")") and
                            code.rstrip().endswith((";", "}")))
                while not complete() and i + 1 < len(lines):
                    i += 1
                    declaration.append(lines[i])
            item = make_item(declaration)
            if pending is not None:
                item, pending = prototype(item, pending)
                open_group = Group(pending, [item], section)
                groups.append(open_group)
                pending = None
            elif open_group is not None:
                open_group.items.append(item)
            else:
                bare.append(item)
        i += 1
    return Header(path, head or [], groups, bare)


def public(item):
    """Has a page: loam_*, but not the slow paths that inline functions call."""
    return item.name.startswith("loam_") and not item.name.endswith(("_", "_slow"))


def undocumented(header):
    return [i.name for i in header.bare if public(i) and i.lines[-1:] != ["struct %s;" % i.name]]


def read_headers(root):
    include = os.path.join(root, "include")
    paths = ["loam.h"] + sorted("loam/" + f for f in os.listdir(os.path.join(include, "loam"))
                                if f.endswith(".h"))
    headers = []
    for path in paths:
        with open(os.path.join(include, path), encoding="utf-8") as f:
            headers.append(parse_header(path, f.read()))
    return headers


# ---- Writing mdoc ------------------------------------------------------------------------------

def escape(line):
    line = line.replace("\\", "\\e")
    return "\\&" + line if line.startswith((".", "'")) else line


def macro_argument(text):
    """Text behind a macro: what could be read as a macro or an argument's end is defused."""
    text = escape(text).replace('"', "\\(dq")
    return re.sub(r"(?<!\S)([A-Z%][A-Za-z][a-z]?)(?!\S)", r"\\&\1", text)


def first_sentence(text):
    joined = " ".join(" ".join(text).split("  ")[0].split())
    sentence = re.split(r"\.(?:\s|$)", joined, maxsplit=1)[0]
    return sentence.rstrip(":")


def literal(lines):
    return [".Bd -literal", *[escape(line) for line in lines], ".Ed"]


def paragraphs(text):
    """mdoc for a comment: paragraphs, and code where lines are indented by five blanks."""
    out, code = [], []

    def end_code():
        while code and not code[-1]:
            code.pop()
        if code:
            out.extend([".Bd -literal -offset indent", *[escape(line) for line in code], ".Ed"])
            code.clear()
    for line in text:
        if line.startswith("    "):
            if out and out[-1] == ".Pp":
                out.pop()
            code.append(line[4:])
        elif not line:
            if code:
                code.append("")
            elif out and out[-1] != ".Pp":
                out.append(".Pp")
        else:
            if code:
                end_code()
                out.append(".Pp")
            # A new sentence begins a new line: mdoc spaces it.
            out.extend(escape(part) for part in re.split(r"(?<=[.!?]) +", line.strip()))
    end_code()
    while out and out[-1] == ".Pp":
        out.pop()
    return out


def take_errors(text):
    """The comment without its sentence "Errors: -ENAME what; ..." or "Errors as of NAME; ...", that NAME,
    and [(errors, what)]; if the sentence has another form, the comment as it was, None and []."""
    joined = "\n".join(text)
    match = re.search(r"\s*\bErrors(?::\s|\sas\sof\s(\w+)(?:;\s)?)(.*?)\.(?=\s|$)", joined, re.S)
    if not match:
        return text, None, []
    found = []
    for part in re.split(r";\s", match[2]) if match[2] else []:
        error = re.fullmatch(r"(-E\w+(?:,\s+-E\w+)*)\s+(.*)", part.strip(), re.S)
        if not error:
            return text, None, []
        found.append((" ".join(error[1].split()), " ".join(error[2].split())))
    rest = joined[:match.start()] + joined[match.end():]
    return rest.strip("\n").split("\n"), match[1], found


def errors_section(like, errors):
    if not like and not errors:
        return []
    out = [".Sh ERRORS", "Returned as negative values; errno is left alone."]
    if like:
        out += ["%s of" % ("All those" if not errors else "Those"), ".Xr %s 3%s" % (
            like, " ." if not errors else " , and:")]
    if errors:
        out.append(".Bl -tag -width Er")
        for names, what in errors:
            out += [".It " + names.replace("-", "\\-"), escape(what) + "."]
        out.append(".El")
    return out


class Pages:
    def __init__(self, out, version, date):
        self.out, self.version, self.date = out, version, date
        self.written = []

    def write(self, name, section, names, summary, body):
        folder = os.path.join(self.out, "man%d" % section)
        os.makedirs(folder, exist_ok=True)
        lines = [".Dd " + self.date, ".Dt %s %d" % (name.upper(), section),
                 ".Os Loam " + self.version, ".Sh NAME"]
        lines += [".Nm %s%s" % (n, " ," if n != names[-1] else "") for n in names]
        lines += [".Nd " + macro_argument(summary), *body]
        page = "%s.%d" % (name, section)
        for n in names:
            path = os.path.join(folder, "%s.%d" % (n, section))
            if os.path.lexists(path):
                os.remove(path)
            if n == name:
                with open(path, "w", encoding="utf-8") as f:
                    f.write("\n".join(lines) + "\n")
            else:
                os.symlink(page, path)
            self.written.append(path)


def see_also(references):
    references = sorted(set(references), key=lambda r: (r[1], r[0]))
    if not references:
        return []
    return [".Sh SEE ALSO"] + [".Xr %s %d%s" % (n, s, " ," if (n, s) != references[-1] else "")
                               for n, s in references]


def header_page(header):
    return header.path.replace("/", "-")


def section3(headers, pages):
    known = {i.name: group for h in headers for group in h.groups for i in group.items if public(i)}
    for header in headers:
        for group in header.groups:
            names = list(dict.fromkeys(i.name for i in group.items if public(i)))
            if not names:
                continue
            shown = [i for i in group.items if not i.name.endswith("_slow")]
            body = [".Sh LIBRARY", "Loam (libloam, \\-lloam)", ".Sh SYNOPSIS", ".In loam.h"]
            body += literal([line for i in shown for line in i.lines])
            text, like, errors = take_errors(group.text)
            body += [".Sh DESCRIPTION", *paragraphs(text), *errors_section(like, errors)]
            words = set(re.findall(r"\bloam_\w+", "\n".join(
                group.text + [line for i in shown for line in i.lines])))
            body += see_also([(w, 3) for w in words if w in known and w not in names] +
                             [(header_page(header), 3), ("loam", 7)])
            pages.write(names[0], 3, names, first_sentence(group.text), body)
        page = header_page(header)
        body = [".Sh SYNOPSIS", ".In " + header.path, ".Sh DESCRIPTION", *paragraphs(header.text),
                *contents(header), *see_also([(header_page(h), 3) for h in headers
                                              if h is not header] + [("loam", 7)])]
        pages.write(page, 3, [page], first_sentence(header.text), body)


def contents(header):
    """What a header's page lists: a line for each page, constants in full."""
    out, section, in_list = [], None, False

    def end_list():
        if in_list:
            out.append(".El")
        return False
    for group in header.groups:
        names = [i.name for i in group.items if public(i)]
        if not names and any(i.kind == "function" or i.name.endswith("_") for i in group.items):
            continue
        if group.section != section and group.section:
            in_list = end_list()
            out.append(".Ss " + macro_argument(group.section))
        section = group.section
        if names:
            if not in_list:
                out += [".Bl -tag -width Ds"]
                in_list = True
            out += [".It " + " , ".join("Xr %s 3" % n for n in names),
                    *paragraphs([first_sentence(group.text) + "."])]
        else:
            in_list = end_list()
            if out and not out[-1].startswith(".Ss"):
                out.append(".Pp")
            out += [*paragraphs(group.text),
                    *literal([line for i in group.items for line in i.lines])]
    end_list()
    return out


def section7(headers, root, pages):
    main = headers[0]
    body = [".Sh DESCRIPTION", *paragraphs([re.sub(r"^This header", "The header loam.h", line)
                                            for line in main.text[2:] or main.text]),
            ".Pp", "A program is compiled and run by", ".Xr loam 1 ,", "or by any C compiler with",
            ".Bd -literal -offset indent", "cc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs loam)",
            ".Ed", ".Sh HEADERS", ".Bl -tag -width Ds"]
    for header in headers:
        body += [".It In " + header.path, *paragraphs([first_sentence(header.text) + "."]), "See",
                 ".Xr %s 3 ." % header_page(header)]
    body += [".El", ".Sh ENVIRONMENT",
             "Of two names the second is asked where the first is not set.",
             "A program that embeds Loam may refuse them all, by LOAM_NO_ENV in", ".Xr loam_config 3 .",
             ".Bl -tag -width Ds",
             ".It Ev LOAMMAXPROCS , GOMAXPROCS",
             "How many threads run goroutines at once; without it as many as CPU affinity and the",
             "cgroup's quota allow.",
             ".It Ev LOAMDEBUG , GODEBUG",
             "Settings, separated by commas: name=value.",
             "Unknown names are ignored.",
             "What they print goes to standard error.", ".Bl -tag -width Ds"]
    with open(os.path.join(root, SETTINGS), encoding="utf-8") as f:
        text = f.read()
    for kind, name, what in re.findall(
            r'^DEBUG(\w+)\((\w+),(?:[^,"]*,)?\s*"((?:[^"\\]|\\.)*)"\)', text, re.M):
        body += [".It Cm %s Ns = Ns Ar %s" % (name, "file" if kind == "STR" else "number"),
                 escape(what.replace('\\"', '"'))]
    body += [".El", ".El"]
    body += see_also([("loam", 1)] + [(header_page(h), 3) for h in headers])
    pages.write("loam", 7, ["loam"], "goroutines, channels and their scheduler for C", body)


# ---- Section 1 from --help ---------------------------------------------------------------------

def help_of(tool, *words):
    done = subprocess.run([tool, *words, "--help"], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0 or not done.stdout.strip():
        sys.exit("gen_man.py: %s does not print its help" % " ".join((tool, *words, "--help")))
    return done.stdout.rstrip().split("\n")


def parse_help(lines):
    """(usage lines, [(heading or None, [("text", line) or ("entry", key, [lines])])])"""
    usage, sections = [], [(None, [])]
    i = 0
    while i < len(lines) and (lines[i].lower().startswith("usage:") or
                              (usage and lines[i].startswith(" ") and lines[i].strip())):
        usage.append(re.sub(r"^usage:", "", lines[i], flags=re.I).strip())
        i += 1
    for line in lines[i:]:
        current = sections[-1][1]
        entry = re.match(r"^ {1,4}(\S.*?)(?: {2,}(\S.*))?$", line)
        if re.match(r"^[A-Z][^.]*:$", line):
            sections.append((line[:-1], []))
        elif sections[-1][0] and entry:
            current.append(("entry", entry[1], [entry[2]] if entry[2] else []))
        elif line.startswith("     ") and current and current[-1][0] == "entry":
            current[-1][2].append(line.strip())
        else:
            current.append(("text", line))
    return usage, sections


def help_body(sections, level):
    out = []
    for heading, parts in sections:
        if heading:
            out.append("%s %s" % (level, macro_argument(heading)))
        text, in_list = [], False

        def end_text():
            done = paragraphs(text)
            while done and done[0] == ".Pp":
                done.pop(0)
            if done and out and not out[-1].startswith((".S", ".Pp")):
                out.append(".Pp")
            out.extend(done)
            text.clear()
        for part in parts:
            if part[0] == "entry":
                end_text()
                if not in_list:
                    out.append(".Bl -tag -width Ds")
                    in_list = True
                out.append(".It " + macro_argument(part[1]).replace("-", "\\-"))
                out.extend(escape(line) for line in part[2])
            else:
                if in_list and part[1]:
                    out.append(".El")
                    in_list = False
                text.append(part[1])
        if in_list:
            out.append(".El")
        end_text()
    return out


def section1(tool, pages):
    usage, sections = parse_help(help_of(tool))
    body = [".Sh SYNOPSIS"]
    commands = [re.split(r"[ ,]", part[1])[0] for heading, parts in sections
                if heading == "Commands" for part in parts if part[0] == "entry"]
    helps = {c: parse_help(help_of(tool, c)) for c in commands if c != "help"}
    synopsis = usage + [u for c in helps for u in helps[c][0]]
    body += literal(synopsis)
    body += [".Sh DESCRIPTION", *help_body(sections, ".Ss")]
    for command, (_, parts) in helps.items():
        body += [".Sh LOAM " + command.upper(), *help_body(parts, ".Ss")]
    body += see_also([("loam", 7)])
    pages.write("loam", 1, ["loam"], "run, build and look at programs with goroutines", body)


# ---- Main --------------------------------------------------------------------------------------

def generate(root, out, tool, version=None):
    """Writes all pages; returns (paths, headers). tool may be None: no section 1."""
    if version is None:
        version = subprocess.run([os.path.join(root, "tools", "version.sh")], capture_output=True,
                                 text=True, check=True).stdout.strip()
    stamp = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    pages = Pages(out, version, "%s %d, %d" % (time.strftime("%B", stamp), stamp.tm_mday,
                                               stamp.tm_year))
    headers = read_headers(root)
    section3(headers, pages)
    section7(headers, root, pages)
    if tool:
        section1(tool, pages)
    return pages.written, headers


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", help="write into DIR/man1, DIR/man3, DIR/man7")
    where.add_argument("--install", metavar="MANDIR",
                       help="the same at `meson install`, which says where by its environment")
    parser.add_argument("--tool", help="the tool whose --help becomes loam(1)")
    args = parser.parse_args()
    out = args.out
    if args.install:
        out = os.path.join(os.environ["MESON_INSTALL_DESTDIR_PREFIX"], args.install)
        args.tool = args.tool and os.path.join(os.environ["MESON_BUILD_ROOT"], args.tool)
        if os.environ.get("MESON_INSTALL_DRY_RUN"):
            return
    generate(ROOT, out, args.tool)


if __name__ == "__main__":
    main()
