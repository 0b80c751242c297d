"""An application's lock holds back the update of its app, whoever takes it and however; nothing else is held back."""
import os

import pytest

from lock_app import until
from story import LOCK, give_back, in_order, take, told, touched, wait_kinds
from target import app, document, service


@pytest.fixture
def two(lab):
    """Two releases of one app of three services, with their images there."""
    images = {v: lab.image(v) for v in (1, 2)}

    def release(v, **more):
        return document(app(1, f"r{v}", {n: service(images[v], **more) for n in ("api", "main", "web")}))
    return release(1), release(2)


def test_a_lock_taken_inside_the_container_blocks_the_update_until_it_is_given_back(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    before = engine.services(1)
    main = before["main"][0]
    assert take(engine, main)
    seen = s.wait("lock_seen")
    assert (seen["app"], seen["service"], seen["kind"], seen["uid"]) == (1, "main", "file", 0)
    assert seen["path"] == s.lock_path(1, "main")
    events, mark = engine.events(), s.mark()

    lab.write(two[1])
    blocked = s.wait("update_blocked", since=mark)
    assert (blocked["app"], blocked["service"], blocked["path"], blocked["level"]) == (1, "main", s.lock_path(1, "main"), "warn")
    [wait] = s.api.waits
    assert wait["kind"] == "locked" and wait["appId"] == 1 and wait["serviceName"] == "main" and wait["since"]
    locks = s.api.locks
    assert [w["serviceNames"] for w in locks["waiting"]] == [["main"]] and locks["waiting"][0]["action"] == "update"
    assert [(x["serviceName"], x["owner"]) for x in locks["locks"]] == [("main", "application")]  # we hold none
    assert engine.services(1) == before and touched(events) == []

    give_back(engine, main)
    resumed = s.wait("update_resumed", since=mark)
    assert resumed["app"] == 1 and resumed["blocked_ms"] >= 0 and resumed["lag_ms"] >= 0
    s.settled(1, "r2", since=mark)
    words = told(s.events(since=mark))
    assert words.count("update_blocked") == 1 and words.count("update_resumed") == 1
    for name in ("api", "main", "web"):
        events.wait_container("start", name)
        in_order(words, "lock_gone", "lock_taken", f"stop:{name}", f"create:{name}", f"start:{name}", "app_settled")
        assert [a for a, n in touched(events) if n == name and a != "rename"] == [
            "kill", "die", "stop", "destroy", "create", "start"]
    after = engine.services(1)
    assert all(state == "running" for _, state in after.values()) and not set(after.values()) & set(before.values())
    assert s.locks_on_disk() == {}
    assert take(engine, after["main"][0])  # and the application may lock again
    events.close()


def test_a_blocked_update_is_told_once_however_often_it_is_looked_at(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    take(engine, engine.services(1)["main"][0])
    lab.write(two[1])
    s.wait("update_blocked")
    for _ in range(3):
        assert s.cli("update", "--wait").code == 75
    s.hold(1, "api")  # a second lock of the same app does not begin a second wait
    s.wait("lock_seen", service="api")
    assert s.cli("update", "--wait").code == 75
    assert len(s.events("update_blocked")) == 1
    assert wait_kinds(s.api) == ["locked"]


def test_giving_back_one_of_two_locks_does_not_let_the_update_go_on(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    before = engine.services(1)
    held = [s.hold(1, "api"), s.hold(1, "web")]
    lab.write(two[1])
    s.wait("update_blocked")
    os.unlink(held[0])
    s.wait("lock_gone", service="api")
    assert s.cli("update", "--wait").code == 75
    assert engine.services(1) == before
    mark = s.mark()
    os.unlink(held[1])
    s.settled(1, "r2", since=mark)


TAKERS = {  # how the tools of the field take a lock: (take, give back), run by a shell in the container
    "file": (f"set -C; : > {LOCK}", f"rm {LOCK}"),
    "old name": ("set -C; : > /tmp/balena/resin-updates.lock", "rm /tmp/balena/resin-updates.lock"),
    "old directory": ("set -C; : > /tmp/resin/updates.lock", "rm /tmp/resin/updates.lock"),
    "directory": (f"mkdir {LOCK}", f"rmdir {LOCK}"),
    "directory with a file": (f"mkdir {LOCK} && touch {LOCK}/host.1", f"rm {LOCK}/host.1; rmdir {LOCK}"),
    "dangling symlink": (f"ln -s nowhere {LOCK}", f"rm {LOCK}"),
    "hard link": (f"echo 0 > /tmp/balena/host-1.2; ln /tmp/balena/host-1.2 {LOCK}", f"rm {LOCK}"),
    "renamed into place": (f"echo 0 > /tmp/balena/x; mv /tmp/balena/x {LOCK}", f"mv {LOCK} /tmp/balena/x"),
    "left by flock": (f"touch {LOCK}", f"rm {LOCK}"),  # flock(1) leaves its file, and the file is the lock
}


@pytest.mark.parametrize("tool", TAKERS)
def test_every_kind_of_lock_blocks_and_resumes(lab, engine, tool):
    taking, giving = TAKERS[tool]
    images = [lab.image(1), lab.image(2)]
    s = lab.run(document(app(1, "r1", {"main": service(images[0])})), 1, "r1")
    c = engine.container(1, "main")["Id"]
    code, out = engine.exec(c, "sh", "-c", taking)
    assert code == 0, out
    s.wait("lock_seen")
    lab.write(document(app(1, "r2", {"main": service(images[1])})))
    s.wait("update_blocked")
    left = set(os.listdir(f"{s.lock_root}/1/main"))
    assert engine.services(1)["main"] == (c, "running")
    code, out = engine.exec(c, "sh", "-c", giving)
    assert code == 0, out
    s.wait("update_resumed")
    s.settled(1, "r2")
    # What the tool left behind besides the lock is not ours to touch.
    assert {n for n in left if not n.endswith("updates.lock")} <= set(os.listdir(f"{s.lock_root}/1/main"))


def test_a_lock_of_the_user_nobody_is_not_mistaken_for_ours(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    c = engine.services(1)["main"][0]
    assert take(engine, c, user="65534:65534")
    assert s.wait("lock_seen")["uid"] == 65534
    lab.write(two[1])
    s.wait("update_blocked")
    s.kill()
    s.start()
    s.wait("update_blocked")
    assert os.path.exists(s.lock_path(1, "main"))
    assert engine.services(1)["main"] == (c, "running")


def test_a_lock_taken_while_no_supervisor_runs_is_honoured_and_kept(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    before = engine.services(1)
    s.stop()
    take(engine, before["main"][0])
    lab.write(two[1])
    s.start()
    s.wait("lock_seen", service="main")
    s.wait("update_blocked")
    s.kill()
    s.start()
    s.wait("update_blocked")
    assert os.path.exists(s.lock_path(1, "main")) and engine.services(1) == before
    os.unlink(s.lock_path(1, "main"))
    s.settled(1, "r2")


def test_a_locked_app_does_not_hold_back_another(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def both(v):
        return document(*[app(n, f"r{v}", {"main": service(images[v - 1])}) for n in (1, 2)])
    s = lab.run(both(1), 1, "r1")
    s.settled(2, "r1")
    held = engine.services(1)
    s.hold(1, "main")
    lab.write(both(2))
    s.settled(2, "r2")
    s.wait("update_blocked", app=1)
    assert engine.services(1) == held


def test_images_are_downloaded_while_the_lock_is_held(lab, engine, images):
    second = images.push("held:2", VERSION=2)
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    s.hold(1, "main")
    lab.write(document(app(1, "r2", {"main": service(second)})))
    s.wait("step_done", kind="pull", image=second)
    s.wait("update_blocked")
    assert images.has(second)


def test_while_an_update_runs_the_application_finds_its_lock_taken(lab, engine):
    # The old container takes its time to stop: long enough to look.
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], mode="slow")}))
    s = lab.run(release(1), 1, "r1")
    c = engine.container(1, "main")["Id"]
    lab.write(release(2))
    s.wait("step_started", kind="stop", service="main")
    assert not take(engine, c)
    ours = s.locks_on_disk()
    assert set(ours) == {"1/main/updates.lock", "1/main/resin-updates.lock"}
    assert all(text.startswith("lockkeeper-supervisor 1 ") for text in ours.values())
    status = os.stat(s.lock_path(1, "main"))
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65534, 0o444)
    s.settled(1, "r2")
    assert s.locks_on_disk() == {}


