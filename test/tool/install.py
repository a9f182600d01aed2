#!/usr/bin/env python3
"""What `make install` brings is enough: a program compiles by pkg-config alone and runs.

Installs into a temporary folder, compiles against the static and against the shared library, as C and
C++ with gcc and clang, runs the results, and looks at the version in all places where it shows.
"""

import os
import shutil
import subprocess
import sys
import tempfile

BUILD, SOURCE = os.environ["LOAM_BUILD_ROOT"], os.environ["LOAM_SOURCE_ROOT"]
PROGRAM = """
#include <loam.h>
#include <stdio.h>
static int start(int argc, char **argv)
{
    loam_chan(int) c = loam_chan_make(int, 1);
    (void)argv;
    loam_send(c, argc);
    printf("%d %d\\n", loam_recv(c), loam_version() == LOAM_VERSION);
    loam_chan_free(c);
    return 0;
}
int main(int argc, char **argv)
{
    return loam_run(start, argc, argv);
}
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit("%s\n%s%s" % (" ".join(command), done.stdout, done.stderr))
    return done.stdout


def main():
    with tempfile.TemporaryDirectory() as folder:
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", folder)
        installed = {}
        for place, _, names in os.walk(folder):
            for name in names:
                installed.setdefault(name, os.path.join(place, name))
        version = run(os.path.join(SOURCE, "tools/version.sh")).strip()
        major = version.split(".")[0]
        wanted = ["loam", "libloam.a", "libloam.so", "libloam.so." + major,
                  "libloam.so." + version, "loam.h", "chan.h", "loam.pc", "loam.fish", "_loam",
                  "loam.1", "loam.7", "loam.h.3", "loam_go.3"]
        missing = [w for w in wanted if w not in installed]
        if missing:
            sys.exit("not installed: " + " ".join(missing))
        if "Loam " + version not in open(installed["loam.7"], encoding="utf-8").read():
            sys.exit("loam(7) does not carry the version")
        dynamic = run("readelf", "-d", installed["libloam.so"])
        if "soname: [libloam.so.%s]" % major not in dynamic:
            sys.exit("wrong soname:\n" + dynamic)

        env = {**os.environ, "PKG_CONFIG_LIBDIR": os.path.dirname(installed["loam.pc"]),
               "PKG_CONFIG_SYSROOT_DIR": folder}
        if run("pkg-config", "--modversion", "loam", env=env).strip() != version:
            sys.exit("loam.pc does not carry the version")
        flags = run("pkg-config", "--cflags", "--libs", "loam", env=env).split()
        for flag in ("-fno-omit-frame-pointer", "-fstack-clash-protection", "-lpthread"):
            if flag not in flags:
                sys.exit("loam.pc lacks %s: %s" % (flag, flags))
        source = os.path.join(folder, "program.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write(PROGRAM)
        libs = os.path.dirname(installed["libloam.a"])
        env["LD_LIBRARY_PATH"] = libs
        # The flags are for C++ too.
        compilers = [["gcc"], ["clang-14"], ["g++", "-xc++", "-std=c++17"],
                     ["clang++-14", "-xc++", "-std=c++17"]]
        for cc in (c for c in compilers if shutil.which(c[0])):
            for how in ("-Wl,-Bdynamic", "-Wl,-Bstatic"):
                out = os.path.join(folder, "program")
                # The static library alone is meant: libc stays shared.
                mine = [how + " -lloam -Wl,-Bdynamic" if f == "-lloam" else f for f in flags]
                run(*cc, "-Wall", "-Wextra", "-Werror", source, "-xnone", "-o", out,
                    *" ".join(mine).split())
                shared = "libloam.so" in run("readelf", "-d", out)
                if shared != (how == "-Wl,-Bdynamic"):
                    sys.exit("%s %s: linked the other library" % (cc[0], how))
                if run(out, "x", env=env) != "2 1\n":
                    sys.exit("%s %s: wrong output" % (cc[0], how))


if __name__ == "__main__":
    main()
