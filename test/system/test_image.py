"""
The container image: what is in it, and that it keeps an engine at a target when it is started as docs/deployment.md
says, by the line of that page and by the compose file, with no more rights than these name.
"""
import json
import os
import re
import shlex

import pytest

import image as images_own
import sandbox
from image import LOCKS, NAME, Boxed, docker
from lines import Lines
from story import LOCK, give_back, in_order, take, told
from target import app, document, service

pytestmark = pytest.mark.image

PAGE = f"{images_own.TOP}/docs/deployment.md"
COMPOSE = f"{images_own.TOP}/deps/image/compose.yaml"
SIZE_MAX_BYTES = 15_000_000
SECOND = 1_000_000_000  # in the engine's nanoseconds


@pytest.fixture(scope="session")
def built(engine):
    """The image, in the engine of the tests: what the engine says about it."""
    about = images_own.load(engine)
    print(f"{NAME}: {about['Size']} bytes")
    return about


def run_line():
    """The arguments of the page's one `docker run` line."""
    with open(PAGE) as f:
        blocks = re.findall(r"^```sh\n(.*?)^```", f.read(), re.M | re.S)
    [line] = [b for b in blocks if b.startswith("docker run -d")]
    return shlex.split(line.replace("\\\n", " "))[3:]


class Host:
    """A machine that the container is started on, as far as the page speaks of it."""

    def __init__(self, lab, engine):
        self.lab, self.engine = lab, engine
        self.etc = f"{lab.dir}/etc"
        os.mkdir(self.etc)
        lab.target = f"{self.etc}/target.json"
        # The place that everybody knows, of this session alone.
        os.makedirs(LOCKS, exist_ok=True)
        assert sandbox.libc.mount(b"tmpfs", LOCKS.encode(), b"tmpfs", 0, None) == 0
        lab.at_end(lambda: sandbox.libc.umount2(LOCKS.encode(), sandbox.MNT_DETACH))

    def start(self, without=None, without_right=None, image=NAME):
        """By the line of the page, with the paths of this session and a log that tests can read."""
        argv = [a for a in run_line() if a != without]
        if without_right:
            at = argv.index(without_right)
            assert argv[at - 1] == "--cap-add"
            del argv[at - 1:at + 1]
        assert argv.pop() == NAME
        argv = [a.replace("/var/run/docker.sock:", f"{self.engine.socket}:", 1)
                 .replace("/etc/lockkeeper:", f"{self.etc}:", 1) for a in argv]
        docker(self.engine, "run", "-d", *argv, "--health-interval=1s", "-e", "LOCKKEEPER_LOG_FORMAT=json", image)
        return self.follow()

    def follow(self):
        box = Boxed(self.engine)
        self.lab.supervisors.append(box)  # which stops it, and wants exit code 0
        return box.follow()


@pytest.fixture
def host(lab, engine, built):
    return Host(lab, engine)


def release(lab, v, **more):
    return document(app(1, f"r{v}", {"main": service(lab.image(v), **more)}))


# ---- what it is

def test_the_image_is_small_and_has_the_program_its_libraries_and_nothing_else(built):
    assert built["Size"] <= SIZE_MAX_BYTES
    members = {"/" + m.name.strip("./"): m for m in images_own.contents()}
    kept = {path for path, m in members.items() if not m.isdir()}
    library = r"(/usr)?/lib(\d+|/[\w-]+-linux-\w+)?/(ld-linux[\w-]*|lib[\w-]+)\.so[.\d]*"
    libraries = {p for p in kept if re.fullmatch(library, p)}
    names = {os.path.basename(p).split(".so")[0] for p in libraries}
    assert {n for n in names if not n.startswith("ld-linux")} == {"libc", "libcrypto", "libssl"}
    licences = {p for p in kept if re.fullmatch(r"/usr/share/doc/[\w.+-]+/copyright", p)}
    assert {os.path.basename(os.path.dirname(p)) for p in licences} >= {"lockkeeper", "libc6", "libssl3", "curl"}
    assert kept - libraries - licences == {
        "/usr/bin/lockkeeper", "/usr/bin/lockkeeper-entry", "/etc/ssl/certs/ca-certificates.crt"}
    assert {"/data", "/tmp", "/mnt/root", "/mnt/boot", "/mnt/state", "/mnt/data"} <= set(members) - kept
    assert members["/etc/ssl/certs/ca-certificates.crt"].size > 100_000
    assert all(m.uid == m.gid == 0 and not m.mode & 0o6000 for m in members.values())


