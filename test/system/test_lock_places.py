"""Where locks count: below the lock root, in the directory of an app that an old supervisor started, on a data
partition of Resin OS 1.x; and lock directories that somebody made to hurt."""
import json
import os
import shutil
import socket
import stat

import pytest

import sandbox
from story import give_back, in_order, take, told
from supervisor import Supervisor
from target import app, document, service

OURS = "lockkeeper-supervisor 1 "
RESIN_1 = 'NAME="Resin OS"\nID="resin-os"\nPRETTY_NAME="Resin OS 1.26"\nVERSION_ID="1.26.1"\n'
RESIN_2 = 'NAME="Resin OS"\nID="resin-os"\nPRETTY_NAME="Resin OS 2.12.7"\nVERSION_ID="2.12.7"\n'


@pytest.fixture
def releases(lab):
    images = {v: lab.image(v) for v in (1, 2, 3)}

    def release(v, names=("main",), **more):
        return document(app(1, f"r{v}", {n: service(images[v], **more) for n in names}))
    return release


class Places:
    """The three places of app 1, as directories of the test."""

    def __init__(self, lab, os_release=None):
        self.legacy, self.data = f"{lab.dir}/legacy", f"{lab.dir}/resin-data"
        self.locks = f"{lab.dir}/locks"
        self.env = {"RESIN_DATA_PATH": self.data}
        if os_release:
            self.env["HOST_OS_VERSION_PATH"] = f"{lab.dir}/os-release"
            with open(f"{lab.dir}/os-release", "w") as f:
                f.write(os_release)

    def make(self, *places):
        for base in places:
            os.makedirs(f"{base}/1", 0o755)

    @property
    def ours(self):
        """Every lock of ours in any of them."""
        found = set()
        for base in (self.locks, self.legacy, self.data):
            for directory, _, files in os.walk(base):
                for name in files:
                    path = f"{directory}/{name}"
                    with open(path, errors="replace") as f:
                        if f.read().startswith(OURS):
                            found.add(path)
        return found

    def wanted(self, *services, more=()):
        found = {f"{self.locks}/1/{s}/{n}" for s in services for n in ("updates.lock", "resin-updates.lock")}
        return found | {f"{base}/1/resin-updates.lock" for base in more}


def hold(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    return path


# ---- L2: the directory of an app that an old supervisor started


def test_a_lock_in_a_legacy_directory_holds_back_its_app(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1, ("main", "web")), 1, "r1")
    before = engine.services(1)
    path = hold(f"{places.legacy}/1/resin-updates.lock")
    seen = s.wait("lock_seen")
    assert seen["path"] == path and seen["app"] == 1 and seen.get("service") is None
    mark = s.mark()
    lab.write(releases(2, ("main", "web")))
    blocked = s.wait("update_blocked", since=mark)
    assert blocked["path"] == path and blocked.get("service") is None
    [lock] = s.api.locks["locks"]
    assert (lock["path"], lock["serviceName"], lock["owner"]) == (path, None, "application")
    assert engine.services(1) == before and places.ours == set()  # none of ours anywhere while we wait
    os.unlink(path)
    s.settled(1, "r2", since=mark)
    in_order(told(s.events(since=mark)), "update_blocked", "lock_gone", "update_resumed", "lock_taken", "app_settled")
    assert places.ours == set() and os.path.isdir(f"{places.legacy}/1")


def test_the_old_application_itself_takes_and_gives_back_the_lock_in_its_own_container(lab, engine, releases):
    """The container of an old supervisor has the directory as /tmp/resin; nothing else of it is known to us."""
    places = Places(lab)
    places.make(places.legacy)
    os.chmod(f"{places.legacy}/1", 0o1777)
    mounts = {"NetworkMode": "none", "Binds": [f"{places.legacy}/1:/tmp/resin"]}
    old = engine.run("old", lab.image(9), HostConfig=mounts)
    assert take(engine, old, path="/tmp/resin/resin-updates.lock")
    s = lab.supervisor()
    lab.write(releases(1))
    s.wait("update_blocked")
    assert engine.containers() == []
    give_back(engine, old, "/tmp/resin/resin-updates.lock")
    s.settled(1, "r1")


