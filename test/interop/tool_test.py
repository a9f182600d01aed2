#!/usr/bin/env python3
"""The command line tool from outside: messages, statuses, arguments, signals, what it leaves."""

import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.environ["LOAM_SOURCE_ROOT"]
VARIANT = os.environ.get("LOAM_VARIANT", "release")
SUBCOMMANDS = ("build", "run", "env", "version", "help", "pcln")
# Time enough for a loaded machine; reached only when something is wrong.
PATIENCE = 60

ARGUMENTS = """\
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        printf("[%s]", argv[i]);
    printf("%d\\n", loam_version() == LOAM_VERSION);
    return argc > 1 ? atoi(argv[1]) : 0;
}
"""
# Says when it is ready, then counts SIGINT and SIGTERM until something comes in on stdin.
SIGNALS = """\
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile sig_atomic_t count;
static void handler(int sig)
{
    (void)sig;
    count++;
}
int main(int argc, char **argv)
{
    char byte;
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART};
    if (argc > 1 && strcmp(argv[1], "catch") == 0) {
        sigaction(SIGINT, &act, NULL);
        sigaction(SIGTERM, &act, NULL);
    }
    printf("ready %d %s\\n", (int)getpid(), argv[0]);
    fflush(stdout);
    if (read(0, &byte, 1) < 0)
        return 99;
    return 10 + count;
}
"""


def run(*arguments, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=PATIENCE,
                          check=False, **more)


