"""
The container image, built for real by deps/image/build in an engine of its own, and a supervisor that runs in it.

The build has to reach the distribution's servers, so its engine is in the machine's network. What it builds is kept as
a tar below build-test/, named after the sources it was made of, so that of all sessions one builds it and none tests a
stale one. The engine's own data stays there too: a change of the program builds the program, not the packages.
"""
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile

import sandbox
from engine import Engine
from lines import Lines
from supervisor import Supervisor, parse

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
CACHE = f"{TOP}/build-test"
SOURCES = (".dockerignore", "LICENSE", "meson.build", "meson_options.txt", "deps", "src", "test/meson.build")
NAME = "lockkeeper"
DATA_MAX_BYTES = 4 << 30  # of the building engine; then it begins anew
LOCKS = "/tmp/balena-supervisor"  # on the host, where everybody expects it


def fingerprint():
    """Of everything that the image is made from."""
    h = hashlib.sha256()
    for source in SOURCES:
        paths = [f"{TOP}/{source}"]
        if os.path.isdir(paths[0]):
            paths = [f"{base}/{name}" for base, _, names in os.walk(paths[0]) for name in names]
        for path in sorted(paths):
            with open(path, "rb") as f:
                content = f.read()
            h.update(f"{os.path.relpath(path, TOP)} {os.stat(path).st_mode & 0o111:o} {len(content)}\n".encode())
            h.update(content)
    return h.hexdigest()[:16]


_tar = None


def tar():
    """The path of the image's tar, the same for all of this session; LK_IMAGE names one that was built elsewhere."""
    global _tar
    if not _tar:
        _tar = "failed"  # once is enough
        _tar = os.environ.get("LK_IMAGE") or cached_tar()
    assert _tar != "failed", f"the image could not be built: see {CACHE}/image-build.log"
    return _tar


def cached_tar():
    os.makedirs(CACHE, exist_ok=True)
    with open(f"{CACHE}/image.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        made_of = fingerprint()
        path = f"{CACHE}/image-{made_of}.tar"
        if not os.path.exists(path):
            for old in os.listdir(CACHE):
                if re.fullmatch(r"image-\w+\.tar(\.new)?", old):
                    os.unlink(f"{CACHE}/{old}")
            build(f"{path}.new")
            assert fingerprint() == made_of, "the sources changed while the image was built: run this again"
            os.rename(f"{path}.new", path)
        return path


def build(path):
    """One image by deps/image/build, its base made by mmdebstrap, as nobody here has a registry of images."""
    with building_engine() as engine:
        done = subprocess.run([f"{TOP}/deps/image/build", "--engine", engine.socket, "--make-base", "--tag", NAME,
                               "--output", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=1200, preexec_fn=sandbox.leave_network)
        with open(f"{CACHE}/image-build.log", "w") as log:
            log.write(done.stdout)
        assert done.returncode == 0, f"deps/image/build: {done.stdout[-4000:]}"


@contextlib.contextmanager
def building_engine():
    directory = tempfile.mkdtemp(prefix="lk-", dir="/tmp")  # short: it holds sockets
    engine = Engine(directory)
    engine.root = f"{CACHE}/image-engine"
    if size_of(engine.root) > DATA_MAX_BYTES:
        shutil.rmtree(engine.root)
    inside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sandbox.leave_network()
        try:
            engine.start()
        finally:
            sandbox.libc.setns(inside, sandbox.CLONE_NEWNET)
            os.close(inside)
        yield engine
    finally:
        engine.stop()
        sandbox.unmount_below(engine.root)
        shutil.rmtree(directory, ignore_errors=True)


def size_of(directory):
    said = subprocess.run(["du", "-sxk", directory], capture_output=True, text=True).stdout
    return int(said.split()[0]) * 1024 if said else 0


def load(engine):
    """Into this engine; what it says about the image."""
    with open(tar(), "rb") as f:
        engine.call("POST", "/images/load", f.read(), headers={"Content-Type": "application/x-tar"}, timeout=300)
    return engine.get(f"/images/{NAME}/json")


def contents():
    """[TarInfo] of everything in the image, layer by layer."""
    found = []
    with tarfile.open(tar()) as outer:
        [manifest] = json.load(outer.extractfile("manifest.json"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                found += inner.getmembers()
    return found


def environment(engine):
    """For programs of Docker: this engine."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "COMPOSE_"))}
    return {**env, "DOCKER_HOST": f"unix://{engine.socket}"}


def docker(engine, *argv, program="docker"):
    """The docker program, as a person uses it: what it prints."""
    done = subprocess.run([program, *argv], env=environment(engine), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, f"{program} {shlex.join(argv)}: {done.stdout}"
    return done.stdout


class Boxed(Supervisor):
    """A supervisor in a container: the same questions to it, by way of the engine."""

    def __init__(self, engine, name=NAME):
        self.engine, self.name = engine, name
        self.lock_root = f"{LOCKS}/services"
        self.listen = ["127.0.0.1:48484"]
        self.history, self.err, self.log, self._follower = [], None, None, None
        self.awaited = True

    def follow(self):
        """Its container was started: waits until it answers."""
        if self.log:
            self.history.append(self.log.since())
        self._follower = subprocess.Popen(["docker", "logs", "-f", self.name], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                          env=environment(self.engine), preexec_fn=sandbox.die_with_parent)
        self.log = Lines(self._follower.stdout, parse)
        self.wait("api_listening")
        return self

    @property
    def about(self):
        return self.engine.get(f"/containers/{self.name}/json")

    @property
    def running(self):
        r = self.engine.call("GET", f"/containers/{self.name}/json", ok=(200, 404))
        return r.status == 200 and r.json()["State"]["Running"]

    @property
    def key(self):
        [data] = [m["Source"] for m in self.about["Mounts"] if m["Destination"] == "/data"]
        with open(f"{data}/api-key") as f:
            return f.read().strip()

    def inside(self, *argv):
        """A program of the image, in its container, as `docker exec` runs it: its output."""
        return docker(self.engine, "exec", self.name, *argv)

    def stop(self):
        """As a host does it; a process that does not end within two seconds is killed and has another exit code."""
        docker(self.engine, "stop", "-t", "2", self.name)
        code = self.about["State"]["ExitCode"]
        self._follower.wait(sandbox.DEADLINE)
        self.log.join()
        assert code == 0, f"exit {code}"

    def remove(self):
        docker(self.engine, "rm", self.name)

    def kill(self):
        self.engine.remove(self.name)

    def written(self):
        """What it changed in its own file system, but for the mount points there, which the engine makes itself."""
        known = {"/dev", "/etc", "/proc", "/sys", "/run", "/var", "/var/run"}
        for mount in self.about["Mounts"]:
            path = mount["Destination"]
            while path != "/":
                known.add(path)
                path = os.path.dirname(path)
        changes = self.engine.get(f"/containers/{self.name}/changes") or []
        return sorted(c["Path"] for c in changes if c["Path"] not in known)
