"""As a systemd service: what the service manager is told, and the unit as a real systemd starts, watches and ends it."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from api import Api
from lines import Lines
from story import LOCK, give_back, take
from supervisor import BINARY, command
from systemd import Systemd
from target import app, document, service

UNIT = os.path.abspath(f"{os.path.dirname(BINARY)}/../deps/systemd/lockkeeper.service")  # as it is installed
EXPOSURE_MAX = 40  # tenths: what `systemd-analyze security` calls "OK" ends at 4.9


# ---- a manager of our own, which writes down what it is told

class Manager:
    def __init__(self, name):
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(name.replace("@", "\0"))
        self.told = Lines(iter(lambda: self._socket.recv(4096), b""), lambda text: text.split("\n"))

    def wait(self, line, since=0):
        """A datagram with a line that begins so."""
        return self.told.wait(lambda lines: any(x.startswith(line) for x in lines), since, what=line)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self._socket.getsockname())
        self.told.join()
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(lab, request):
    m = Manager(f"{lab.dir}/notify" if request.param == "path" else f"@lk-notify-{os.getpid()}-{lab.number}")
    yield m
    m.close()


def release(lab, v):
    return document(app(1, f"r{v}", {"main": service(lab.image(v))}))


def test_the_manager_is_told_ready_then_every_state_then_stopping(lab, engine, manager):
    s = lab.run(release(lab, 1), 1, "r1", env={"NOTIFY_SOCKET": manager.name})
    manager.wait("STATUS=1 app settled")
    assert manager.told.since()[0][0] == "READY=1"
    main = engine.container(1, "main")["Id"]
    assert take(engine, main)
    mark = manager.told.mark()
    lab.write(release(lab, 2))
    manager.wait("STATUS=app 1 waits for the lock of main since 20", mark)
    give_back(engine, main)
    manager.wait("STATUS=1 app settled", mark)
    s.stop()
    manager.wait("STOPPING=1")
    told = [line for lines in manager.told.since() for line in lines if line]
    assert told[-2:] == ["STOPPING=1", "STATUS=stopping"] and told.count("READY=1") == told.count("STOPPING=1") == 1
    assert not [x for x in told if x.startswith("WATCHDOG")]  # nobody asked for pings


def test_it_is_ready_and_pings_while_the_engine_is_away(lab, manager):
    """A restart would not bring the engine back, so it must not be killed for it."""
    lab.write(release(lab, 1))
    s = lab.supervisor(engine_socket=f"{lab.dir}/nobody", env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"})
    manager.wait("READY=1")
    manager.wait("STATUS=engine unreachable: ")
    for _ in range(3):
        manager.wait("WATCHDOG=1", manager.told.mark())
    assert s.cli("health").code == 0


@pytest.mark.parametrize("name, value", [("NOTIFY_SOCKET", "relative"), ("NOTIFY_SOCKET", "/" + "x" * 108),
                                         ("NOTIFY_SOCKET", "/nobody/listens")])
def test_a_manager_that_cannot_be_told_does_not_keep_it_from_its_work(lab, name, value):
    s = lab.run(release(lab, 1), 1, "r1", env={name: value})
    assert len(s.events("notify_unusable")) == (value != "/nobody/listens")


# ---- the unit, and a real systemd

class Host:
    """A machine on which lockkeeper is installed as a service, with the lab's engine and target."""

    def __init__(self, lab):
        self.lab, self.systemd = lab, Systemd(f"{lab.dir}/machine")
        lab.at_end(self.systemd.close)
        self.state, self.lock_root = f"{lab.dir}/machine/var-lib/lockkeeper", f"{lab.dir}/locks"
        self.log = f"{lab.dir}/service.log"
        os.mkdir(f"{lab.dir}/bin")
        shutil.copy(BINARY, f"{lab.dir}/bin/lockkeeper")
        with open(UNIT) as f:
            text, n = re.subn(r"(?m)^ExecStart=\S+/lockkeeper ", f"ExecStart={lab.dir}/bin/lockkeeper ", f.read())
        assert n == 1
        self.systemd.unit("lockkeeper.service", text)
        self.systemd.unit("docker.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
        # Only where its output goes; and no leak check, which would need ptrace.
        self.drop_in("test", f"StandardOutput=append:{self.log}\nStandardError=inherit\nEnvironment=ASAN_OPTIONS=detect_leaks=0")
        self.settings()
        self.systemd.start()
        self.ctl = self.systemd.ctl

    def drop_in(self, name, text):
        self.systemd.unit(f"lockkeeper.service.d/{name}.conf", f"[Service]\n{text}\n")

    def settings(self, **values):
        values = {"LOCKKEEPER_TARGET": self.lab.target, "DOCKER_SOCKET": self.lab.engine_socket,
                  "LOCKKEEPER_LOCK_ROOT": self.lock_root, "LOCKKEEPER_LEGACY_LOCK_ROOT": f"{self.lab.dir}/legacy", **values}
        path = f"{self.systemd.dir}/etc/lockkeeper"
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/lockkeeper.env", "w") as f:
            f.writelines(f"{k}={v}\n" for k, v in values.items())

    def show(self, *names):
        return self.systemd.show("lockkeeper.service", *names)

    def until(self, condition, what):
        return self.systemd.until(condition, what)

    def status(self, text):
        self.until(lambda: self.show("StatusText").startswith(text), f"a status of '{text}'")

    def cli(self, *argv):
        return command(argv[0], "--state", self.state, *argv[1:])

    def settled(self, document):
        self.lab.write(document)
        done = self.cli("update", "--wait")
        assert done.code == 0, f"{done}\n{self.said()}"

    @property
    def pid(self):
        return int(self.show("MainPID"))

    def send(self, sig):
        os.kill(self.systemd.host_pid(self.pid), sig)

    @property
    def key(self):
        with open(f"{self.state}/api-key") as f:
            return f.read()

    @property
    def api(self):
        return Api("http://127.0.0.1:48484", self.key)

    def said(self):
        with open(self.log) as f:
            return f.read()


@pytest.fixture
def host(lab):
    return Host(lab)


def test_systemctl_start_returns_when_the_api_answers_and_stop_leaves_the_containers(lab, engine, host):
    lab.write(release(lab, 1))
    host.ctl("start", "lockkeeper")
    assert host.api.get("/ping").status == 200  # at once
    assert host.ctl("is-active", "lockkeeper").out == "active\n"
    host.status("1 app settled")
    before = engine.services(1)
    host.ctl("stop", "lockkeeper")
    assert host.show("ActiveState", "Result", "ExecMainStatus", "NRestarts") == ["inactive", "success", "0", "0"]
    assert engine.services(1) == before and before["main"][1] == "running"


def test_an_update_with_locks_works_under_the_hardening(lab, engine, host):
    lab.write(release(lab, 1))
    host.ctl("start", "lockkeeper")
    host.settled(release(lab, 1))
    main = engine.container(1, "main")["Id"]
    assert take(engine, main, user="1000:1000")
    lab.write(release(lab, 2))
    assert host.cli("update", "--wait").code == 75
    host.status("app 1 waits for the lock of main since ")
    give_back(engine, main)
    host.settled(release(lab, 2))
    main = engine.container(1, "main")["Id"]
    code, out = engine.exec(main, "sh", "-c", f"umask 077; mkdir {LOCK}; : >{LOCK}/why", user="1000:1000")
    assert code == 0, out
    lab.write(release(lab, 3))
    done = host.cli("update", "--force", "--wait")  # breaks another user's lock, which is a directory with something in it
    assert done.code == 0, f"{done}\n{host.said()}"
    assert engine.container(1, "main")["Config"]["Env"].count("VERSION=3") == 1
    said = host.said()
    assert "lock_overridden" in said and "lock_problem" not in said and " error " not in said
    # What it tells systemd-tmpfiles is there, although it may not write elsewhere in /run.
    assert f"x /{lab.dir.split('/')[1]}/" in host.systemd.run("sh", "-c", "cat /run/tmpfiles.d/lockkeeper-*.conf").out
    host.ctl("stop", "lockkeeper")
    host.systemd.run("sh", "-c", "cat /run/tmpfiles.d/lockkeeper-*.conf")


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_the_holder_of_a_lock_is_found_under_the_hardening(lab, host, user):
    """Another user's process, and one with more privileges than ours: neither's descriptors are simply ours to read."""
    lab.write(release(lab, 1))
    host.ctl("start", "lockkeeper")
    host.settled(release(lab, 1))
    path = f"{host.lock_root}/1/main/updates.lock"
    os.chmod(os.path.dirname(lab.dir), 0o711)  # so that it gets there
    host.systemd.unit("holder.service", f"[Service]\nUser={user}\nExecStart=sh -c 'exec 9>{path}; exec sleep infinity'\n")
    host.ctl("start", "holder")

    def found():
        return [x for x in host.api.locks["locks"] if x["owner"] == "application"]
    [lock] = host.until(found, "the lock")
    assert (lock["pid"], lock["command"]) == (int(host.systemd.show("holder.service", "MainPID")), "sleep"), lock


def test_an_application_that_takes_its_lock_directory_for_itself_is_updated_under_the_hardening(lab, engine, host):
    lab.write(release(lab, 1))
    host.ctl("start", "lockkeeper")
    host.settled(release(lab, 1))
    code, said = engine.exec(engine.container(1, "main")["Id"], "sh", "-c", "chown 1000:1000 /tmp/balena; chmod 700 /tmp/balena")
    assert code == 0, said
    host.settled(release(lab, 2))
    assert engine.container(1, "main")["Config"]["Env"].count("VERSION=2") == 1


def test_killed_it_is_started_again_with_its_state(lab, engine, host):
    lab.write(release(lab, 1))
    host.drop_in("soon", "RestartSec=100ms")
    host.ctl("start", "lockkeeper")
    host.settled(release(lab, 1))
    before, key, pid = engine.services(1), host.key, host.pid
    host.send(signal.SIGKILL)
    host.until(lambda: host.show("ActiveState", "NRestarts") == ["active", "1"], "a restart")
    host.status("1 app settled")
    assert host.pid not in (0, pid) and host.key == key and engine.services(1) == before


@pytest.mark.slow
def test_the_watchdog_is_fed_while_the_loop_turns_and_kills_what_hangs(lab, engine, host):
    lab.write(release(lab, 1))
    host.drop_in("watchdog", "WatchdogSec=5s\nRestart=no")
    host.ctl("start", "lockkeeper")
    host.settled(release(lab, 1))
    for _ in range(2):  # pings
        fed = host.show("WatchdogTimestampMonotonic")
        host.until(lambda: host.show("WatchdogTimestampMonotonic") != fed, "a ping")
    engine.freeze()  # hanging is the engine's trouble then, not ours
    lab.at_end(engine.thaw)
    fed = host.show("WatchdogTimestampMonotonic")
    host.until(lambda: host.show("WatchdogTimestampMonotonic") != fed, "a ping")
    engine.thaw()
    assert host.show("ActiveState") == "active"
    host.send(signal.SIGSTOP)
    host.until(lambda: host.show("ActiveState", "Result") == ["failed", "watchdog"], "the watchdog")

    host.drop_in("watchdog", "WatchdogSec=5s\nRestartSec=100ms")  # and with the unit's own Restart=
    host.ctl("daemon-reload")
    host.ctl("start", "lockkeeper")
    host.status("1 app settled")
    host.send(signal.SIGSTOP)
    host.until(lambda: host.show("ActiveState", "NRestarts") == ["active", "1"], "a restart")
    host.status("1 app settled")


def test_a_wrong_setting_ends_the_start_and_is_not_tried_for_ever(lab, host):
    host.settings(DOCKER_SOCKET="not-a-path")
    assert host.ctl("start", "lockkeeper", ok=None).returncode != 0
    assert host.show("ActiveState", "Result", "ExecMainStatus", "NRestarts") == ["failed", "exit-code", "2", "0"]
    assert "DOCKER_SOCKET" in host.said()


def test_a_target_from_a_url_is_fetched_under_the_hardening(lab, engine, host, web):
    web.names.append("fleet.test")
    web.serve(json.dumps(release(lab, 1)))
    with open(f"{host.systemd.dir}/etc/hosts", "a") as f:
        f.write("127.0.0.1 fleet.test\n")
    host.settings(LOCKKEEPER_TARGET=f"http://fleet.test:{web.port}/", LOCKKEEPER_POLL_INTERVAL=1)
    host.ctl("start", "lockkeeper")
    host.status("1 app settled")
    assert engine.services(1)["main"][1] == "running"


def test_systemd_finds_nothing_to_say_against_the_unit(lab):
    unit = f"{lab.dir}/lockkeeper.service"
    with open(UNIT) as f, open(unit, "w") as to:
        to.write(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={BINARY}", f.read()))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert said.returncode == 0 and "lockkeeper" not in said.stdout + said.stderr, said
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
