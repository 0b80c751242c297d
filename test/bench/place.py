"""Where a bench runs: a directory of its own with lock directories in memory, a private engine, the programs."""
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

import machine
import sandbox
import supervisor
from engine import Engine
from images import Images
from lines import Lines
from target import app, document, service

_numbers = itertools.count(1)
_parse = supervisor.parse


def _stamped(line):
    """A log line with the moment it was read."""
    at = time.monotonic_ns()
    return {**_parse(line), "read_ns": at}


supervisor.parse = _stamped


class Place:
    IMAGES = ("lk-bench/app:1", "lk-bench/app:2")

    def __init__(self, binary, tools, quick=False, long=False, image=None):
        self.binary, self.tools, self.quick, self.long, self.image = binary, tools, quick, long, image
        self.libraries = len(machine.libraries(binary))
        self.curl = "system" if any(lib.startswith("libcurl") for lib in machine.libraries(binary)) else "small"
        if self.curl == "small":
            os.environ.update(image_settings())  # which every program inherits
        self.built = "container build" if self.curl == "small" else "Debian's libcurl"
        self.stalls = []  # what each supervisor said of its loop when it stopped
        self.engine = self.images = None
        self._running = []
        # Not below /tmp: every directory on the way to a target is watched, and what others do there would be measured.
        self.base = tempfile.mkdtemp(prefix="lkb-", dir="/mnt")

    def open(self):
        sandbox.enter()
        self.engine = Engine(self._directory("e"))
        self.engine.start()
        self.images = Images(self.engine, None)
        for version, ref in enumerate(self.IMAGES, 1):
            self.images.make(ref, VERSION=version)

    def close(self):
        for s in self._running:
            if s.running:
                s.kill()
        try:
            if self.engine and self.engine.process:
                self.engine.clean()
                self.engine.stop()
        finally:
            sandbox.unmount_below(self.base)
            shutil.rmtree(self.base, ignore_errors=True)

    def often(self, normal, quick):
        return quick if self.quick else normal

    def _directory(self, name):
        path = f"{self.base}/{name}"
        os.mkdir(path)
        return path

    def directory(self):
        """A fresh one whose locks are in memory, as on a device."""
        path = self._directory(f"b{next(_numbers)}")
        os.mkdir(f"{path}/locks")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{path}/locks"], check=True)
        return path

    # ---- the supervisor

    def supervisor(self, directory, engine_socket=None, target=None, **kw):
        s = supervisor.Supervisor(directory, engine_socket or self.engine.socket,
                                  target=target or f"{directory}/target.json", **kw)
        self._running.append(s)
        return s

    def stop(self, s):
        s.stop()
        self.stalls += s.events("stopped")

    def clean(self):
        self.engine.clean()

    def documents(self, services, network_mode="none", keep=True):
        """Two releases of app 1 that differ in the image of every service; app 2 keeps both images in use."""
        def release(version):
            mine = {f"s{i}": service(self.IMAGES[version - 1], network_mode=network_mode) for i in range(1, services + 1)}
            kept = {f"k{i}": service(ref) for i, ref in enumerate(self.IMAGES, 1)}
            apps = [app(1, f"r{version}", mine)] + ([app(2, "keep", kept)] if keep else [])
            return json.dumps(document(*apps))
        return release(1), release(2)

    # ---- our own programs

    def tool(self, name, *argv, env=None):
        """(samples, log lines): each line of its output that is a sample, and the supervisor's last words."""
        done = subprocess.run([f"{self.tools}/{name}", *map(str, argv)], capture_output=True, text=True,
                              env={**clean_environment(), **(env or {})}, timeout=1800)
        if done.returncode != 0:
            raise RuntimeError(f"{name} {argv[0]}: {(done.stderr or done.stdout).strip()[-400:]}")
        return self.samples(done.stdout)

    def samples(self, text):
        lines = [json.loads(line) for line in text.splitlines()]
        self.stalls += [e for e in lines if e.get("event") == "stopped"]
        return [e for e in lines if "event" not in e]


def image_settings():
    """What the image says to the C library, as the container build is measured with it too."""
    with open(f"{os.path.dirname(os.path.abspath(__file__))}/../../deps/image/Dockerfile") as f:
        return dict(re.findall(r"\b(GLIBC_TUNABLES|MALLOC_\w+)=\"?([\w.:=-]+)", f.read()))


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith(("BALENA_", "RESIN_", "LOCKKEEPER_", "DOCKER_"))}


def write_target(path, text):
    """The moment it was put in place."""
    with open(f"{path}.new", "w") as f:
        f.write(text)
    at = time.monotonic_ns()
    os.replace(f"{path}.new", path)
    return at


class Proxy:
    """bench_proxy, and what it saw."""

    def __init__(self, place, directory):
        self.socket = f"{directory}/proxy.sock"
        self.process = subprocess.Popen([f"{place.tools}/bench_proxy", self.socket, place.engine.socket],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.lines = Lines(self.process.stdout, str.split)
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket) and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self):
        self.process.terminate()
        self.process.wait()

    def calls(self, since, begin, end):
        """[(method, path, begin, end)] of the calls between two moments, cut off there; no streams."""
        time.sleep(0.02)  # its last lines are on their way
        open_calls, found = {}, []

        def over(connection):
            call = open_calls.pop(connection, None)
            if call and call[2] < end and call[3] > begin and "/events" not in call[1]:
                found.append((call[0], call[1], max(call[2], begin), min(call[3], end)))
        for line in self.lines.since(since):
            if line[0] == "q":
                over(line[1])
                open_calls[line[1]] = [line[3], line[4], int(line[2]), int(line[2])]
            elif line[1] in open_calls:
                open_calls[line[1]][3] = int(line[2])
        for connection in list(open_calls):
            over(connection)
        return found


def busy_ns(calls):
    """How long at least one of them was under way."""
    total, until = 0, 0
    for begin, end in sorted((c[2], c[3]) for c in calls):
        total += max(0, end - max(begin, until))
        until = max(until, end)
    return total
