"""What the tests of LOAMDEBUG's output share: the programs, and how they are run."""

import os
import subprocess
import tempfile

from evidence import SOURCE

TOOL = os.environ["LOAM_TOOL"]
VARIANT = os.environ.get("LOAM_VARIANT", "release")
EXAMPLES = os.path.join(os.environ["LOAM_BUILD_ROOT"], "examples")
PATIENCE = 100  # a hang, not a busy machine
# How many times as much a test may do in a release build.
SLOW = {"release": 1, "debug": 2, "torture": 3, "ubsan": 3, "asan": 4, "tsan": 8}[VARIANT]

# Names and arguments of example programs, and what of theirs standard error may hold.
RUNS = [("hello", ()), ("sieve", ("30",)), ("ring", ("20", "3000")), ("pipeline", ("2000", "3")),
        ("workers", ("300000",))]
TALK = r"\d+ ns a hop|\d+ blocks tried by \d+ workers"


def example(name):
    return os.path.join(EXAMPLES, name)


def environment(**changes):
    """Without the settings of whoever runs the tests; what main abandons is no leak."""
    settings = [p + s for p in ("LOAM", "GO") for s in ("DEBUG", "MAXPROCS")]
    env = {k: v for k, v in os.environ.items() if k not in settings}
    return {**env, "ASAN_OPTIONS": "detect_leaks=0", **changes}


def run(*command, **changes):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False,
                          stdin=subprocess.DEVNULL, env=environment(**changes))


class Scratch:
    """A directory that goes with the test, and programs built in it."""

    def __init__(self, case):
        scratch = tempfile.TemporaryDirectory(prefix="loam-evidence-")
        case.addCleanup(scratch.cleanup)
        self.path = os.path.realpath(scratch.name)

    def file(self, name):
        return os.path.join(self.path, name)

    def build(self, name, source=None):
        """The program made of a file; None: of evidence_NAME.c."""
        program = self.file(name)
        if source is None:
            source = os.path.join(SOURCE, "test/interop", f"evidence_{name}.c")
        built = subprocess.run([TOOL, "build", "-o", program, source], capture_output=True,
                               text=True, check=False, timeout=PATIENCE)
        if built.returncode != 0 or built.stderr:
            raise AssertionError(built.stderr)
        return program