def test_while_an_update_runs_our_lock_is_in_the_legacy_directory_as_well(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1, mode="slow"), 1, "r1")
    lab.write(releases(2, mode="slow"))
    s.wait("step_started", kind="stop")
    assert places.ours == places.wanted("main", more=[places.legacy])  # one name there, as old supervisors knew it
    with pytest.raises(FileExistsError):
        hold(f"{places.legacy}/1/resin-updates.lock")
    assert stat.S_IMODE(os.stat(f"{places.legacy}/1").st_mode) == 0o755  # not ours to change
    s.settled(1, "r2")
    assert places.ours == set() and os.listdir(f"{places.legacy}/1") == []


def test_all_or_none_also_when_only_one_of_the_places_is_held(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1, ("main", "web")), 1, "r1")
    s.hold(1, "web")
    lab.write(releases(2, ("main", "web")))
    s.wait("update_blocked")
    assert s.cli("update", "--wait").code == 75
    assert places.ours == set()
    hold(f"{places.legacy}/1/resin-updates.lock")  # nobody keeps it from doing so
    mark = s.mark()
    os.unlink(s.lock_path(1, "web"))
    s.wait("lock_gone", since=mark, service="web")
    assert s.cli("update", "--wait").code == 75
    assert places.ours == set()
    os.unlink(f"{places.legacy}/1/resin-updates.lock")
    s.settled(1, "r2")


@pytest.mark.parametrize("how", ["unlinked", "directory removed"])
def test_a_legacy_lock_is_honoured_for_an_app_that_has_no_container_of_ours(lab, engine, releases, how):
    places = Places(lab)
    places.make(places.legacy)
    path = hold(f"{places.legacy}/1/resin-updates.lock")
    lab.write(releases(1))
    s = lab.supervisor()
    s.wait("lock_seen", path=path)
    assert s.wait("update_blocked")["path"] == path
    assert engine.containers() == [] and places.ours == set()
    if how == "unlinked":
        os.unlink(path)
    else:
        shutil.rmtree(f"{places.legacy}/1")
    s.settled(1, "r1")
    assert engine.services(1)["main"][1] == "running" and places.ours == set()


def test_a_legacy_directory_that_nobody_locked_holds_back_nothing(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1), 1, "r1")
    assert s.events("update_blocked") == []
    s.wait("lock_taken", path=f"{places.legacy}/1/resin-updates.lock")  # something old may have been at work there
    assert places.ours == set()


def test_a_legacy_directory_that_appears_later_counts_from_then_on(lab, engine, releases):
    places = Places(lab)
    os.mkdir(places.legacy)
    s = lab.run(releases(1), 1, "r1")
    places.make(places.legacy)
    path = hold(f"{places.legacy}/1/resin-updates.lock")
    s.wait("lock_seen", path=path)
    lab.write(releases(2))
    assert s.wait("update_blocked")["path"] == path
    os.unlink(path)
    s.settled(1, "r2")


def test_a_legacy_lock_outlives_the_supervisor(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1), 1, "r1")
    path = hold(f"{places.legacy}/1/resin-updates.lock")
    lab.write(releases(2))
    s.wait("update_blocked")
    for end in (s.kill, s.stop):
        end()
        s.start()
        s.wait("update_blocked")
        assert os.path.exists(path)
    os.unlink(path)
    s.settled(1, "r2")


def test_force_breaks_a_legacy_lock(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1), 1, "r1")
    path = hold(f"{places.legacy}/1/resin-updates.lock")
    lab.write(releases(2))
    s.wait("update_blocked")
    s.api.post("/v1/update", {"force": True})
    overridden = s.wait("lock_overridden")
    assert (overridden["path"], overridden["by"], overridden.get("service")) == (path, "api", None)
    s.settled(1, "r2")
    assert not os.path.exists(path)