def test_the_image_says_what_a_host_wants_to_know(built):
    config = built["Config"]
    assert config["Entrypoint"] == ["/usr/bin/lockkeeper-entry"] and not config["Cmd"] and not config["User"]
    env = dict(e.split("=", 1) for e in config["Env"])
    assert {k: v for k, v in env.items() if k != "PATH"} == {
        "STATE_DIRECTORY": "/data", "ROOT_MOUNTPOINT": "/mnt/root", "BOOT_MOUNTPOINT": "/mnt/boot",
        "STATE_MOUNTPOINT": "/mnt/state", "DATA_MOUNTPOINT": "/mnt/data", "LED_FILE": "/dev/null"}
    assert config["Healthcheck"] == {"Test": ["CMD", "/usr/bin/lockkeeper", "health"], "Interval": 300 * SECOND,
                                     "StartPeriod": 60 * SECOND, "Timeout": 30 * SECOND, "Retries": 3}
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == NAME and labels["org.opencontainers.image.version"]


def test_a_command_is_run_instead_of_the_supervisor(lab, engine, built):
    said = docker(engine, "run", "--rm", "--network", "none", NAME, "--version", "--verbose")
    assert said.startswith("lockkeeper ") and "libc: " in said
    lab.write(release(lab, 1))
    said = docker(engine, "run", "--rm", "--network", "none", "-v", f"{lab.target}:/target.json:ro", NAME, "check",
                  "/target.json")
    assert "/target.json" in said


# ---- what it does

def test_started_by_the_line_of_the_page_it_keeps_the_engine_at_the_target_and_honours_locks(host, lab, engine):
    lab.write(release(lab, 1, network_mode=None, labels={"io.balena.features.supervisor-api": "1"}))
    events = engine.events()
    s = host.start()
    s.settled(1, "r1")
    events.wait(lambda e: e["Action"] == "health_status: healthy" and e["Actor"]["Attributes"]["name"] == NAME,
                what="a healthy container")
    main = engine.container(1, "main")["Id"]
    s.wait("api_listening", address="10.114.104.1")
    code, out = engine.exec(main, "sh", "-c", 'busybox wget -q -O - "$BALENA_SUPERVISOR_ADDRESS/v2/version?'
                                              'apikey=$BALENA_SUPERVISOR_API_KEY"')
    assert code == 0 and "lockkeeper" in out, out

    holder = hold_open(lab, engine, main)
    s.wait("lock_seen", service="main")
    mark = s.mark()
    lab.write(release(lab, 2, network_mode=None, labels={"io.balena.features.supervisor-api": "1"}))
    s.wait("update_blocked", since=mark, service="main")
    assert engine.services(1)["main"] == (main, "running")
    assert "main" in s.inside("lockkeeper", "status") and "locked" in s.inside("lockkeeper", "status")
    [lock] = json.loads(s.inside("lockkeeper", "locks", "--json"))["locks"]
    assert lock["command"] == "sh" and lock["containerId"] == main and os.path.samefile(
        f"/proc/{lock['pid']}/fd/9", s.lock_path(1, "main"))
    holder.stdin.write(b"\n")
    holder.stdin.flush()
    s.settled(1, "r2", since=mark)
    in_order(told(s.events(since=mark)), "update_blocked", "update_resumed", "lock_taken", "stop:main", "start:main",
             "lock_released", "app_settled")
    assert not [e for e in s.events() if e["level"] in ("error", "warn") and e["event"] != "update_blocked"]

    before = engine.services(1)
    s.stop()
    assert engine.services(1) == before and before["main"][1] == "running"
    events.close()


def hold_open(lab, engine, container):
    """A process of the service that takes the lock and keeps it open, until it reads a line."""
    holder = engine.spawn(container, "sh", "-c", f"set -C; exec 9> {LOCK}; echo held; read _; rm {LOCK}")
    lab.at_end(holder.wait)
    lab.at_end(holder.stdin.close)
    Lines(holder.stdout).wait(lambda line: line == "held")
    return holder


def test_it_writes_nothing_outside_its_mounts_though_it_could(host, lab, engine):
    lab.write(release(lab, 1))
    s = host.start(without="--read-only")
    s.settled(1, "r1")
    take(engine, engine.container(1, "main")["Id"])
    lab.write(release(lab, 2))
    s.wait("update_blocked")
    os.unlink(s.lock_path(1, "main"))
    s.settled(1, "r2")
    s.stop()
    assert s.written() == []


def hold_as_another_user(engine, container):
    """A directory as a lock, with something in it, of a user that is not root."""
    script = f"mkdir {LOCK} && touch {LOCK}/mine && chmod 700 {LOCK}"
    code, out = engine.exec(container, "sh", "-c", script, user="1000:1000")
    assert code == 0, out


