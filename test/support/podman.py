"""
A private podman behind its Docker-compatible socket: the second engine. Everything that it would keep in the machine's own
places (images, locks, networks) is on paths of ours, by its configuration files or by a mount of this name space.
"""
import itertools
import os
import shutil
import subprocess

import engine
import images
import sandbox
from lines import Lines

# What podman keeps at fixed places whatever its configuration says, or beside what it is told.
FIXED = ("/run/netns", "/run/containers", "/var/lib/containers")
_numbers = itertools.count(1)


class Podman(engine.Engine):
    def __init__(self, directory, registry):
        super().__init__(directory)
        for place in FIXED:
            os.makedirs(place, exist_ok=True)
            sandbox.libc.mount(b"tmpfs", place.encode(), b"tmpfs", 0, None)
        self._write("storage.conf", f"""
[storage]
driver = "overlay"
runroot = "{directory}/runroot"
graphroot = "{self.root}"
""")
        self._write("registries.conf", f"""
[[registry]]
location = "{registry}"
insecure = true
""")
        # static_dir is where `podman --root` puts it: so the clean-up after a container, which restarts it, is run;
        # the limits of open files and processes that podman asks for are more than some test machines grant
        self._write("containers.conf", f"""
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
default_subnet = "172.31.254.0/24"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
static_dir = "{self.root}/libpod"
tmp_dir = "{directory}/tmp"
volume_path = "{directory}/volumes"
""")
        os.mkdir(f"{directory}/tmp")
        self.env = dict(os.environ, TMPDIR=f"{directory}/tmp", CONTAINERS_CONF=f"{directory}/containers.conf",
                        CONTAINERS_STORAGE_CONF=f"{directory}/storage.conf",
                        CONTAINERS_REGISTRIES_CONF=f"{directory}/registries.conf")

    def _write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as f:
            f.write(text)

    @staticmethod
    def missing():
        """What this machine lacks for it."""
        return [p for p in ("podman", "conmon", "runc", "/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns",
                            "iptables") if not shutil.which(p)]

    # ---- the service

    def start(self):
        self.process = subprocess.Popen(
            ["podman", "--log-level=info", "system", "service", "--time=0", f"unix://{self.socket}"], env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=sandbox.die_with_parent)
        self.log = Lines(self.process.stderr)
        self.log.wait(lambda line: "API service listening" in line, what="a listening podman")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.process = None

    def close(self):
        """After the last test: no container may outlive the session."""
        self.clean()
        self.stop()
        sandbox.unmount_below(self.dir)
        for place in FIXED:
            sandbox.unmount_below(place)
            sandbox.libc.umount2(place.encode(), sandbox.MNT_DETACH)

    def clean(self):
        for c in self.get("/containers/json", all=1):
            self.remove(c["Id"])
        for n in self.get("/networks"):
            if n["Name"] not in ("bridge", "podman"):
                self.call("DELETE", f"/networks/{n['Name']}", ok=(204, 404))
        for v in self.get("/volumes")["Volumes"] or []:
            self.call("DELETE", f"/volumes/{v['Name']}", query={"force": 1}, ok=(204, 404))

    def events(self):
        return Events(self)


class Events(engine.Events):
    def catch_up(self):
        """Everything that happened before this call has been read. Podman names a volume in the attributes only."""
        name = f"lk-catch-up-{next(_numbers)}"
        self._engine.call("POST", "/volumes/create", {"Name": name})
        self.wait(lambda e: e["Type"] == "volume" and e["Action"] == "create" and
                  e["Actor"]["Attributes"].get("name") == name, what=f"volume {name}")
        self._engine.call("DELETE", f"/volumes/{name}", ok=(204, 404))


class PodmanImages(images.Images):
    def make(self, ref, **env):
        return self.make_with(ref, 'CMD ["/app"]', *[f"ENV {k}={v}" for k, v in env.items()])

    def make_with(self, ref, *changes):
        """Podman's import takes the tag with the name."""
        self.engine.call("POST", "/images/create", self._tar, query={"fromSrc": "-", "repo": ref, "changes": changes},
                         headers={"Content-Type": "application/x-tar"})
        return ref
