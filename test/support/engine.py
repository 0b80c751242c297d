"""A real Docker engine of our own, in a short directory, spoken to without a client program."""
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import urllib.parse

import sandbox
import wire
from lines import Lines


_numbers = itertools.count(1)


class EngineError(Exception):
    def __init__(self, status, message):
        super().__init__(f"{status} {message}")
        self.status = status


class Engine:
    def __init__(self, directory):
        self.dir = directory
        self.socket = f"{directory}/engine.sock"
        self.root = f"{directory}/data"
        self.process = self.log = self._containerd = None

    # ---- the daemon

    def start(self):
        """containerd is a process of its own, so that the engine can be killed and started again."""
        if not self._containerd:
            self._containerd = self._start_containerd()
        self.process, self.log = daemon(
            ["dockerd", "--data-root", self.root, "--exec-root", f"{self.dir}/exec", "-H", f"unix://{self.socket}",
             "--containerd", f"{self.dir}/c.sock", "--pidfile", f"{self.dir}/pid", "--iptables=false", "--ip6tables=false",
             "--bip", "172.31.255.1/24", "--shutdown-timeout", "5"], "API listen on")

    def _start_containerd(self):
        config = f"{self.dir}/containerd.toml"
        with open(config, "w") as f:
            f.write(f'version = 2\nroot = "{self.dir}/c-root"\nstate = "{self.dir}/c-state"\n'
                    'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                    f'[grpc]\naddress = "{self.dir}/c.sock"\n[debug]\naddress = "{self.dir}/c-debug.sock"\n')
        return daemon(["containerd", "--config", config], "containerd successfully booted")[0]

    def stop(self):
        for process in (self.process, self._containerd):
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                process.wait(60)
        self.process = self._containerd = None
        sandbox.unmount_below(self.dir)  # a killed engine leaves its data root mounted on itself

    def kill(self):
        """As if it crashed; the containers live on until start()."""
        self.process.kill()
        self.process.wait()
        for stale in (self.socket, f"{self.dir}/pid"):
            if os.path.exists(stale):
                os.unlink(stale)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    # ---- calls

    def call(self, method, path, body=None, query=None, headers=None, ok=(200, 201, 204, 304), timeout=60):
        if query:
            path += "?" + urllib.parse.urlencode(query, doseq=True)
        r = wire.request(f"unix:{self.socket}", method, path, body, headers, timeout)
        if r.status not in ok:
            raise EngineError(r.status, r.text.strip())
        return r

    def get(self, path, **query):
        return self.call("GET", path, query=query).json()

    def containers(self, **labels):
        """Every container, running or not, whose io.balena.* labels are these (app_id=7 means io.balena.app-id)."""
        wanted = [f"io.balena.{k.replace('_', '-')}={v}" for k, v in labels.items()]
        return self.get("/containers/json", all=1, filters=json.dumps({"label": ["io.balena.supervised=true", *wanted]}))

    def container(self, app_id, service):
        """The one container of a service, inspected."""
        found = self.containers(app_id=app_id, service_name=service)
        assert len(found) == 1, f"{len(found)} containers of {service} in app {app_id}"
        return self.get(f"/containers/{found[0]['Id']}/json")

    def services(self, app_id):
        """{service: (container id, state)} of an app"""
        found = self.containers(app_id=app_id)
        services = {c["Labels"]["io.balena.service-name"]: (c["Id"], c["State"]) for c in found}
        assert len(services) == len(found), f"two containers of one service: {found}"
        return services

    def run(self, name, image, labels=None, **config):
        """A container that is none of ours."""
        body = {"Image": image, "Labels": labels or {}, "HostConfig": {"NetworkMode": "none"}, **config}
        made = self.call("POST", "/containers/create", body, query={"name": name}).json()["Id"]
        self.call("POST", f"/containers/{made}/start")
        return made

    def remove(self, container):
        self.call("DELETE", f"/containers/{container}", query={"force": 1, "v": 1}, ok=(204, 404))

    def exec(self, container, *argv, user=""):
        """
        Runs argv inside; (exit code, output). Not the engine's own exec: that enters the container by its mount name space
        alone, which is the wrong root when the engine itself runs in a chroot.
        """
        enter, env, _ = self._enter(container, user)
        done = subprocess.run(enter + list(argv), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=sandbox.DEADLINE)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def spawn(self, container, *argv, user=""):
        """A process inside that goes on, in the container's control group too; its Popen."""
        enter, env, pid = self._enter(container, user)
        groups = cgroup_procs(pid)

        def join():
            for path in groups:
                with open(path, "w") as f:
                    f.write("0")
        return subprocess.Popen(enter + list(argv), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, preexec_fn=join)

    def _enter(self, container, user):
        """What to run a program with, its environment, and the container's first process."""
        about = self.get(f"/containers/{container}/json")
        env = dict(e.split("=", 1) for e in about["Config"]["Env"] or [] if "=" in e)
        env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        pid = about["State"]["Pid"]
        who = [f"-S{user.split(':')[0]}", f"-G{user.split(':')[-1]}"] if user else []
        enter = [shutil.which("nsenter"), f"-t{pid}", "-m", "-u", "-i", "-n", "-p", "-r", "-w", *who, "--"]
        return enter, env, pid

    def logs(self, container):
        raw = self.call("GET", f"/containers/{container}/logs", query={"stdout": 1, "stderr": 1}).body
        if self.get(f"/containers/{container}/json")["Config"]["Tty"]:
            return raw.decode("utf-8", "replace").replace("\r\n", "\n")
        return demux(raw)

    def wait_exit(self, container):
        return self.call("POST", f"/containers/{container}/wait").json()["StatusCode"]

    def events(self):
        return Events(self)

    def clean(self):
        """Removes every container, network and volume, so that the next test begins with an empty engine."""
        for c in self.get("/containers/json", all=1):
            self.remove(c["Id"])
        for n in self.get("/networks"):
            if n["Name"] not in ("bridge", "host", "none"):
                self.call("DELETE", f"/networks/{n['Id']}", ok=(204, 404))
        for v in self.get("/volumes")["Volumes"] or []:
            self.call("DELETE", f"/volumes/{v['Name']}", query={"force": 1}, ok=(204, 404))


class Events:
    """What the engine did since this was made, in its own order."""

    def __init__(self, engine):
        self._engine = engine
        self._connection = wire.connection(f"unix:{engine.socket}", timeout=3600)
        self._connection.request("GET", "/events")
        response = self._connection.getresponse()  # the engine answers once it is subscribed
        self._lines = Lines(iter(response.readline, b""), parse=json.loads)
        self.since, self.mark, self.wait = self._lines.since, self._lines.mark, self._lines.wait

    def catch_up(self):
        """Everything that happened before this call has been read."""
        name = f"lk-catch-up-{next(_numbers)}"
        self._engine.call("POST", "/volumes/create", {"Name": name})
        self.wait(lambda e: e["Type"] == "volume" and e["Action"] == "create" and e["Actor"]["ID"] == name, what=f"volume {name}")
        self._engine.call("DELETE", f"/volumes/{name}", ok=(204, 404))

    def close(self):
        # shutdown, not close: close() would wait for the thread that sits in readline()
        self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._lines.join()

    def containers(self, *actions, app_id=None, since=0):
        """[(action, service)] of supervised containers, up to now"""
        self.catch_up()
        found = []
        for e in self.since(since):
            labels = e["Actor"]["Attributes"]
            if e["Type"] == "container" and labels.get("io.balena.supervised") == "true" and (
                    e["Action"] in actions or not actions) and app_id in (None, int(labels["io.balena.app-id"])):
                found.append((e["Action"], labels["io.balena.service-name"]))
        return found

    def wait_container(self, action, service, since=0):
        return self.wait(lambda e: e["Type"] == "container" and e["Action"] == action and
                         e["Actor"]["Attributes"].get("io.balena.service-name") == service,
                         since, what=f"{action} of {service}")


def cgroup_procs(pid):
    """The cgroup.procs files of a process, in the old hierarchies and the unified one."""
    found = []
    with open(f"/proc/{pid}/cgroup") as f:
        rows = [line.rstrip("\n").split(":", 2) for line in f]
    for _, controllers, path in rows:
        bases = [controllers.removeprefix("name=")] if controllers else ["unified", ""]
        paths = [os.path.normpath(f"/sys/fs/cgroup/{base}/{path}/cgroup.procs") for base in bases]
        found += [p for p in paths if os.path.exists(p)][:1]
    return found


def daemon(argv, sign):
    """Starts argv and waits for a line with `sign` on its standard error; (process, lines)."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               preexec_fn=sandbox.die_with_parent)
    lines = Lines(process.stderr)
    try:
        lines.wait(lambda line: sign in line, timeout=60, what=f"'{sign}' of {argv[0]}")
    except AssertionError as e:
        raise AssertionError("\n".join([str(e), *lines.since()[-20:]])) from None
    return process, lines


def demux(raw):
    out, at = [], 0
    while at + 8 <= len(raw):
        length = struct.unpack(">I", raw[at + 4:at + 8])[0]
        out.append(raw[at + 8:at + 8 + length])
        at += 8 + length
    return b"".join(out).decode("utf-8", "replace")