def test_our_legacy_lock_left_by_a_killed_supervisor_is_given_back(lab, engine, releases):
    places = Places(lab)
    places.make(places.legacy)
    s = lab.run(releases(1, mode="slow"), 1, "r1")
    lab.write(releases(2, mode="slow"))
    s.wait("step_started", kind="stop")
    s.kill()
    assert f"{places.legacy}/1/resin-updates.lock" in places.ours
    s.start()
    s.settled(1, "r2")
    assert s.cli("update", "--wait").code == 0
    assert places.ours == set()


# ---- L3: the data of an application on Resin OS 1.x


def test_on_resin_os_1_a_lock_in_the_data_directory_holds_back_its_app(lab, engine, releases):
    places = Places(lab, RESIN_1)
    places.make(places.data)
    s = lab.run(releases(1), 1, "r1", env=places.env)
    before = engine.services(1)
    path = hold(f"{places.data}/1/resin-updates.lock")
    lab.write(releases(2))
    assert s.wait("update_blocked")["path"] == path
    assert engine.services(1) == before and places.ours == set()
    os.unlink(path)
    s.settled(1, "r2")
    assert places.ours == set()


@pytest.mark.parametrize("os_release", [
    RESIN_2, None, 'PRETTY_NAME="balenaOS 5.1.0"\n', 'PRETTY_NAME="Resin OS 10.1"\n'])
def test_on_any_other_system_a_file_in_the_data_directory_means_nothing(lab, engine, releases, os_release):
    places = Places(lab, os_release)
    places.make(places.data)
    s = lab.run(releases(1), 1, "r1", env=places.env)
    path = hold(f"{places.data}/1/resin-updates.lock")
    lab.write(releases(2))
    s.settled(1, "r2")
    assert s.events("update_blocked") == [] and s.events("lock_seen") == [] and s.events("lock_overridden") == []
    assert os.path.exists(path) and os.listdir(f"{places.data}/1") == ["resin-updates.lock"]


@pytest.mark.parametrize("held", ["legacy", "data", "locks"])
def test_all_three_places_are_taken_or_none(lab, engine, releases, held):
    places = Places(lab, RESIN_1)
    places.make(places.data, places.legacy)
    s = lab.run(releases(1, mode="slow"), 1, "r1", env=places.env)
    lock = {"legacy": f"{places.legacy}/1/resin-updates.lock", "data": f"{places.data}/1/resin-updates.lock",
            "locks": s.lock_path(1, "main")}[held]
    hold(lock)
    lab.write(releases(2, mode="slow"))
    assert s.wait("update_blocked")["path"] == lock
    assert s.cli("update", "--wait").code == 75
    assert places.ours == set()
    os.unlink(lock)
    s.wait("step_started", kind="stop")
    assert places.ours == places.wanted("main", more=[places.legacy, places.data])
    s.settled(1, "r2")
    assert places.ours == set()


def test_a_lock_that_outlived_a_reboot_does_not_dead_lock_and_goes_right_before_the_app_starts(lab, engine, releases):
    """After the reboot nothing of the app runs; L1 and L2 are never cleared: somebody may have locked since."""
    places = Places(lab, RESIN_1)
    places.make(places.data)
    s = lab.run(releases(1), 1, "r1", env=places.env)
    s.stop()
    engine.call("POST", f"/containers/{engine.container(1, 'main')['Id']}/stop")
    path = hold(f"{places.data}/1/resin-updates.lock")
    lab.write(releases(2))
    s.start()
    s.settled(1, "r2")
    assert s.events("update_blocked") == [] and not os.path.exists(path)
    assert engine.services(1)["main"][1] == "running"