@pytest.mark.parametrize("how", ["command line", "api"])
def test_a_forced_update_overrides_the_lock_and_says_whose_it_was(lab, engine, two, how):
    s = lab.run(two[0], 1, "r1")
    c = engine.services(1)["main"][0]
    take(engine, c)
    lab.write(two[1])
    s.wait("update_blocked")
    if how == "api":
        assert s.api.post("/v1/update", {"force": True}).status == 204
    else:
        assert s.cli("update", "--force", "--wait").code == 0
    s.settled(1, "r2")
    overridden = s.wait("lock_overridden")
    assert (overridden["app"], overridden["service"], overridden["by"], overridden["uid"]) == (1, "main", "api", 0)
    assert overridden["since"] and overridden["level"] == "warn"
    in_order(told(s.events()), "update_blocked", "lock_overridden", "lock_taken", "stop:main", "app_settled")
    assert engine.services(1)["main"][0] != c
    assert s.locks_on_disk() == {}


def test_force_ends_with_the_update_it_was_for(lab, engine):
    images = [lab.image(v) for v in (1, 2, 3)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1])}))
    s = lab.run(release(1), 1, "r1")
    s.hold(1, "main")
    lab.write(release(2))
    s.wait("update_blocked")
    s.api.post("/v1/update", {"force": True})
    s.settled(1, "r2")
    mark = s.mark()
    s.hold(1, "main")
    lab.write(release(3))
    s.wait("update_blocked", since=mark)  # the next one waits again
    assert s.events("lock_overridden", since=mark) == []


