"""What the tests of programs with small stacks share: a folder of their own, commands, `loam build`."""

import os
import shutil
import subprocess
import tempfile
import unittest

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.path.join(os.environ["LOAM_SOURCE_ROOT"], "test", "small")
GCC = "gcc"
GROW = {"LOAMDEBUG": "stackgrow=1"}


def source(name):
    return os.path.join(SOURCE, name)


class Small(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, *words, good=True, **env):
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=self.folder,
                              env={**os.environ, **env}, stdin=subprocess.DEVNULL)
        if good:
            self.assertEqual(done.returncode, 0, "%s: %s%s" % (words, done.stdout, done.stderr))
        return done

    def build(self, out, *words, good=True, stack="small"):
        return self.command(TOOL, "build", "--cc=" + GCC, "--stack=" + stack, "-o",
                            self.path(out), *words, good=good)