def test_a_lock_in_the_data_directory_is_kept_for_as_long_as_anything_of_the_app_runs(lab, engine, releases):
    places = Places(lab, RESIN_1)
    places.make(places.data)
    s = lab.run(releases(1, ("main", "web")), 1, "r1", env=places.env)
    path = hold(f"{places.data}/1/resin-updates.lock")
    s.wait("lock_seen", path=path)
    mark = s.mark()
    engine.remove(engine.services(1)["web"][0])  # main still runs, and may be at work under its lock
    s.wait("update_blocked", since=mark)
    assert os.path.exists(path) and set(engine.services(1)) == {"main"}
    s.kill()
    s.start()
    s.wait("update_blocked")
    assert os.path.exists(path) and set(engine.services(1)) == {"main"}
    os.unlink(path)
    s.settled(1, "r1")


def test_locks_of_the_temporary_file_system_are_never_cleared_at_start(lab, engine, releases):
    """The application, or the engine's restart of it, was quicker than the supervisor: its locks stay."""
    places = Places(lab, RESIN_1)
    places.make(places.data, places.legacy)
    s = lab.run(releases(1), 1, "r1", env=places.env)
    s.stop()
    engine.call("POST", f"/containers/{engine.container(1, 'main')['Id']}/stop")
    kept = [hold(s.lock_path(1, "main")), hold(f"{places.legacy}/1/resin-updates.lock")]
    inodes = [os.stat(p).st_ino for p in kept]
    gone = hold(f"{places.data}/1/resin-updates.lock")
    lab.write(releases(2))
    s.start()
    s.wait("update_blocked")
    assert s.cli("update", "--wait").code == 75
    assert [os.stat(p).st_ino for p in kept] == inodes
    for p in kept:
        os.unlink(p)
    s.settled(1, "r2")
    assert not os.path.exists(gone)


# ---- --root, the link between the two bases, modes


class Rooted:
    """
    A supervisor in a container of its own sees the host below --root. Here that is a directory with an os-release and
    the test's box bound to its own path in it, so host paths mean the same to the engine, the test and the supervisor.
    """

    def __init__(self, lab, pretty_name, systemd=False):
        self.root, self.box = f"{lab.dir}/root", f"{lab.dir}/box"
        self.inside = self.root + self.box
        for d in (self.box, f"{self.root}/etc", self.inside, f"{self.root}/resin-data/1"):
            os.makedirs(d)
        if systemd:
            os.makedirs(f"{self.root}/run/systemd/system")
        with open(f"{self.root}/etc/os-release", "w") as f:
            f.write(f'PRETTY_NAME="{pretty_name}"\n')
        assert sandbox.libc.mount(self.box.encode(), self.inside.encode(), None, 0x1000, None) == 0  # MS_BIND
        lab.at_end(lambda: sandbox.unmount_below(self.root))

    def supervisor(self, lab):
        return lab.supervisor(directory=self.box, args=["--root", self.root])


def test_below_another_root_all_places_are_found_there(lab, engine, releases):
    rooted = Rooted(lab, "Resin OS 1.26")
    os.makedirs(f"{rooted.box}/legacy/1")
    lab.write(releases(1))
    s = rooted.supervisor(lab)
    s.settled(1, "r1")
    [bind] = {b.split(":")[0] for b in engine.container(1, "main")["HostConfig"]["Binds"] if ":/tmp/balena" in b}
    assert bind == f"{rooted.box}/locks/1/main"  # as the host has it
    assert take(engine, engine.container(1, "main")["Id"])
    seen = s.wait("lock_seen")
    assert seen["path"] == f"{rooted.box}/locks/1/main/updates.lock"
    lab.write(releases(2))
    s.wait("update_blocked")
    hold(f"{rooted.root}/resin-data/1/resin-updates.lock")
    assert s.wait("lock_seen", service=None)["path"] == "/resin-data/1/resin-updates.lock"
    hold(f"{rooted.box}/legacy/1/resin-updates.lock")
    s.wait("lock_seen", path=f"{rooted.box}/legacy/1/resin-updates.lock")
    for path in (f"{rooted.box}/locks/1/main/updates.lock", f"{rooted.root}/resin-data/1/resin-updates.lock"):
        os.unlink(path)
        assert s.cli("update", "--wait").code == 75
    os.unlink(f"{rooted.box}/legacy/1/resin-updates.lock")
    s.settled(1, "r2")


