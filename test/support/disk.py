"""A disk of one's own: a file as a loop device, with a partition table and file systems, below a made-up root of a host.

Nothing is left behind, whatever becomes of the test: a loop device with LO_FLAGS_AUTOCLEAR ends with its last user, and the
mounts are in the session's own name space. Neither udev nor the kernel's reader of partition tables is needed: partitions
are announced with BLKPG, and their nodes are made here.
"""
import ctypes
import errno
import fcntl
import os
import stat
import struct
import subprocess

import sandbox

LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_AUTOCLEAR, LO_FLAGS_PARTSCAN = 4, 8
BLKPG, BLKPG_ADD_PARTITION = 0x1269, 1
MS_RDONLY, MS_BIND = 1, 4096
SECTORS = 16384  # of a partition: 8 MiB

BALENA_OS = 'ID="balena-os"\nNAME="balenaOS"\nVERSION="6.0.0"\nMETA_BALENA_VERSION="6.0.0"\nPRETTY_NAME="balenaOS 6.0.0"\n'


def mount(source, target, kind=None, flags=0):
    done = sandbox.libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None)
    if done != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} at {target}")


def command(*argv, input=None):
    done = subprocess.run(argv, input=input, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"


class HostRoot:
    """What the container would see at /mnt/root."""

    def __init__(self, directory, os_release=BALENA_OS):
        self.dir = directory
        for name in ("dev", "etc", "mnt/boot", "mnt/efi", "mnt/state", "tmp"):
            os.makedirs(f"{directory}/{name}")
        with open(f"{directory}/etc/os-release", "w") as f:
            f.write(os_release)
        mount("dev", f"{directory}/dev", "tmpfs")  # where the tests lie, devices may not be allowed
        os.mknod(f"{directory}/dev/loop-control", 0o600 | stat.S_IFCHR, os.makedev(10, 237))
        self.disks = []

    def disk(self, *partitions, **kw):
        self.disks.append(Disk(self, *partitions, **kw))
        return self.disks[-1]

    def mount(self, disk, number, point="mnt/boot", flags=0):
        """As the host itself has it."""
        mount(disk.node(number), f"{self.dir}/{point}", "ext4", flags)

    def close(self):
        for disk in self.disks:
            disk.close()
        sandbox.unmount_below(self.dir)


class Disk:
    """partitions: (file system label, name in the partition table, kind), each part None for nothing."""

    def __init__(self, root, *partitions, table="gpt"):
        self.root = root
        path = f"{root.dir}/disk{len(root.disks)}.img"
        with open(path, "wb") as f:
            f.truncate((len(partitions) + 1) * SECTORS * 512)
        lines = [f"label: {table}"]
        for n, (_, name, _) in enumerate(partitions, 1):
            lines.append(f"start={2048 + (n - 1) * SECTORS}, size={SECTORS}" + (f', name="{name}"' if name else ""))
        command("sfdisk", "-q", path, input="\n".join(lines) + "\n")
        self.name = self._attach(path)
        for n, (label, _, kind) in enumerate(partitions, 1):
            self._announce(n)
            self._make_node(f"{self.name}p{n}", f"{self.name}/{self.name}p{n}")
            self._format(self.node(n), label, kind)

    def node(self, number):
        return f"{self.root.dir}/dev/{self.name}p{number}"

    def _make_node(self, name, sys_path):
        with open(f"/sys/block/{sys_path}/dev") as f:
            major, minor = map(int, f.read().split(":"))
        os.mknod(f"{self.root.dir}/dev/{name}", 0o600 | stat.S_IFBLK, os.makedev(major, minor))

    def _attach(self, path):
        with open(path, "r+b") as image, open(f"{self.root.dir}/dev/loop-control", "rb") as control:
            while True:
                name = f"loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
                self._make_node(name, name)
                node = f"{self.root.dir}/dev/{name}"
                self._fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
                info = bytearray(232)
                struct.pack_into("=I", info, 52, LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN)
                try:
                    fcntl.ioctl(self._fd, LOOP_CONFIGURE, struct.pack("=II", image.fileno(), 0) + bytes(info) + bytes(64))
                    return name
                except OSError as e:
                    os.close(self._fd)
                    os.unlink(node)
                    if e.errno != errno.EBUSY:  # somebody was quicker: the next one
                        raise

    def _announce(self, number):
        about = struct.pack("=qqi64s64s", (2048 + (number - 1) * SECTORS) * 512, SECTORS * 512, number, b"", b"")
        data = ctypes.create_string_buffer(about + bytes(4), len(about) + 4)
        try:
            fcntl.ioctl(self._fd, BLKPG, struct.pack("@iiiP", BLKPG_ADD_PARTITION, 0, len(data), ctypes.addressof(data)))
        except OSError as e:
            if e.errno != errno.EBUSY:  # a kernel that read the table was quicker
                raise

    def _format(self, node, label, kind):
        if kind:
            argv, named = {"ext4": (["mkfs.ext4", "-q", "-F", "-O", "^has_journal"], "-L"), "vfat": (["mkfs.vfat"], "-n")}[kind]
            command(*argv, *([named, label] if label else []), node)

    def close(self):
        os.close(self._fd)
