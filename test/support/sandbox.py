"""Own network and mount name spaces for the whole test session.

Everything the session starts (engine, registry, supervisors) inherits them: ports cannot collide with the machine's, bridges and
mounts vanish with the last process, and a running engine or supervisor of the machine is neither seen nor touched.
"""
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 1 << 18, 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)
_outside = None  # the machine's own network, for the little that needs it

# How long a test waits for what must happen; a deadline, never an expectation.
DEADLINE = float(os.environ.get("LK_TEST_DEADLINE", "30"))

API_PORTS = "48484-48499"  # those of supervisors: no connection gets one of them by chance


def enter():
    if os.geteuid() != 0:
        raise SystemExit("the system tests start a private container engine: run them as root")
    global _outside
    _outside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        raise SystemExit(f"unshare: {os.strerror(ctypes.get_errno())}: the system tests need their own name spaces")
    make_root_the_root()
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    hide_tmpfiles()
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(ignored) == signal.SIG_IGN:  # by nohup, or a shell's &: programs started here would inherit it
            signal.signal(ignored, signal.SIG_DFL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    with contextlib.suppress(OSError):  # where this may not be said, a connection can be in the way now and then
        with open("/proc/sys/net/ipv4/ip_local_reserved_ports", "w") as f:
            f.write(API_PORTS)


def make_root_the_root():
    """
    When this machine is a chroot: its directory becomes the root of our mount name space. The engine's exec, and with
    it a health check, enters a container through the name space, and would come out at the root outside of the chroot.
    """
    root, here = (os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in ("/", "."))
    space = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(space, CLONE_NEWNS) != 0:  # leads to the name space's root
            return
        outer = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        is_chroot = mount_id(outer) != mount_id(root)
        os.close(outer)
        if is_chroot:
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            os.fchdir(root)
            if libc.pivot_root(b".", b".") == 0:  # the old root now lies over the new one
                libc.umount2(b".", MNT_DETACH)
            else:
                os.chroot(".")
        os.fchdir(here)
    finally:
        for fd in (root, here, space):
            os.close(fd)


def mount_id(fd):
    with open(f"/proc/self/fdinfo/{fd}") as f:
        return [line.split()[1] for line in f if line.startswith("mnt_id:")]


def leave_network():
    """For preexec_fn: this one program uses the machine's network."""
    if _outside is not None and libc.setns(_outside, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def hide_tmpfiles():
    """On a machine with systemd a supervisor excludes its lock directories from ageing; the machine's own list stays."""
    if os.path.isdir("/run/systemd/system"):
        os.makedirs("/run/tmpfiles.d", exist_ok=True)
        libc.mount(b"tmpfs", b"/run/tmpfiles.d", b"tmpfs", 0, None)


def unmount_below(directory):
    with open("/proc/self/mounts") as f:
        points = [line.split()[1] for line in f]
    for point in reversed(points):
        if point.startswith(directory + "/"):
            libc.umount2(point.encode(), MNT_DETACH)


def die_with_parent():
    """For preexec_fn: a session that is killed leaves no daemon behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