def test_the_hosts_housekeeping_is_told_to_leave_the_lock_directories_alone(lab):
    rooted = Rooted(lab, "Debian", systemd=True)
    lab.write({"apps": {}})
    rooted.supervisor(lab)
    directory = f"{rooted.root}/run/tmpfiles.d"
    [name] = os.listdir(directory)
    with open(f"{directory}/{name}") as f:
        lines = [line for line in f.read().splitlines() if not line.startswith("#")]
    entry = "/".join(rooted.box.split("/")[:3])  # that of /tmp in which everything lies
    assert lines and set(lines) == {f"x {entry}"}
    assert name.startswith("lockkeeper-") and name.endswith(".conf")


def test_where_only_the_old_base_is_there_the_new_one_becomes_a_link_to_it(lab, engine, releases):
    os.makedirs(f"{lab.dir}/resin-supervisor/services/1/main")
    lock = hold(f"{lab.dir}/resin-supervisor/services/1/main/updates.lock")  # an application was there before us
    lab.write(releases(1))
    s = lab.supervisor(lock_root=f"{lab.dir}/balena-supervisor/services")
    assert os.readlink(f"{lab.dir}/balena-supervisor") == "resin-supervisor"
    s.settled(1, "r1")  # no container: its lock holds back nothing
    assert os.path.exists(lock)
    lab.write(releases(2))
    s.wait("update_blocked")
    assert not take(engine, engine.container(1, "main")["Id"])  # the same directory for both
    give_back(engine, engine.container(1, "main")["Id"])
    s.settled(1, "r2")
    assert not os.path.exists(lock)


def test_both_bases_may_be_one_directory(lab, engine, releases):
    """With the link, the lock root and the legacy directories lie side by side in it."""
    base = f"{lab.dir}/resin-supervisor"
    os.makedirs(f"{base}/1")
    s = Supervisor(lab.dir, lab.engine_socket, target=lab.target, lock_root=f"{lab.dir}/balena-supervisor/services")
    s.argv[s.argv.index("--legacy-lock-root") + 1] = base
    lab.supervisors.append(s)
    lab.write(releases(1))
    s.start()
    s.settled(1, "r1")
    assert os.readlink(f"{lab.dir}/balena-supervisor") == "resin-supervisor"
    path = hold(f"{base}/1/resin-updates.lock")
    lab.write(releases(2))
    assert s.wait("update_blocked")["path"] == path
    os.unlink(path)
    s.settled(1, "r2")
    assert os.listdir(f"{base}/1") == [] and os.listdir(f"{base}/services/1") == ["main"]


def test_a_service_that_is_not_root_can_lock_although_its_directory_was_made_with_another_mode(lab, engine, releases):
    """After a reboot the engine may have made what it mounts, 0755 root; that is put right at start."""
    s = lab.run(releases(1, user="65533"), 1, "r1")
    c = engine.container(1, "main")["Id"]
    directory = os.path.dirname(s.lock_path(1, "main"))
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o1777
    s.stop()
    os.chmod(directory, 0o755)
    assert not take(engine, c, user="65533:65533")
    s.start()
    s.wait("engine_listed")
    assert s.cli("update", "--wait").code == 0
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o1777
    assert take(engine, c, user="65533:65533")
    assert s.wait("lock_seen")["uid"] == 65533


def test_the_directory_of_a_container_is_there_before_it_and_fit_for_any_user(lab, engine, releases):
    os.makedirs(f"{lab.dir}/locks/1/main", 0o755)
    s = lab.run(releases(1, user="65533"), 1, "r1")
    assert stat.S_IMODE(os.stat(f"{s.lock_root}/1/main").st_mode) == 0o1777
    assert take(engine, engine.container(1, "main")["Id"], user="65533:65533")


# ---- lock directories made to hurt