def test_a_lock_of_another_user_is_broken_by_force_with_the_rights_of_the_page(host, lab, engine):
    lab.write(release(lab, 1))
    s = host.start()
    s.settled(1, "r1")
    hold_as_another_user(engine, engine.container(1, "main")["Id"])
    lab.write(release(lab, 2))
    s.wait("update_blocked")
    s.inside("lockkeeper", "update", "--force", "--wait")
    s.settled(1, "r2")
    assert s.wait("lock_overridden")["uid"] == 1000 and s.locks_on_disk() == {}


@pytest.mark.parametrize("missing", ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SYS_PTRACE"])
def test_each_right_of_the_page_is_missed_when_it_is_not_there(host, lab, engine, missing):
    assert sorted(a for flag, a in zip(run_line(), run_line()[1:]) if flag == "--cap-add") == [
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "SYS_PTRACE"]
    lab.write(release(lab, 1))
    s = host.start(without_right=missing)
    s.settled(1, "r1")
    main = engine.container(1, "main")["Id"]
    if missing == "SYS_PTRACE":
        hold_open(lab, engine, main)
        s.wait("lock_seen")
        [lock] = s.api.locks["locks"]
        assert (lock["owner"], lock["pid"], lock["command"]) == ("application", None, None)
    else:
        hold_as_another_user(engine, main)
        lab.write(release(lab, 2))
        s.wait("update_blocked")
        assert s.api.post("/v1/update", {"force": True}).status == 204
        assert "Operation not permitted" in s.wait("step_failed", kind="take_locks")["err"] or missing == "DAC_OVERRIDE"
        assert engine.services(1)["main"] == (main, "running")


def test_the_compose_file_starts_the_same_container(host, lab, engine):
    lab.write(release(lab, 1))
    by_line = host.start()
    by_line.settled(1, "r1")
    before = engine.services(1)
    wanted = essentials(by_line.about)
    by_line.stop()
    by_line.remove()

    own = f"{lab.dir}/own.yaml"  # what is different here: the paths of this session and a log that tests can read
    with open(own, "w") as f:
        volumes = [f"{engine.socket}:/var/run/docker.sock", f"{host.etc}:/etc/lockkeeper:ro"]
        json.dump({"services": {NAME: {"volumes": volumes, "environment": {"LOCKKEEPER_LOG_FORMAT": "json"}}}}, f)
    docker(engine, "-f", COMPOSE, "-f", own, "-p", "lk", "up", "-d", program="docker-compose")
    s = host.follow()
    assert essentials(s.about) == wanted
    s.settled(1, "r1")
    assert engine.services(1) == before  # the same state: nothing of it was lost
    lab.write(release(lab, 2))
    s.settled(1, "r2")


def essentials(about):
    """Of an inspected container, what a person says when it is started."""
    host = about["HostConfig"]
    return {
        "mounts": sorted((m["Destination"], m.get("Name") or m["Source"], m["RW"]) for m in about["Mounts"]),
        "env": sorted(about["Config"]["Env"]), "image": about["Config"]["Image"], "name": about["Name"],
        "capabilities": [sorted(c.removeprefix("CAP_") for c in host[k] or []) for k in ("CapDrop", "CapAdd")],
        **{k: host[k] or None for k in ("NetworkMode", "PidMode", "ReadonlyRootfs", "RestartPolicy", "Privileged",
                                        "Devices", "SecurityOpt")}}


# ---- its successor

def test_a_newer_image_takes_over_and_neither_services_nor_a_held_wait_notice(host, lab, engine):
    for tag in ("1", "2"):
        docker(engine, "tag", NAME, f"{NAME}:{tag}")
    lab.write(release(lab, 1))
    old = host.start(image=f"{NAME}:1")
    old.settled(1, "r1")
    main = engine.container(1, "main")["Id"]
    assert take(engine, main)
    lab.write(release(lab, 2))
    old.wait("update_blocked")
    since = [w["since"] for w in old.api.waits if w["kind"] == "locked"]
    events = engine.events()
    old.stop()
    old.remove()

    new = host.start(image=f"{NAME}:2")
    new.wait("update_blocked")
    assert [w["since"] for w in new.api.waits if w["kind"] == "locked"] == since and len(since) == 1
    assert engine.services(1) == {"main": (main, "running")}
    give_back(engine, main)
    new.settled(1, "r2")
    in_order(told(new.events()), "update_blocked", "update_resumed", "stop:main", "start:main", "app_settled")
    # Of itself it touched nothing: what happened to its containers was the host's doing, and its images are all there.
    events.catch_up()
    assert [e["Action"] for e in events.since() if e["Type"] == "container" and e["Actor"]["Attributes"]["name"] == NAME
            and not e["Action"].startswith(("exec_", "health_status"))] == [
        "kill", "die", "stop", "destroy", "create", "start"]
    assert new.about["Config"]["Image"] == f"{NAME}:2"
    for tag in ("1", "2", "latest"):
        assert lab.images.has(f"{NAME}:{tag}")
    events.close()
