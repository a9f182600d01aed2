"""What the tests of programs with small stacks share: a folder of their own, commands, `loam build`."""

import os

from folder import Folder

TOOL = os.environ["LOAM_TOOL"]
SOURCE = os.path.join(os.environ["LOAM_SOURCE_ROOT"], "test", "small")
GCC = "gcc"
GROW = {"LOAMDEBUG": "stackgrow=1"}


def source(name):
    return os.path.join(SOURCE, name)


class Small(Folder):
    def command(self, *words, good=True, **env):
        return super().command(*words, status=0 if good else None, **env)

    def build(self, out, *words, good=True, stack="small"):
        return self.command(TOOL, "build", "--cc=" + GCC, "--stack=" + stack, "-o",
                            self.path(out), *words, good=good)