def fifo(path):
    os.mkfifo(path)


def device(path):
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(5, 0))  # /dev/tty: opening it would make it our terminal


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(os.path.dirname(path))  # a short name, as sun_path is short
        s.bind(os.path.basename(path))
        os.chdir(here)


def claims_to_be_ours(path):
    with open(path, "w") as f:
        f.write(OURS + "0" * 8 + " " + "0" * 16 + "\n")  # but its uid is 0


def huge_file(path):
    with open(path, "w") as f:
        f.truncate(1 << 40)


def link_to_a_device(path):
    os.symlink("/dev/zero", path)


@pytest.mark.parametrize("make", [fifo, device, unix_socket, claims_to_be_ours, huge_file, link_to_a_device])
def test_whatever_stands_at_the_path_is_a_lock_and_nothing_hangs_on_it(lab, engine, releases, make):
    kinds = {"claims_to_be_ours": "file", "huge_file": "file", "link_to_a_device": "symlink"}
    s = lab.run(releases(1), 1, "r1")
    path = s.lock_path(1, "main")
    make(path)
    assert s.wait("lock_seen")["kind"] == kinds.get(make.__name__, "other")
    lab.write(releases(2))
    s.wait("update_blocked")
    assert [x["owner"] for x in s.api.locks["locks"]] == ["application"]
    assert path in s.cli("locks").out
    s.kill()
    s.start()
    s.wait("update_blocked")
    s.api.post("/v1/update", {"force": True})
    s.wait("lock_overridden")
    s.settled(1, "r2")
    assert s.locks_on_disk() == {} and not os.path.lexists(path)


