"""
The image of the lock tools of the field: procmail's lockfile, lockfile-progs, dotlockfile, Python's lockfile, flock,
and node with npm's lockfile and proper-lockfile.

Its files are copied from this machine, where deps/install put them: programs with the libraries that they load, Python
with its library. Only the two npm packages come by npm, so the tree is kept as a tar file below build-test/, and made
once for all test runs side by side. Our own update-lock is added at each session's import, as every build has its own.
"""
import fcntl
import hashlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile

import sandbox
import supervisor
from images import APP, APPLETS

CACHE = os.path.abspath(f"{os.path.dirname(__file__)}/../../build-test")
PROGRAMS = ["dash", "lockfile", "lockfile-create", "lockfile-remove", "lockfile-touch", "lockfile-check", "dotlockfile",
            "flock", "python3", "node"]
NPM_PACKAGES = ["lockfile@1.0.4", "proper-lockfile@4.1.2"]
PYTHON_WITHOUT = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "distutils",
                  "unittest", "__pycache__", "dist-packages", "site-packages"}
UPDATE_LOCK = os.environ.get("UPDATE_LOCK") or f"{os.path.dirname(supervisor.BINARY)}/update-lock"
REF = "lk-tools:1"


def make(engine):
    """The image, in this engine: its name."""
    tar = io.BytesIO(cached_tar())
    with tarfile.open(fileobj=tar, mode="a") as out:
        if os.path.exists(UPDATE_LOCK):  # the test that runs it says so if it is not there
            add(out, UPDATE_LOCK, "usr/bin/update-lock")
    repo, _, tag = REF.rpartition(":")
    engine.call("POST", "/images/create", tar.getbuffer().tobytes(),
                query={"fromSrc": "-", "repo": repo, "tag": tag, "changes": ['CMD ["/app"]']},
                headers={"Content-Type": "application/x-tar"}, timeout=300)
    return REF


def cached_tar():
    os.makedirs(CACHE, exist_ok=True)
    path = f"{CACHE}/lock-tools-{fingerprint()}.tar"
    with open(f"{CACHE}/lock-tools.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # of two runs side by side one makes it
        if not os.path.exists(path):
            for old in os.listdir(CACHE):
                if re.fullmatch(r"lock-tools-\w+\.tar(\.new)?", old):
                    os.unlink(f"{CACHE}/{old}")
            write_tar(f"{path}.new")
            os.rename(f"{path}.new", path)
        with open(path, "rb") as f:
            return f.read()


def fingerprint():
    """Of everything that the tar is made from, as far as it can change."""
    h = hashlib.sha256()
    with open(__file__, "rb") as f:
        h.update(f.read())
    h.update(f"{APP}{APPLETS}".encode())
    for name in PROGRAMS:
        about = os.stat(program(name))
        h.update(f"{name} {about.st_size} {int(about.st_mtime)}".encode())
    return h.hexdigest()[:16]


def program(name):
    # Python by its own name: in PATH there may be another one than that which has python3-lockfile.
    found = sys.executable if name == "python3" else shutil.which(name)
    assert found, f"{name} is not installed: run deps/install test"
    return os.path.realpath(found)


def write_tar(path):
    with tarfile.open(path, "w") as out:
        for d in ("proc", "sys", "dev", "etc", "usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
            add_directory(out, d)
        add_directory(out, "tmp", 0o1777)
        for d in ("bin", "sbin", "lib", "lib64"):
            add_link(out, d, f"usr/{d}")
        add_text(out, "etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"
                                    "nobody:x:65534:65534::/:/bin/sh\n")
        add_text(out, "etc/group", "root:x:0:\nmail:x:8:\napp:x:1000:\nnogroup:x:65534:\n")
        add_text(out, "app", APP, 0o755)
        add(out, os.environ.get("BUSYBOX", "/bin/busybox"), "usr/bin/busybox")
        for applet in APPLETS:
            if applet != "sh":
                add_link(out, f"usr/bin/{applet}", "busybox")
        add_link(out, "usr/bin/sh", "dash")
        elf = [program(name) for name in PROGRAMS]
        for name, source in zip(PROGRAMS, elf):
            add(out, source, f"usr/bin/{name}")
        elf += add_python(out)
        for library in libraries(elf):
            add(out, library, "usr/" + library.removeprefix("/usr/").lstrip("/"))
        for source in node_builtins():
            add(out, source, source.lstrip("/"))
        add_npm_packages(out)


def add_python(out):
    """The standard library, at its own place, and the package lockfile; returns the shared objects among it."""
    objects = []
    top = sysconfig.get_paths()["stdlib"]
    for base, directories, files in os.walk(top):
        directories[:] = [d for d in directories if d not in PYTHON_WITHOUT and not d.startswith("config-")]
        for name in files:
            if name == "sitecustomize.py":  # the distribution's hook for its crash reporter
                continue
            source = f"{base}/{name}"
            add(out, source, source.lstrip("/"))
            if name.endswith(".so"):
                objects.append(source)
    found = importlib.util.find_spec("lockfile")
    assert found, "Python's lockfile is not installed: run deps/install test"
    [package] = found.submodule_search_locations
    for name in os.listdir(package):
        if name.endswith(".py"):
            add(out, f"{package}/{name}", f"{package.lstrip('/')}/{name}")
    return objects


def libraries(files):
    """Every path that the dynamic linker would load for them, by the names that it looks for."""
    said = subprocess.run(["ldd", *files], capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(?:=>\s+|^\s+)(/\S+) \(0x", said, re.M)))


def node_builtins():
    """Debian's node keeps some of its own modules outside, and names them in its library."""
    found = set()
    for path in [program("node"), *(p for p in libraries([program("node")]) if "/libnode" in p)]:
        with open(path, "rb") as f:
            found |= set(re.findall(rb"/usr/share/nodejs/[\w./@-]+\.(?:js|wasm)", f.read()))
    return sorted(p.decode() for p in found if os.path.isfile(p))


def add_npm_packages(out):
    """To /node_modules, where require() of any program finds them."""
    npm = shutil.which("npm")
    assert npm, "npm is not installed: run deps/install test"
    tree = f"{CACHE}/lock-tools-npm"
    shutil.rmtree(tree, ignore_errors=True)
    os.mkdir(tree)
    # The tests' own network has no way out; npm gets the machine's.
    done = subprocess.run([npm, "install", "--prefix", tree, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save",
                           *NPM_PACKAGES], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120, preexec_fn=sandbox.leave_network)
    assert done.returncode == 0, f"npm install: {done.stdout}"
    for base, _, files in os.walk(f"{tree}/node_modules"):
        for name in files:
            source = f"{base}/{name}"
            if not os.path.islink(source):
                add(out, source, os.path.relpath(source, tree))
    shutil.rmtree(tree)


# ---- entries of a tar file: contents and modes, never the machine's owners or times

def add(out, source, name):
    with open(source, "rb") as f:
        info = tarfile.TarInfo(name)
        about = os.fstat(f.fileno())
        info.size, info.mode = about.st_size, about.st_mode & 0o755
        out.addfile(info, f)


def add_text(out, name, text, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text.encode()), mode
    out.addfile(info, io.BytesIO(text.encode()))


def add_directory(out, name, mode=0o755):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    out.addfile(info)


def add_link(out, name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    out.addfile(info)
