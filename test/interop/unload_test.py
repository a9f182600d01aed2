#!/usr/bin/env python3
"""A program that closes libloam.so while it is started, or while a call of it has not returned, goes on
in its code all the same."""

import os
import subprocess
import unittest

from evidence_run import PATIENCE, Scratch, run

LIBRARY = os.path.join(os.environ["LOAM_BUILD_ROOT"], "libloam.so")

PROGRAM = """\
#include <loam.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static int (*call)(void (*)(void *), void *);
static void (*yield)(void);
static volatile int called;
static void yields(void *arg)
{
    (void)arg;
    called = 1;
    for (;;)
        yield();
}
static void *calls(void *arg)
{
    return (void *)(intptr_t)call(yields, arg);
}
int main(int argc, char **argv)
{
    (void)argc;
    for (int i = 0; i < 3; i++) {
        void *result = NULL, *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        int (*start)(const struct loam_config *, int) = dlsym(library, "loam_start_version");
        int (*stop)(int64_t) = dlsym(library, "loam_stop");
        call = dlsym(library, "loam_call");
        yield = dlsym(library, "loam_yield");
        pthread_t thread;
        called = 0;
        printf("%d\\n", start(NULL, LOAM_VERSION));
        pthread_create(&thread, NULL, calls, NULL);
        while (!called)
            usleep(100);
        dlclose(library);
        printf("%d\\n", stop(-1));
        pthread_join(thread, &result);
        printf("%d\\n", (int)(intptr_t)result == -ECANCELED);
    }
    return 0;
}
"""


class Test(unittest.TestCase):
    def test_closed_while_started(self):
        scratch = Scratch(self)
        source = scratch.file("unload.c")
        with open(source, "w", encoding="ascii") as f:
            f.write(PROGRAM)
        for level in "-O0", "-O2":
            # Not by `loam build`: the program must have no Loam of its own.
            subprocess.run([*os.environ["CC"].split(), level, "-I", os.path.join(
                os.environ["LOAM_SOURCE_ROOT"], "include"), "-o", scratch.file("unload"), source,
                "-ldl", "-lpthread"], check=True, timeout=PATIENCE)
            done = run(scratch.file("unload"), LIBRARY)
            self.assertEqual((done.returncode, done.stdout), (0, "0\n0\n1\n" * 3), done.stderr)


if __name__ == "__main__":
    unittest.main()
