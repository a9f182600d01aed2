"""What tests share that build programs: a folder of their own, and commands in it."""

import os
import shutil
import subprocess
import tempfile
import unittest


class Folder(unittest.TestCase):
    limit = 100  # seconds for a command

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, *words, status=0, **env):
        """status None: whatever it is."""
        done = subprocess.run(words, capture_output=True, text=True, timeout=self.limit, cwd=self.folder,
                              env={**os.environ, **env}, stdin=subprocess.DEVNULL)
        if status is not None:
            self.assertEqual(done.returncode, status, "%s: %s%s" % (words, done.stdout, done.stderr))
        return done