def test_a_lock_directory_with_thousands_of_other_files_is_no_trouble(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    directory = f"{s.lock_root}/1/main"
    for i in range(6_000):
        os.mknod(f"{directory}/{i}.tmp")
    path = s.hold(1, "main")
    s.wait("lock_seen")
    lab.write(releases(2))
    s.wait("update_blocked")
    os.unlink(path)
    s.settled(1, "r2")
    assert len(os.listdir(directory)) == 6_000  # not ours to touch


def test_force_breaks_a_lock_that_is_a_directory_of_thousands_while_everybody_is_served(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    path = s.lock_path(1, "main")
    os.mkdir(path)
    for i in range(6_000):
        os.mknod(f"{path}/{i}")
    lab.write(releases(2))
    s.wait("update_blocked")
    assert s.api.post("/v1/update", {"force": True}).status == 204
    assert s.api.get("/ping").status == 200
    assert s.wait("lock_overridden")["kind"] == "directory"
    s.settled(1, "r2")
    assert len(s.events("lock_overridden")) == 1 and not os.path.exists(path)


def deep(path, depth):
    fd = os.open(os.path.dirname(path), os.O_PATH)
    for name in [os.path.basename(path)] + ["d"] * depth:
        os.mkdir(name, dir_fd=fd)
        fd, old = os.open(name, os.O_PATH, dir_fd=fd), fd
        os.close(old)
    os.close(fd)


def test_force_does_not_follow_a_lock_deeper_than_it_may_and_says_so(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    before = engine.services(1)
    path = s.lock_path(1, "main")
    deep(path, 200)
    lab.write(releases(2))
    s.wait("update_blocked")
    mark = s.mark()
    s.api.post("/v1/update", {"force": True})
    failed = s.wait("step_failed", since=mark)
    assert "deep" in failed["err"] and path in failed["err"], failed
    assert engine.services(1) == before and os.path.isdir(path)
    assert s.api.get("/v1/healthy").status == 200
    shutil.rmtree(path)  # somebody puts it right
    s.settled(1, "r2")


@pytest.mark.parametrize("what", ["service", "app"])
def test_a_directory_replaced_by_a_symbolic_link_is_not_followed(lab, engine, releases, what):
    """Nothing is made, changed or removed where it leads."""
    s = lab.run(releases(1), 1, "r1")
    outside = f"{lab.dir}/outside"
    os.makedirs(f"{outside}/main")
    with open(f"{outside}/updates.lock", "w"), open(f"{outside}/main/updates.lock", "w"):
        pass
    os.chmod(outside, 0o700)
    victim = f"{s.lock_root}/1" + ("/main" if what == "service" else "")
    os.rename(victim, f"{victim}.old")
    os.symlink(outside, victim)
    problem = s.wait("lock_problem")
    assert victim in (problem.get("path") or "") + problem["err"], problem
    lab.write(releases(2))
    s.wait("step_failed")
    s.api.post("/v1/update", {"force": True})
    assert s.api.get("/v1/healthy").status == 200
    assert sorted(os.listdir(outside)) == ["main", "updates.lock"] and os.listdir(f"{outside}/main") == ["updates.lock"]
    assert stat.S_IMODE(os.stat(outside).st_mode) == 0o700
    os.unlink(victim)
    os.rename(f"{victim}.old", victim)
    s.settled(1, "r2")
    assert sorted(os.listdir(outside)) == ["main", "updates.lock"]


def test_a_service_directory_that_is_a_link_from_the_beginning_is_refused(lab, engine, releases):
    os.makedirs(f"{lab.dir}/locks/1")
    os.mkdir(f"{lab.dir}/outside", 0o700)
    os.symlink(f"{lab.dir}/outside", f"{lab.dir}/locks/1/main")
    lab.write(releases(1))
    s = lab.supervisor()
    failed = s.wait("step_failed")
    assert "main" in failed["err"], failed
    assert engine.services(1) == {} and os.listdir(f"{lab.dir}/outside") == []
    assert stat.S_IMODE(os.stat(f"{lab.dir}/outside").st_mode) == 0o700
    os.unlink(f"{lab.dir}/locks/1/main")
    s.settled(1, "r1", timeout=60)


@pytest.mark.parametrize("place", ["the root itself", "above it", "a link"])
def test_a_lock_root_that_somebody_else_made_is_refused_with_a_sentence(lab, place):
    lab.write({"apps": {}})
    base, root = f"{lab.dir}/theirs", f"{lab.dir}/theirs/locks"
    os.makedirs(root)
    wrong = root if place == "the root itself" else base
    if place == "a link":
        os.rename(base, f"{lab.dir}/elsewhere")
        os.symlink("elsewhere", base)
    else:
        os.chown(wrong, 1000, 1000)
    s = lab.supervisor(start=False, lock_root=root)
    code, err = s.start(ready=False).ends()
    said = err + json.dumps(s.events())
    assert code == 1 and wrong in said and ("1000" in said or "symbolic link" in said), said
    assert not os.path.exists(f"{root}/.supervisor")


@pytest.mark.parametrize("place", ["legacy", "resin-data"])
def test_an_older_place_that_somebody_else_made_does_not_count_and_is_named(lab, engine, releases, place):
    places = Places(lab, RESIN_1)
    base = f"{lab.dir}/{place}"
    places.make(base)
    os.chown(base, 1000, 1000)
    hold(f"{base}/1/resin-updates.lock")
    lab.write(releases(1))
    s = lab.supervisor(env=places.env)
    problem = s.wait("lock_problem")
    assert base in problem["err"] and "1000" in problem["err"], problem
    s.settled(1, "r1")
    assert s.events("update_blocked") == [] and os.path.exists(f"{base}/1/resin-updates.lock")


def test_a_legacy_app_directory_that_is_a_link_is_not_followed(lab, engine, releases):
    places = Places(lab)
    os.makedirs(f"{lab.dir}/outside")
    os.mkdir(places.legacy)
    os.symlink(f"{lab.dir}/outside", f"{places.legacy}/1")
    s = lab.run(releases(1), 1, "r1")
    hold(f"{lab.dir}/outside/resin-updates.lock")
    lab.write(releases(2))
    s.settled(1, "r2")
    assert os.listdir(f"{lab.dir}/outside") == ["resin-updates.lock"]
