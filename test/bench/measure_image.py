"""The real image: its size, its files started without an engine in between, and its container."""
import http.client
import json
import os
import subprocess
import tarfile
import tempfile
import time

import sandbox
from image import LOCKS, NAME, Boxed, docker
from measure_process import held, prepared, show_memory
from place import write_target
from table import percentile

MS = 1_000_000
# As docs/deployment.md starts it on any host.
RIGHTS = ["--network", "host", "--read-only", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE",
          "--cap-add", "FOWNER", "--cap-add", "SYS_PTRACE"]
HOW = "give --image: deps/image/build --output FILE makes one"


def image(place, table):
    if not place.image:
        table.absent("container image", "≤ 15 MB", HOW)
        table.absent("container of the image: memory, start", "", HOW)
        return
    tag = load(place)
    size = place.engine.get(f"/images/{tag}/json")["Size"]
    table.keep("image", [{"image": tag, "bytes": size}])
    table.add("container image, as the engine counts it, in 1,000 bytes", "≤ 15,000", [size / 1000], "", [("worst", 15_000)])
    start_of_files(place, table, tag)
    container(place, table, tag)
    place.clean()


def load(place):
    """Into the bench's own engine; the image's name."""
    with tempfile.TemporaryDirectory(dir=place.base) as d:
        path = place.image
        if not os.path.isfile(path):
            path = f"{d}/image.tar"  # of the machine's engine, outside our name spaces: a socket is reached from anywhere
            subprocess.run(["docker", "save", "-o", path, place.image], check=True)
        with tarfile.open(path) as outer:
            [manifest] = json.load(outer.extractfile("manifest.json"))
        with open(path, "rb") as f:
            place.engine.call("POST", "/images/load", f.read(), headers={"Content-Type": "application/x-tar"}, timeout=300)
    return (manifest["RepoTags"] or [manifest["Config"].removesuffix(".json")])[0]


def start_of_files(place, table, tag):
    """exec → /ping of the image's program on the image's libraries, in a chroot: starting a container is the engine's time."""
    root = f"{place.base}/image"
    os.mkdir(root)
    made = place.engine.call("POST", "/containers/create", {"Image": tag}).json()["Id"]
    with tempfile.NamedTemporaryFile(dir=place.base) as f:
        f.write(place.engine.call("GET", f"/containers/{made}/export", timeout=120).body)
        f.flush()
        subprocess.run(["tar", "-C", root, "-xf", f.name], check=True)
    place.engine.remove(made)
    directory = prepared(place)
    try:
        for shared in (directory, place.engine.dir, "/proc"):
            os.makedirs(root + shared, exist_ok=True)
            subprocess.run(["mount", "--rbind", shared, root + shared], check=True)
        s = place.supervisor(directory)
        samples = place.tool("bench_start", "ping", place.often(100, 30), f"{directory}/api.sock", "/usr/bin/lockkeeper",
                             *s.argv, env={"BENCH_ROOT": root, **settings(place, tag)})
    finally:
        sandbox.unmount_below(root)
    table.keep("image_start", samples)
    table.add("exec → `/ping` answers, the image's files", "≤ 5 ms", [x["ns"] for x in samples], "ns", [("p50", 5 * MS)])
    table.add("… CPU time of its thread until then", "", [x["used_ns"] for x in samples], "ns")
    table.add("… page faults until then: minor", "", [x["minor_faults"] for x in samples], "")
    table.add("… major", "", [x["major_faults"] for x in samples], "")
    place.clean()


def settings(place, tag):
    """What the image says to the C library."""
    env = dict(e.split("=", 1) for e in place.engine.get(f"/images/{tag}/json")["Config"]["Env"] or [])
    return {k: v for k, v in env.items() if k in ("GLIBC_TUNABLES",) or k.startswith("MALLOC_")}


def container(place, table, tag):
    directory = place.directory()
    os.mkdir(f"{directory}/etc")
    os.makedirs(LOCKS, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", LOCKS], check=True)
    write_target(f"{directory}/etc/target.json", place.documents(5, keep=False)[0])
    memory, starts = [], []
    try:
        for _ in range(place.often(5, 2)):
            box = create(place, directory, tag)
            starts.append(start(place))
            box.follow().settled(1, "r1")
            time.sleep(1)
            memory.append(held(box.about["State"]["Pid"]))
            box.stop()
            box.remove()
    finally:
        place.engine.remove(NAME)
        sandbox.libc.umount2(LOCKS.encode(), sandbox.MNT_DETACH)
    show_memory(table, "image_memory", "memory idle of the image's container, 5 services", memory, 4, 1.5)
    table.keep("image_container_start", starts)
    table.add("start request of the container → `/ping` answers", "", [x["ns"] for x in starts], "ns",
              engine=percentile([x["engine_ns"] for x in starts], 50))
    table.add("… beyond the engine's own time", "", [x["ns"] - x["engine_ns"] for x in starts], "ns")


def create(place, directory, tag):
    docker(place.engine, "create", "--name", NAME, *RIGHTS, "-v", f"{place.engine.socket}:/var/run/docker.sock",
           "-v", f"{directory}/etc:/etc/lockkeeper:ro", "-e", "LOCKKEEPER_TARGET=/etc/lockkeeper/target.json",
           "-e", "LOCKKEEPER_LOG_FORMAT=json", "-v", f"{LOCKS}:/mnt/root{LOCKS}", "-v", "/proc:/mnt/root/proc:ro",
           "-v", f"{directory}/state:/data", tag)
    return Boxed(place.engine)


def start(place):
    """The engine's own time is that of its start request: the program begins somewhere in it."""
    begin = time.monotonic_ns()
    place.engine.call("POST", f"/containers/{NAME}/start")
    started = time.monotonic_ns()
    while True:
        c = http.client.HTTPConnection("127.0.0.1", 48484, timeout=5)
        try:
            c.request("GET", "/ping")
            if c.getresponse().status == 200:
                return {"ns": time.monotonic_ns() - begin, "engine_ns": started - begin}
        except OSError:
            if time.monotonic_ns() - begin > 30_000_000_000:
                raise
            time.sleep(0.001)
        finally:
            c.close()
