"""
The container image in the place of balenaOS's supervisor: started as the host's script starts it, on a disk with the host's
partitions, with the rights it needs by name, as --privileged is not everywhere to be had.
"""
import os

import pytest

import disk
import image as images_own
import sandbox
from disk import HostRoot
from image import LOCKS, NAME, Boxed, docker
from story import give_back, in_order, take, told
from target import app, document, service

pytestmark = pytest.mark.image

PARTITIONS = (("resin-boot", "resin-boot", "ext4"), ("resin-rootA", "resin-rootA", "ext4"),
              ("resin-state", None, "ext4"), ("resin-data", "resin-data", "ext4"))
# What is behind --privileged, as far as it is needed: mounting, and the disk to mount from (7: loop, 259: partitions).
RIGHTS = ("--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE", "--cap-add", "FOWNER",
          "--cap-add", "SYS_PTRACE", "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined",
          "--device-cgroup-rule", "b 7:* rw", "--device-cgroup-rule", "b 259:* rw")


class Device:
    """A host as balenaOS lays it out."""

    def __init__(self, lab, engine):
        self.lab, self.engine = lab, engine
        self.root = HostRoot(f"{lab.dir}/root")
        lab.at_end(self.root.close)
        self.disk = self.root.disk(*PARTITIONS)
        for name in ("mnt/data", "resin-data/balena-supervisor", "var/log/supervisor-log", "tmp/balena-supervisor"):
            os.makedirs(f"{self.root.dir}/{name}", exist_ok=True)
        for number, point in ((1, "mnt/boot"), (3, "mnt/state"), (4, "mnt/data")):
            self.root.mount(self.disk, number, point)
        lab.target = f"{self.root.dir}/mnt/data/target.json"  # to be seen only by who has the data partition
        # The engine binds lock directories by their paths on the host, which here is the machine of the tests.
        os.makedirs(LOCKS, exist_ok=True)
        disk.mount("locks", LOCKS, "tmpfs")
        lab.at_end(lambda: sandbox.libc.umount2(LOCKS.encode(), sandbox.MNT_DETACH))
        disk.mount(LOCKS, f"{self.root.dir}/tmp/balena-supervisor", flags=disk.MS_BIND)

    def start(self, *more, data=True, wait=True):
        root = self.root.dir
        argv = ["run", "-d", "--name", "balena_supervisor", "--net=host",
                "-v", f"{self.engine.socket}:/var/run/balena-engine.sock", "-v", f"{root}:/mnt/root",
                "-v", f"{root}/var/log/supervisor-log:/var/log"]
        if data:
            argv += ["-v", f"{root}/resin-data/balena-supervisor:/data"]
        for name, value in (("DOCKER_SOCKET", "/var/run/balena-engine.sock"), ("BOOT_MOUNTPOINT", "/mnt/boot"),
                            ("MIXPANEL_TOKEN", "null"), ("DELTA_ENDPOINT", "https://delta.example.org"),
                            ("LED_FILE", "/dev/null"), ("LISTEN_PORT", "48484"), ("NODE_EXTRA_CA_CERTS", ""),
                            ("SUPERVISOR_IMAGE", NAME),
                            # what a managed device gets from its cloud
                            ("LOCKKEEPER_TARGET", "/mnt/data/target.json"), ("LOCKKEEPER_LOG_FORMAT", "json")):
            argv += ["-e", f"{name}={value}"]
        docker(self.engine, *argv, *RIGHTS, *more, NAME)
        box = Boxed(self.engine, "balena_supervisor")
        if not wait:
            return box
        self.lab.supervisors.append(box)  # which stops it, and wants exit code 0
        return box.follow()


@pytest.fixture(scope="session")
def built(engine):
    return images_own.load(engine)


@pytest.fixture
def device(lab, engine, built):
    return Device(lab, engine)


def release(lab, v):
    return document(app(1, f"r{v}", {"main": service(lab.image(v))}))


def test_started_as_the_host_os_does_it_finds_its_partitions_and_keeps_the_engine_at_the_target(device, lab, engine):
    lab.write(release(lab, 1))
    s = device.start()
    s.settled(1, "r1")
    log = s.engine.logs("balena_supervisor")
    for number, point, label in ((1, "boot", "resin-boot"), (3, "state", "resin-state"), (4, "data", "resin-data")):
        assert f'lockkeeper-entry: mounted {device.disk.name}p{number} (ext4, "{label}") at /mnt/{point}' in log, log
    main = engine.container(1, "main")["Id"]
    assert take(engine, main)
    lab.write(release(lab, 2))
    s.wait("update_blocked")
    assert engine.services(1)["main"] == (main, "running")
    give_back(engine, main)
    s.settled(1, "r2")
    in_order(told(s.events()), "update_blocked", "update_resumed", "stop:main", "start:main", "app_settled")
    before = engine.services(1)
    s.stop()
    assert engine.services(1) == before
    assert s.written() == []


def test_without_a_data_directory_of_the_host_its_own_is_on_the_data_partition(device, lab):
    lab.write(release(lab, 1))
    s = device.start("--read-only", data=False)
    s.settled(1, "r1")
    assert os.path.exists(f"{device.root.dir}/mnt/data/resin-data/balena-supervisor/api-key")


def test_a_missing_partition_ends_it_with_a_sentence_and_exit_code_1(device, lab, engine):
    lab.write(release(lab, 1))
    disk.command("e2label", device.disk.node(3), "renamed")
    device.start(wait=False)
    assert engine.wait_exit("balena_supervisor") == 1
    log = engine.logs("balena_supervisor")
    assert f"no partition of disk {device.disk.name} has the label resin-state or balena-state" in log, log
    assert "started" not in log and engine.services(1) == {}
