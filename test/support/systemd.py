"""A real systemd as the first process of name spaces of its own, with nothing to start but the units that a test gives it."""
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import time

import sandbox

UNITS = "/etc/systemd/system"  # of the private copy of /etc
SYSTEMD = next((p for p in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.access(p, os.X_OK)), None)

# Runs in new mount, process, control group, IPC and host name spaces. /etc and /var/lib are the test's own; /proc/sys is
# the machine's, so it may be read only.
BOOT = r"""
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /run
mount --bind "$LAB/etc" /etc
mount --bind "$LAB/var-lib" /var/lib
groups=$(stat -f -c %T /sys/fs/cgroup)
mount -t tmpfs tmpfs /sys/fs/cgroup # also because nothing can be mounted right on itself
if [ "$groups" = cgroup2fs ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
exec env -i PATH="$PATH" container=lockkeeper-test NOTIFY_SOCKET="$LAB/notify" SYSTEMD_UNIT_PATH="$UNITS" \
	SYSTEMD_GENERATOR_PATH="$LAB/none" SYSTEMD_ENVIRONMENT_GENERATOR_PATH="$LAB/none" SYSTEMD_LOG_TARGET=null "$SYSTEMD" --system --unit=lab.target \
	--show-status=no
"""
# What units of the distribution are named by ours; here they are empty.
TARGETS = ("lab", "basic", "sysinit", "shutdown", "network", "multi-user")


class Systemd:
    def __init__(self, directory):
        self.dir = directory
        self.process = self.pid = None
        os.makedirs(f"{directory}/var-lib")
        shutil.copytree("/etc", f"{directory}/etc", symlinks=True, ignore=lambda d, names: {"systemd"} if d == "/etc" else ())
        os.makedirs(f"{directory}/{UNITS}")
        for name in TARGETS:
            self.unit(f"{name}.target", "[Unit]\nDefaultDependencies=no\n")
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(f"{directory}/notify")
        self._told.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._told.settimeout(sandbox.DEADLINE)
        self.group = make_group(f"lk-systemd-{os.getpid()}-{time.monotonic_ns()}")

    def unit(self, name, text):
        path = f"{self.dir}/{UNITS}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)

    def start(self):
        assert SYSTEMD, "no systemd on this machine: apt-get install systemd"

        def join():
            sandbox.die_with_parent()
            with open(f"{self.group}/cgroup.procs", "w") as f:
                f.write("0")
        env = {"PATH": os.environ["PATH"], "LAB": self.dir, "UNITS": UNITS, "SYSTEMD": SYSTEMD}
        with open(f"{self.dir}/boot.log", "w") as log:
            self.process = subprocess.Popen(["unshare", "-m", "-p", "-C", "-u", "-i", "-f", "--kill-child", "bash", "-c", BOOT],
                                            env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=join)
        self.pid = self._ready()
        return self

    def _ready(self):
        """A systemd that was started by a manager of containers tells it when everything has started; the kernel says who."""
        while True:
            try:
                text, credentials, _, _ = self._told.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                raise AssertionError(f"systemd did not start\n{self.report()}") from None
            if b"READY=1" in text.split(b"\n"):
                return struct.unpack("3i", credentials[0][2])[0]

    def until(self, condition, what, timeout=None):
        """Polls: systemd tells nobody else. For states that last; a test must not need to catch a moment."""
        end = time.monotonic() + (timeout or sandbox.DEADLINE)
        while not (found := condition()):
            assert time.monotonic() < end, f"not in time: {what}\n{self.report()}"
            with contextlib.suppress(subprocess.TimeoutExpired):  # what would end the waiting early
                raise AssertionError(f"systemd ended: {self.process.wait(0.05)}")
        return found

    def run(self, *argv, ok=(0,)):
        """A command beside the services."""
        done = subprocess.run(["nsenter", f"-t{self.pid}", "-m", "-p", "-C", "-u", "-i", "--", *argv], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=2 * sandbox.DEADLINE, env={"PATH": os.environ["PATH"]})
        assert ok is None or done.returncode in ok, f"{argv}: exit {done.returncode}: {done.stdout}{done.stderr}\n{self.report()}"
        done.out, done.err = done.stdout, done.stderr
        return done

    def ctl(self, *argv, ok=(0,)):
        return self.run("systemctl", *argv, ok=ok)

    def show(self, unit, *names):
        """Properties, as strings; one name: its value."""
        text = self.ctl("show", "-p", ",".join(names), unit).out
        found = dict(line.split("=", 1) for line in text.splitlines())
        return found[names[0]] if len(names) == 1 else [found[n] for n in names]

    def host_pid(self, pid):
        """The number that a process of these name spaces has outside; (systemd tells the one inside)."""
        for base, _, files in os.walk(self.group):
            if "cgroup.procs" in files:
                with open(f"{base}/cgroup.procs") as f:
                    for line in f:
                        with contextlib.suppress(OSError), open(f"/proc/{int(line)}/status") as status:
                            ids = next(x for x in status if x.startswith("NSpid:")).split()[1:]
                            if int(ids[-1]) == int(pid) and len(ids) > 1:
                                return int(line)
        raise AssertionError(f"no process {pid} in {self.group}")

    def report(self):
        if not self.pid or self.process.poll() is not None:
            with open(f"{self.dir}/boot.log") as f:
                return "systemd does not run: " + f.read()
        done = subprocess.run(["nsenter", f"-t{self.pid}", "-m", "-p", "-C", "--", "systemctl", "--no-pager", "status",
                               "*.service"], capture_output=True, text=True, timeout=30)
        return done.stdout + done.stderr

    def close(self):
        """With its first process all others of the name space end; only then is there nobody left in the groups."""
        if self.process:
            if self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, 9)
            else:
                self.process.terminate()
            self.process.wait(sandbox.DEADLINE)
        self._told.close()
        for base, _, _ in os.walk(self.group, topdown=False):
            os.rmdir(base)


def make_group(name):
    """A control group of our own where systemd keeps its tree: in the unified hierarchy, else in the one named for it."""
    old = "/sys/fs/cgroup/systemd"
    path = f"{old if os.path.isdir(old) else '/sys/fs/cgroup'}/{name}"
    os.mkdir(path)
    return path