class Base(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.tmp = self.path("tmp")
        os.mkdir(self.tmp)
        self.env = {**os.environ, "TMPDIR": self.tmp}
        for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS", "LOAMROOT", "NO_COLOR"):
            self.env.pop(name, None)
        self.source = self.write("args.c", ARGUMENTS)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def run_tool(self, *arguments, **more):
        more.setdefault("env", self.env)
        done = run(*arguments, cwd=self.dir.name, **more)
        self.assertEqual(os.listdir(self.tmp), [], "left behind")
        return done

    def fails(self, status, message, hint, *arguments, **more):
        done = self.run_tool(*arguments, **more)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertIn(message, done.stderr)
        self.assertIn(hint, done.stderr)
        return done.stderr


class Help(Base):
    def test_help_of_each(self):
        for name in SUBCOMMANDS:
            long = self.run_tool(name, "--help")
            self.assertEqual((long.returncode, long.stderr), (0, ""))
            self.assertTrue(long.stdout.startswith("Usage: loam "), long.stdout)
            self.assertLessEqual(max(map(len, long.stdout.splitlines())), 100)
            self.assertEqual(self.run_tool("help", name).stdout, long.stdout)

    def test_list(self):
        done = self.run_tool("--help")
        listed = re.findall(r"^  (\w+) +\w", done.stdout.split("Commands:")[1], re.M)
        self.assertEqual(sorted(set(listed) - {"tour"}), sorted(set(SUBCOMMANDS) - {"pcln"}))
        self.assertEqual(self.run_tool("help").stdout, done.stdout)

    def test_version(self):
        version = subprocess.run([os.path.join(SOURCE, "tools", "version.sh")], check=True,
                                 capture_output=True, text=True).stdout.strip()
        self.assertEqual(self.run_tool("--version").stdout, f"loam {version}\n")
        self.assertRegex(self.run_tool("version").stdout,
                         rf"^loam version {re.escape(version)} linux/(amd64|arm64)\n$")
        verbose = self.run_tool("version", "-v").stdout
        self.assertRegex(verbose, r"(?m)^compiler (gcc|Debian clang|clang|\w+ clang)")
        self.assertIn(f"library {version}, {VARIANT} build\n", verbose)

    def test_no_layout_leaks_into_programs(self):
        source = self.write("env.c", '#include <stdio.h>\n#include <stdlib.h>\nint main(void) '
                            '{ puts(getenv("ARGP_HELP_FMT") ? "set" : "unset"); return 0; }\n')
        self.assertEqual(self.run_tool("run", source).stdout, "unset\n")


class Errors(Base):
    def test_subcommands(self):
        self.fails(2, "no subcommand 'rnu'", "did you mean `loam run`?", "rnu")
        self.fails(2, "no subcommand 'verison'", "did you mean `loam version`?", "verison")
        self.fails(2, "no subcommand 'quux'", "`loam help` lists them", "quux")
        self.fails(2, "no subcommand 'a.c'", "loam run a.c", "a.c")
        self.fails(2, "no subcommand 'biuld'", "did you mean `loam build`?", "help", "biuld")
        self.fails(2, "which subcommand?", "Commands:")
        self.fails(2, "one subcommand", "usage", "help", "run", "build")

    def test_usage(self):
        self.fails(125, "which C files?", "loam run --help", "run")
        self.fails(2, "which C files?", "loam build --help", "build")
        self.fails(125, "unrecognized option", "loam run --help", "run", "--bogus", self.source)
        self.fails(2, "unrecognized option", "loam --help", "--bogus")
        self.fails(2, "unrecognized option", "loam env --help", "env", "--bogus")
        self.fails(125, "--sanitize=adress", "address", "run", "--sanitize=adress", self.source)
        self.fails(125, "--variant=x", "torture", "run", "--variant=x", self.source)
        self.fails(125, "a quote is not closed", "", "run", "--cflags='x", self.source)

    def test_files(self):
        self.fails(125, "cannot read arsg.c: No such file", "did you mean args.c?", "run", "arsg.c")
        self.fails(1, "cannot read arsg.c: No such file", "did you mean args.c?", "build", "arsg.c")
        self.fails(125, "cannot read none/x.c", "", "run", "none/x.c")
        self.fails(125, "is a directory", f"loam run {self.dir.name}/*.c", "run", self.dir.name)
        self.fails(125, "tmp/ is a directory", "tmp/*.c", "run", "tmp/")
        self.write("args", "")
        self.fails(125, "args: not a file that a C compiler knows", "did you mean args.c?", "run",
                   "args")
        os.mkdir(self.path("build.d"))
        self.write("build.d.c", ARGUMENTS)
        self.fails(1, "cannot write the program build.d: it is a directory", "-o", "build",
                   "build.d.c")

    def test_compilation(self):
        broken = self.write("broken.c", "int main(void) { return x; }\n")
        self.fails(125, "broken.c:1:", "error:", "run", broken)
        self.fails(1, "broken.c:1:", "error:", "build", broken)
        wrong = self.write("wrong.c", "#include <loam.h>\nint main(void) "
                           "{ loam_chan(int) c = loam_chan_make(long, 1); return c != NULL; }\n")
        self.fails(125, "wrong.c:2:", "incompatible", "run", wrong)

    def test_compilers(self):
        self.fails(125, "no compiler 'no-such-cc', which --cc names", "--cc", "run",
                   "--cc=no-such-cc", self.source)
        self.fails(125, "no compiler 'no-such-cc', which CC names", "--cc", "run", self.source,
                   env={**self.env, "CC": "no-such-cc"})
        empty = {**self.env, "PATH": self.tmp}
        empty.pop("CC", None)
        self.fails(125, "none of cc, gcc and clang is on PATH", "install one", "run", self.source,
                   env=empty)

    def test_temporary_directory(self):
        nowhere = self.path("nowhere")
        self.fails(125, f"cannot make a temporary directory in {nowhere}", "set TMPDIR", "run",
                   self.source, env={**self.env, "TMPDIR": nowhere})

    def test_roots(self):
        self.fails(125, "LOAMROOT is /nowhere", "unset it", "run", self.source,
                   env={**self.env, "LOAMROOT": "/nowhere"})
        os.makedirs(self.path("root/include"))
        self.write("root/include/loam.h", "")
        self.fails(125, "no libloam.a", "make", "run", self.source,
                   env={**self.env, "LOAMROOT": self.path("root")})
        lonely = self.path("loam")
        shutil.copy(TOOL, lonely)
        done = subprocess.run([lonely, "run", self.source], env=self.env, capture_output=True,
                              text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("found neither headers nor library", done.stderr)

    def test_missing_variant(self):
        """A build tree without variants: the message says how to build one."""
        root = self.path("tree")
        os.makedirs(root + "/include")
        os.makedirs(root + "/build")
        for name in ("include/loam.h", "build/libloam.a"):
            self.write("tree/" + name, "")
        for option, name in (("--sanitize=address", "asan"), ("--sanitize=thread", "tsan"),
                             ("--sanitize=undefined", "ubsan"), ("--variant=torture", "torture")):
            self.fails(125, f"no {name} build", f"make -C {root} V={name}", "run", option,
                       self.source, env={**self.env, "LOAMROOT": root})

    def test_colours(self):
        """On a terminal only, and not with NO_COLOR."""
        self.assertNotIn("\033", self.run_tool("rnu", env={**self.env, "TERM": "xterm"}).stderr)
        for extra, coloured in (({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False),
                                ({"TERM": "xterm", "NO_COLOR": "1"}, False),
                                ({"TERM": "xterm", "NO_COLOR": ""}, True)):
            ours, theirs = pty.openpty()
            subprocess.run([TOOL, "rnu"], env={**self.env, **extra}, stderr=theirs, check=False,
                           timeout=PATIENCE)
            text = os.read(ours, 1000)
            os.close(ours)
            os.close(theirs)
            self.assertEqual(b"\033[" in text, coloured, (extra, text))


class Run(Base):
    def test_arguments(self):
        for arguments, output, status in (
                ([], "1\n", 0),
                (["7"], "[7]1\n", 7),
                (["0", "a b", "", "--", "-x"], "[0][a b][][--][-x]1\n", 0),
                (["--", "3", "-v", "--help"], "[3][-v][--help]1\n", 3),
                (["--", "--"], "[--]1\n", 0),
                (["--", "args.c"], "[args.c]1\n", 0),
                (["-v"], "[-v]1\n", 0)):
            done = self.run_tool("run", self.source, *arguments)
            self.assertEqual((done.stdout, done.returncode, done.stderr), (output, status, ""))

    def test_status_125_and_more(self):
        for status in (1, 2, 125, 255):
            self.assertEqual(self.run_tool("run", self.source, str(status)).returncode, status)

    def test_several_files(self):
        self.write("half.c", '#include <stdio.h>\nvoid half(void);\nvoid half(void) '
                   '{ puts("half"); }\n')
        self.write("whole.c", "void half(void);\nint main(int argc, char **argv) "
                   "{ (void)argv; half(); return argc; }\n")
        done = self.run_tool("run", "whole.c", "half.c", "x", "half.c")
        self.assertEqual((done.stdout, done.returncode), ("half\n", 3))
        self.write("-odd.c", ARGUMENTS)
        self.assertEqual(self.run_tool("run", "--", "-odd.c").returncode, 0)

    def test_flags(self):
        source = self.write("flags.c", '#include <stdio.h>\n#include "mine.h"\nint main(void) '
                            '{ printf("%s %d %d\\n", A, B, MINE);\n#ifdef __OPTIMIZE__\n'
                            'puts("optimised");\n#endif\nreturn 0; }\n')
        os.mkdir(self.path("inc"))
        self.write("inc/mine.h", "#define MINE 5\n")
        flags = ["-DA=\"x y\"", "-D", "B", "-I", "inc"]
        self.assertEqual(self.run_tool("run", *flags, source).stdout, "x y 1 5\noptimised\n")
        self.assertEqual(self.run_tool("run", *flags, "-O0", source).stdout, "x y 1 5\n")
        done = self.run_tool("run", "--cflags=-DA='\"x y\"' -Iinc -DB=3", source)
        self.assertEqual(done.stdout, "x y 3 5\noptimised\n")
        done = self.run_tool("run", source, env={
            **self.env, "CPPFLAGS": "-DA='\"e\"' -DB=1", "CFLAGS": "-Iinc -O0"})
        self.assertEqual(done.stdout, "e 1 5\n")
        done = self.run_tool("run", "-v", "--ldflags=-Wl,--as-needed", *flags, source)
        self.assertIn("-Wl,--as-needed", done.stderr)
        self.assertIn("'-DA=\"x y\"'", done.stderr)

    def test_standard_input_is_the_programs(self):
        source = self.write("cat.c", "#include <stdio.h>\nint main(void) { int c; while ((c = "
                            "getchar()) != EOF) putchar(c); return 0; }\n")
        done = subprocess.run([TOOL, "run", source], input="some text", capture_output=True,
                              text=True, timeout=PATIENCE, env=self.env, check=False)
        self.assertEqual(done.stdout, "some text")

    def test_keep_the_program(self):
        done = self.run_tool("run", "-o", "kept", self.source, "5")
        self.assertEqual(done.returncode, 5)
        again = subprocess.run([self.path("kept"), "6"], check=False, capture_output=True,
                               text=True, timeout=PATIENCE)
        self.assertEqual(again.returncode, 6)

    def test_variant_of_the_tool(self):
        """A tool in build/asan links that build of the library, with its sanitizer."""
        done = self.run_tool("run", "-v", self.source)
        sanitizer = {"asan": "address", "ubsan": "undefined", "tsan": "thread"}.get(VARIANT)
        self.assertEqual("-fsanitize=" in done.stderr, sanitizer is not None)


class Build(Base):
    def test_names(self):
        os.mkdir(self.path("out"))
        os.mkdir(self.path("src"))
        shutil.copy(self.source, self.path("src/deep.c"))
        for arguments, name in ((["args.c"], "args"), (["src/deep.c"], "deep"),
                                (["-o", "other", "args.c"], "other"),
                                (["args.c", "-o", "after"], "after"),
                                (["-o", "out", "args.c"], "out/args"),
                                (["-o", "out/x", "args.c"], "out/x")):
            done = self.run_tool("build", *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.assertTrue(os.stat(self.path(name)).st_mode & stat.S_IXUSR)
            program = subprocess.run([self.path(name), "4"], check=False, timeout=PATIENCE,
                                     capture_output=True)
            self.assertEqual(program.returncode, 4)

    def test_table(self):
        self.run_tool("build", "args.c")
        sections = subprocess.run(["readelf", "-SW", self.path("args")], check=True,
                                  capture_output=True, text=True).stdout
        self.assertIn(".loam_pcln", sections)

    def test_no_symbols(self):
        done = self.run_tool("build", "--ldflags=-s", "args.c")
        self.assertEqual(done.returncode, 0)
        self.assertIn("loam build: warning: tracebacks will name no functions", done.stderr)

    def test_no_program_after_an_error(self):
        self.write("broken.c", "int main(void) { return x; }\n")
        self.run_tool("build", "broken.c")
        self.assertFalse(os.path.exists(self.path("broken")))


class Directives(Base):
    MATH = ("#include <math.h>\n#include <stdio.h>\nint main(int argc, char **argv) "
            "{ (void)argv; printf(\"%.3f\\n\", cos((double)argc)); return 0; }\n")

    def directive(self, head, status, out, err=""):
        source = self.write("d.c", head + self.MATH)
        done = self.run_tool("run", "-O0", "--cflags=-fno-builtin", source)
        self.assertEqual((done.returncode, done.stdout), (status, out), done.stderr)
        self.assertIn(err, done.stderr)

    def test_libraries(self):
        works = (0, "0.540\n")
        self.directive("// loam: libs=m\n", *works)
        self.directive("/* Two lines\n * of prose. */\n\n// more\n// loam: libs=m\n", *works)
        self.directive("/* one */\n// loam: libs=m,pthread libs=m\n", *works)
        self.directive("// loam: libs=m\r\n", *works)

    def test_where_it_counts(self):
        for head in ("", "int x;\n// loam: libs=m\n", "/*\n// loam: libs=m\n*/\nint x;\n" * 0,
                     "/* loam: libs=m */\n"):
            self.directive(head, 125, "", "undefined reference")

    def test_errors(self):
        for head, message, hint in (
                ("// loam: lib=m\n", "d.c:1: unknown key 'lib'", "did you mean libs=?"),
                ("\n// loam: flags=-O3\n", "d.c:2: unknown key 'flags'", "there are libs="),
                ("// loam: libs=-Wl,x\n", "'-Wl' is no name of a library", "letters"),
                ("// loam: libs=m,\n", "'' is no name of a library", "letters"),
                ("// loam: libs=$(x)\n", "is no name of a library", "letters"),
                ("// loam: libs\n", "'libs' in a loam directive is not KEY=NAME", "for example"),
                ("// loam:\n", "says nothing", "for example")):
            self.directive(head, 125, "", message)
            self.directive(head, 125, "", hint)

    def test_who_asks_for_a_missing_library(self):
        self.directive("//\n// loam: libs=m,no-such\n", 125, "",
                       "d.c:2 asks for no-such (libs)")

    @unittest.skipUnless(shutil.which("pkg-config"), "no pkg-config")
    def test_packages(self):
        os.mkdir(self.path("pc"))
        self.write("pc/mine.pc", "Name: mine\nDescription: x\nVersion: 1\n"
                   "Cflags: -DMINE=\"a\\ b\"\nLibs: -lm\n")
        self.env["PKG_CONFIG_PATH"] = self.path("pc")
        self.directive("// loam: pkgs=mine\n", 0, "0.540\n")
        self.directive("// loam: pkgs=no-such\n", 125, "", "d.c:1 asks for no-such (pkgs)")


class Env(Base):
    def test_text(self):
        done = self.run_tool("env")
        values = dict(re.findall(r"^(\w+)='(.*)'$", done.stdout, re.M))
        self.assertEqual(len(values), len(done.stdout.splitlines()))
        self.assertTrue(os.path.exists(os.path.join(values["LOAMINCLUDE"], "loam.h")))
        self.assertTrue(os.path.exists(os.path.join(values["LOAMLIBDIR"], "libloam.a")))
        self.assertEqual(values["LOAMTOOL"], os.path.realpath(TOOL))
        self.assertEqual(values["LOAMVARIANT"], VARIANT)
        self.assertGreater(int(values["LOAMMAXPROCS"]), 0)
        self.assertIn("-fno-omit-frame-pointer", values["CFLAGS"])
        self.assertIn("-fstack-clash-protection", values["CFLAGS"])

    def test_json(self):
        for spelling in ("-json", "--json"):
            values = json.loads(self.run_tool("env", spelling).stdout)
            self.assertEqual(values["LOAMROOT"], os.path.realpath(SOURCE))
        done = self.run_tool("env", "-json", "CC", "LOAMOS")
        self.assertEqual(sorted(json.loads(done.stdout)), ["CC", "LOAMOS"])

    def test_names(self):
        done = self.run_tool("env", "LOAMOS", "LOAMVARIANT")
        self.assertEqual(done.stdout, f"linux\n{VARIANT}\n")
        self.fails(2, "no variable 'LOAMROT'", "did you mean LOAMROOT?", "env", "LOAMROT")
        self.fails(2, "no variable 'QUUX'", "lists them", "env", "QUUX")

    def test_settings(self):
        def value(name, **more):
            env = {k: v for k, v in self.env.items() if not re.match("(LOAM|GO)MAX|GODEB", k)}
            return self.run_tool("env", name, env={**env, **more}).stdout.rstrip("\n")
        self.assertEqual(value("LOAMMAXPROCS", LOAMMAXPROCS="5", GOMAXPROCS="6"), "5")
        self.assertEqual(value("LOAMMAXPROCS", GOMAXPROCS="6"), "6")
        self.assertEqual(value("LOAMMAXPROCS", LOAMMAXPROCS="many"), value("LOAMMAXPROCS"))
        self.assertEqual(value("LOAMDEBUG", LOAMDEBUG="a=1", GODEBUG="b=1"), "a=1")
        self.assertEqual(value("LOAMDEBUG", GODEBUG="b=1"), "b=1")
        self.assertEqual(value("CC", CC="ccache gcc"), "" if not shutil.which("ccache")
                         else "ccache gcc")

    def test_can_be_sourced(self):
        self.env["CFLAGS"] = "-DX='it'\\''s'"
        text = self.run_tool("env").stdout
        done = subprocess.run(["sh", "-c", f'{text}\nprintf "%s" "$CFLAGS"'], check=True,
                              capture_output=True, text=True)
        self.assertEqual(done.stdout + "\n", self.run_tool("env", "CFLAGS").stdout)


class Signals(Base):
    def setUp(self):
        super().setUp()
        self.signals = self.write("signals.c", SIGNALS)
        self.started = []

    def tearDown(self):
        for child in self.started:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()

    def start(self, *arguments, tool_arguments=(), **more):
        child = subprocess.Popen([TOOL, "run", *tool_arguments, self.signals, *arguments],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.env,
                                 text=True, **more)
        self.started.append(child)
        return child

    def ready(self, child):
        """The program's process and file, once it runs."""
        word, pid, path = child.stdout.readline().split()
        self.assertEqual(word, "ready")
        return int(pid), path

    def gone(self, check, what):
        end = time.monotonic() + PATIENCE
        while not check():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.02)

    def assert_clean(self):
        self.assertEqual(os.listdir(self.tmp), [])

    def test_signals_reach_the_program(self):
        child = self.start("catch")
        self.ready(child)
        for sig in (signal.SIGINT, signal.SIGTERM):
            child.send_signal(sig)
            time.sleep(0.05)
        child.stdin.write("x")
        child.stdin.close()
        self.assertEqual(child.wait(PATIENCE), 12)
        self.assert_clean()

    def test_death_by_the_same_signal(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            child = self.start()
            self.ready(child)
            child.send_signal(sig)
            self.assertEqual(child.wait(PATIENCE), -sig)
            self.assert_clean()

    def test_program_killed_by_others(self):
        for sig in (signal.SIGKILL, signal.SIGALRM, signal.SIGABRT):
            child = self.start()
            pid, _ = self.ready(child)
            os.kill(pid, sig)
            self.assertEqual(child.wait(PATIENCE), -sig)
            self.assert_clean()

    def test_sigkill_takes_everything_along(self):
        child = self.start()
        pid, path = self.ready(child)
        self.assertTrue(path.startswith(self.tmp + "/"), path)
        child.kill()
        child.wait()
        self.gone(lambda: os.listdir(self.tmp) == [], "the temporary directory")
        self.gone(lambda: not os.path.exists(f"/proc/{pid}"), "the program")

    def test_kill_of_the_process_group(self):
        child = self.start(start_new_session=True)
        self.ready(child)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self.gone(lambda: os.listdir(self.tmp) == [], "the temporary directory")

    def slow_compiler(self):
        """Leaves a file in its TMPDIR, says so by another, and then takes its time."""
        return self.write("slow-cc", f'#!/bin/sh\ntouch "$TMPDIR/x.s" "{self.dir.name}/begun"\n'
                          'exec sleep 60\n', 0o755)

    def test_signals_while_compiling(self):
        compiler = self.slow_compiler()
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            for command in ("run", "build"):
                child = subprocess.Popen([TOOL, command, f"--cc={compiler}", self.signals],
                                         env=self.env, cwd=self.dir.name)
                self.started.append(child)
                self.gone(lambda: os.path.exists(self.path("begun")), "no compiler")
                child.send_signal(sig)
                self.assertEqual(child.wait(PATIENCE), -sig)
                os.remove(self.path("begun"))
                if sig == signal.SIGKILL:
                    self.gone(lambda: os.listdir(self.tmp) == [], "the temporary directory")
                self.assert_clean()

    def test_ignored_signals_stay_ignored(self):
        child = self.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        pid, _ = self.ready(child)
        child.send_signal(signal.SIGHUP)
        os.kill(pid, signal.SIGHUP)
        child.stdin.close()
        self.assertEqual(child.wait(PATIENCE), 10)

    def test_ignored_sigchld(self):
        child = self.start(preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.ready(child)
        child.stdin.close()
        self.assertEqual(child.wait(PATIENCE), 10)
        self.assert_clean()

    def read_until(self, fd, pattern):
        text = b""
        while not re.search(pattern, text):
            self.assertTrue(select.select([fd], [], [], PATIENCE)[0], text)
            text += os.read(fd, 1000)
        return text

    def test_interrupt_from_the_terminal_comes_once(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(TOOL, [TOOL, "run", self.signals, "catch"], self.env)
        try:
            self.read_until(terminal, rb"ready \d+ \S+\r\n")
            os.write(terminal, b"\x03")
            self.read_until(terminal, rb"\^C")
            time.sleep(0.1)
            os.write(terminal, b"x\n")
            _, status = os.waitpid(pid, 0)
        finally:
            os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), 11)
        self.assert_clean()

    def test_interrupt_from_the_terminal_ends(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(TOOL, [TOOL, "run", self.signals], self.env)
        try:
            self.read_until(terminal, rb"ready \d+ \S+\r\n")
            os.write(terminal, b"\x03")
            _, status = os.waitpid(pid, 0)
        finally:
            os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), -signal.SIGINT)
        self.assert_clean()

    def test_output_ends_with_the_program(self):
        """Nobody keeps the pipe open after the program's end, the cleaner least of all."""
        child = self.start()
        self.ready(child)
        child.kill()
        self.assertEqual(child.stdout.read(), "")
        self.gone(lambda: os.listdir(self.tmp) == [], "the temporary directory")


if __name__ == "__main__":
    unittest.main()
