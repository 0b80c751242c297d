"""What the C application (lock_app.c) recorded: lines, and the numbers that all of its incarnations add to."""
import os
import select
import struct
import subprocess
import tempfile
import time

import sandbox

SOURCE = os.path.join(os.path.dirname(__file__), "lock_app.c")
FIELDS = ("cycles", "refused", "term_free", "term_held", "tries", "taken")  # struct counts
WATCHED = 0x2 | 0x4 | 0x80 | 0x100  # IN_MODIFY, IN_ATTRIB, IN_MOVED_TO, IN_CREATE
VOLUME = {"volumes": ["record:/record"]}  # of a service; the app declares {"record": {}}


def binary():
    """The static program."""
    with tempfile.TemporaryDirectory(prefix="lk-") as d:
        compiler = os.environ.get("CC", "gcc")
        subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-static", "-s", "-o", f"{d}/lock_app", SOURCE],
                       check=True)
        with open(f"{d}/lock_app", "rb") as f:
            return f.read()


class Record:
    def __init__(self, engine, app_id, service):
        self._path = f"{engine.get(f'/volumes/{app_id}_record')['Mountpoint']}/{service}"

    @staticmethod
    def env(service, generation):
        return {"RECORD": f"/record/{service}", "GENERATION": str(generation)}

    def lines(self, generation=None):
        if not os.path.exists(self._path):
            return []
        with open(self._path) as f:
            said = [line.strip() for line in f]
        if generation is None:
            return said
        return [words for number, words in (x.split(" ", 1) for x in said) if number == str(generation)]

    @property
    def counts(self):
        """All 0 before the first incarnation has made the file."""
        size, data = 8 * len(FIELDS), b""
        if os.path.exists(f"{self._path}.counts"):
            with open(f"{self._path}.counts", "rb") as f:
                data = f.read()
        return dict(zip(FIELDS, struct.unpack(f"{len(FIELDS)}Q", data.ljust(size, b"\0")), strict=True))

    def wait(self, line, timeout=None):
        self.until(lambda: line in self.lines(), f"the line '{line}' of {self._path}", timeout)

    def until(self, fits, what, timeout=None):
        until(fits, what, os.path.dirname(self._path), timeout)


def until(fits, what, directory, timeout=None):
    """Looks again whenever something in the directory is written (or, by lock_app.c, touched at every 256th cycle)."""
    end = time.monotonic() + (timeout or sandbox.DEADLINE)
    fd = sandbox.libc.inotify_init1(os.O_CLOEXEC)
    events = select.poll()
    events.register(fd, select.POLLIN)
    try:
        assert sandbox.libc.inotify_add_watch(fd, directory.encode(), WATCHED) >= 0
        while not fits():
            assert time.monotonic() < end, f"{what} did not come in time"
            if events.poll(max(0, end - time.monotonic()) * 1000):
                os.read(fd, 65536)
    finally:
        os.close(fd)