def test_a_forced_update_removes_a_directory_that_is_used_as_a_lock(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    os.makedirs(s.lock_path(1, "web") + "/deep/er")
    with open(s.lock_path(1, "web") + "/deep/er/file", "w") as f:
        f.write("x")
    os.symlink(lab.dir, s.lock_path(1, "web") + "/deep/out")
    lab.write(two[1])
    s.wait("update_blocked")
    s.api.post("/v1/update", {"force": True})
    s.settled(1, "r2")
    assert not os.path.exists(s.lock_path(1, "web"))
    assert os.path.exists(lab.target)  # the link was not followed


def test_a_blocked_update_ends_when_the_target_goes_back(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    before = engine.services(1)
    s.hold(1, "main")
    lab.write(two[1])
    s.wait("update_blocked")
    mark = s.mark()
    lab.write(two[0])
    s.wait("target_accepted", since=mark)
    assert s.cli("update", "--wait").code == 0
    assert s.api.waits == [] and engine.services(1) == before


def test_a_lock_does_not_hold_back_an_app_that_has_no_container(lab, engine):
    s = lab.supervisor()
    os.makedirs(os.path.dirname(s.lock_path(1, "main")))
    s.hold(1, "main")
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s.settled(1, "r1")
    assert engine.services(1)["main"][1] == "running"
    assert os.path.exists(s.lock_path(1, "main"))


def test_removing_an_app_waits_for_its_lock(lab, engine, two):
    s = lab.run(two[0], 1, "r1")
    before = engine.services(1)
    path = s.hold(1, "main")
    lab.write({"apps": {}})
    s.wait("update_blocked")
    assert engine.services(1) == before
    assert s.api.locks["waiting"][0]["action"] == "remove"
    os.unlink(path)
    assert s.cli("update", "--wait").code == 0
    assert engine.containers() == []


def test_an_application_that_locks_in_a_loop_is_never_stopped_while_it_holds_its_lock(lab, engine):
    """It takes and gives back its lock as fast as it can, and records with what in its hands it was told to stop."""
    images = [lab.image(v) for v in range(1, 7)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], mode="storm", volumes=["record:/record"])},
                            volumes={"record": {}}))
    s = lab.run(release(1), 1, "r1")
    record = f"{engine.get('/volumes/1_record')['Mountpoint']}/record"

    def said():
        if not os.path.exists(record):
            return []
        with open(record) as f:
            return [line.strip() for line in f]
    for v in range(2, 7):
        until(lambda: f"up {v - 1}" in said(), f"release {v - 1} at work", os.path.dirname(record))
        mark = s.mark()
        lab.write(release(v))
        s.settled(1, f"r{v}", since=mark)
    until(lambda: "up 6" in said(), "release 6 at work", os.path.dirname(record))
    assert said() == [word for v in range(1, 6) for word in (f"up {v}", "term free")] + ["up 6"]
    assert s.locks_on_disk() in ({}, {"1/main/updates.lock": ""})


def test_our_lock_is_taken_again_when_somebody_removes_it(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], mode="slow")}))
    s = lab.run(release(1), 1, "r1")
    lab.write(release(2))
    s.wait("step_started", kind="stop")
    mark = s.mark()
    os.unlink(s.lock_path(1, "main"))
    s.wait("lock_lost", service="main", since=mark)
    s.wait("lock_taken", path=s.lock_path(1, "main"), since=mark)
    assert "1/main/updates.lock" in s.locks_on_disk()
    s.settled(1, "r2")
    assert s.locks_on_disk() == {}
