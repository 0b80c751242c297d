"""Locks that do not hold: force at any moment, the override variables, and lifetimes that a label allows."""
import os
import threading

import pytest

from follower import Follower
from lock_app import VOLUME, Record
from story import in_order, take, told
from supervisor import command
from target import app, document, service, uuid_of

DEVICE_VARIABLES = ["BALENA_SUPERVISOR_OVERRIDE_LOCK", "RESIN_SUPERVISOR_OVERRIDE_LOCK", "BALENA_OVERRIDE_LOCK",
                    "RESIN_OVERRIDE_LOCK"]
IGNORE = "io.balena.update.lock.ignore-when-stopped"
MAX_AGE = "io.balena.update.lock.max-age"


def force(s):
    assert s.api.post("/v1/update", {"force": True}).status == 204


def names_whose(overridden, by, app_id=1, service="main"):
    """Every override says whose lock it was."""
    assert (overridden["app"], overridden["service"], overridden["by"]) == (app_id, service, by), overridden
    assert overridden["kind"] == "file" and overridden["uid"] == 0 and overridden["level"] == "warn"
    assert overridden["since"] and overridden["path"].endswith("updates.lock")


@pytest.fixture
def releases(lab):
    """releases(2, label=..., config=...): release 2 of app 1, one service."""
    images = {v: lab.image(v) for v in (1, 2, 3, 4)}

    def release(v, config=None, n_apps=1, env=None, **more):
        apps = [app(n, f"r{v}", {"main": service(images[v], env=(env or {}) if n == 1 else {}, **more)})
                for n in range(1, n_apps + 1)]
        return document(*apps, **({"config": config} if config is not None else {}))
    return release


# ---- force


def test_force_counts_for_an_app_that_waits_while_another_is_being_updated(lab, engine):
    """The apply of app 1 is in the middle of a stop when force comes; app 2 does not wait for its end."""
    images = [lab.image(1), lab.image(2)]

    def both(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], mode="slow")}),
                        app(2, f"r{v}", {"main": service(images[v - 1])}))
    s = lab.run(both(1), 1, "r1")
    s.settled(2, "r1")
    s.hold(2, "main")
    mark = s.mark()
    lab.write(both(2))
    s.wait("step_started", since=mark, kind="stop", app=1)
    s.wait("update_blocked", since=mark, app=2)
    force(s)
    names_whose(s.wait("lock_overridden", since=mark), "api", app_id=2)
    s.settled(2, "r2", since=mark)
    s.settled(1, "r2", since=mark)
    words = [(e["event"], e.get("app"), e.get("kind")) for e in s.events(since=mark)]
    assert words.index(("lock_overridden", 2, "file")) < words.index(("step_done", 1, "stop"))
    assert s.locks_on_disk() == {}


def test_a_lock_that_replaced_ours_holds_back_the_stops_that_are_left_until_force(lab, engine):
    """Somebody renames a lock over ours in the middle of an update: nothing further is stopped under it."""
    images = [lab.image(1), lab.image(2)]

    def release(v):  # a depends on b, so a stops first, and b after it
        return document(app(1, f"r{v}", {"a": service(images[v - 1], mode="slow", depends_on=["b"]),
                                         "b": service(images[v - 1])}))
    s = lab.run(release(1), 1, "r1")
    old = engine.services(1)["b"]
    mark = s.mark()
    lab.write(release(2))
    s.wait("step_started", since=mark, kind="stop", service="a")
    thief = f"{lab.dir}/locks/1/b/theirs"
    with open(thief, "w"):
        pass
    os.replace(thief, s.lock_path(1, "b"))
    s.wait("lock_lost", since=mark, service="b")
    s.wait("step_done", since=mark, kind="stop", service="a")
    s.wait("update_blocked", since=mark)
    assert s.cli("update", "--wait").code == 75
    assert engine.services(1)["b"] == old
    assert os.path.exists(s.lock_path(1, "b"))
    force(s)
    names_whose(s.wait("lock_overridden", since=mark), "api", service="b")
    s.settled(1, "r2", since=mark)
    in_order(told(s.events(since=mark)), "stop:a", "lock_lost", "update_blocked", "lock_overridden", "stop:b",
             "app_settled")
    assert s.locks_on_disk() == {}


def test_force_ends_a_backoff_and_counts_for_the_update_that_was_backing_off(lab, engine, images, registry):
    second = images.push(f"backing-off-{lab.number}:2", VERSION=2)
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    s.hold(1, "main")
    registry.stop()
    lab.at_end(lambda: registry.process or registry.start())
    lab.write(document(app(1, "r2", {"main": service(second)})))
    s.wait("step_failed", kind="pull")
    assert [w["kind"] for w in s.api.waits if w["kind"] == "backoff"] == ["backoff"]
    registry.start()
    mark = s.mark()
    force(s)
    names_whose(s.wait("lock_overridden", since=mark), "api")
    s.settled(1, "r2", since=mark)
    assert s.events("update_blocked") == []  # never: force was there before the lock could be in the way
    assert s.events("step_failed", since=mark) == []


def test_force_while_the_engine_is_away_counts_when_it_is_back(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    s.hold(1, "main")
    lab.write(releases(2))
    s.wait("update_blocked")
    mark = s.mark()
    engine.freeze()
    lab.at_end(engine.thaw)
    force(s)
    engine.thaw()
    names_whose(s.wait("lock_overridden", since=mark), "api")
    s.settled(1, "r2", since=mark)


def test_after_force_the_application_cannot_lock_until_its_app_has_settled_and_then_it_can(lab, engine):
    """The service replaced first tries from its start on; the slow one keeps the app from settling meanwhile."""
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"a": service(images[v - 1], mode="wants", env=Record.env("a", v), **VOLUME),
                                         "b": service(images[v - 1], mode="slow")}, volumes={"record": {}}))
    s = lab.run(release(1), 1, "r1")
    record = Record(engine, 1, "a")
    record.wait("1 took")
    lab.write(release(2))
    s.wait("update_blocked")
    mark = s.mark()
    force(s)
    names_whose(s.wait("lock_overridden", since=mark), "api", service="a")
    record.wait("2 refused")
    assert s.locks_on_disk()["1/a/updates.lock"].startswith("lockkeeper-supervisor 1 ")
    assert s.events("app_settled", since=mark) == []
    s.settled(1, "r2", since=mark)
    record.wait("2 took")
    assert record.lines(2) == ["up", "refused", "took"]
    assert record.lines(1)[-1] == "term HELD"  # that is what force means
    s.wait("lock_seen", since=mark, service="a")
    words = [(e["event"], e.get("service")) for e in s.events(since=mark)]
    assert words.index(("lock_released", "a")) < words.index(("lock_seen", "a"))


def test_a_service_that_ignores_the_stop_does_not_get_back_the_lock_that_force_took(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        main = service(images[v - 1], mode="stubborn", env=Record.env("main", v), stop_grace_period="2s", **VOLUME)
        return document(app(1, f"r{v}", {"main": main}, volumes={"record": {}}))
    s = lab.run(release(1), 1, "r1")
    record = Record(engine, 1, "main")
    record.wait("1 up")
    s.hold(1, "main")
    lab.write(release(2))
    s.wait("update_blocked")
    force(s)
    s.settled(1, "r2")
    assert record.counts["tries"] > 100 and record.counts["taken"] == 0, record.lines()
    assert s.locks_on_disk() == {} and take(engine, engine.container(1, "main")["Id"])


# ---- the override variables


@pytest.mark.parametrize("name", DEVICE_VARIABLES)
def test_an_override_variable_of_the_device_breaks_the_locks_of_every_app(lab, engine, releases, name):
    s = lab.run(releases(1, n_apps=2), 1, "r1")
    s.settled(2, "r1")
    for n in (1, 2):
        s.hold(n, "main")
    lab.write(releases(2, n_apps=2, config={name: "1"}))
    for n in (1, 2):
        s.settled(n, "r2")
        names_whose(s.wait("lock_overridden", app=n), "config", app_id=n)
    assert s.api.locks["override"] is True
    assert s.locks_on_disk() == {} and s.events("update_blocked") == []


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_an_override_variable_that_says_no_breaks_nothing(lab, engine, releases, value):
    s = lab.run(releases(1), 1, "r1")
    path = s.hold(1, "main")
    lab.write(releases(2, config={DEVICE_VARIABLES[0]: value}))
    s.wait("update_blocked")
    assert s.api.locks["override"] is False
    assert os.path.exists(path) and s.events("lock_overridden") == []


def test_an_override_variable_set_while_an_update_is_blocked_takes_effect_at_once(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    s.hold(1, "main")
    lab.write(releases(2))
    s.wait("update_blocked")
    mark = s.mark()
    lab.write(releases(2, config={DEVICE_VARIABLES[0]: "1"}))
    names_whose(s.wait("lock_overridden", since=mark), "config")
    s.settled(1, "r2", since=mark)
    in_order(told(s.events(since=mark)), "target_accepted", "lock_overridden", "lock_taken", "stop:main", "app_settled")


def test_an_override_variable_breaks_once_for_an_update_and_leaves_the_application_alone_after(lab, engine, releases):
    config = {DEVICE_VARIABLES[0]: "1"}
    s = lab.run(releases(1, config=config), 1, "r1")
    path = s.hold(1, "main")
    s.wait("lock_seen")
    assert s.cli("update", "--wait").code == 0  # nothing to do: the lock is no affair of ours
    assert os.path.exists(path) and s.events("lock_overridden") == []
    lab.write(releases(2, config=config))
    s.settled(1, "r2")
    s.wait("lock_overridden")
    mark = s.mark()
    path = s.hold(1, "main")
    s.wait("lock_seen", since=mark)
    assert s.cli("update", "--wait").code == 0
    assert os.path.exists(path) and s.events("lock_overridden", since=mark) == []
    lab.write(releases(3, config=config))
    s.settled(1, "r3")
    assert len(s.events("lock_overridden", since=mark)) == 1  # once more, for this update


def test_without_the_override_variable_the_next_update_waits_again(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    s.hold(1, "main")
    lab.write(releases(2, config={DEVICE_VARIABLES[0]: "1"}))
    s.settled(1, "r2")
    path, mark = s.hold(1, "main"), s.mark()
    lab.write(releases(3))
    s.wait("update_blocked", since=mark)
    assert s.api.locks["override"] is False
    assert os.path.exists(path) and s.events("lock_overridden", since=mark) == []


@pytest.mark.parametrize("name", ["BALENA_OVERRIDE_LOCK", "RESIN_OVERRIDE_LOCK"])
def test_an_override_variable_of_an_app_counts_for_that_app_alone(lab, engine, releases, name):
    s = lab.run(releases(1, n_apps=2), 1, "r1")
    s.settled(2, "r1")
    for n in (1, 2):
        s.hold(n, "main")
    lab.write(releases(2, n_apps=2, env={name: "1"}))
    s.settled(1, "r2")
    names_whose(s.wait("lock_overridden"), "config")
    s.wait("update_blocked", app=2)
    assert os.path.exists(s.lock_path(2, "main")) and len(s.events("lock_overridden")) == 1
    assert s.events("update_blocked", app=1) == []
    assert s.api.locks["override"] is False  # of the device


def test_the_supervisors_own_variable_means_nothing_in_an_app(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    s.hold(1, "main")
    lab.write(releases(2, env={"BALENA_SUPERVISOR_OVERRIDE_LOCK": "1"}))
    s.wait("update_blocked")
    assert s.events("lock_overridden") == []


def test_a_variable_of_one_service_breaks_the_lock_of_another_of_its_app(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v, env=None):
        return document(app(1, f"r{v}", {"main": service(images[v - 1]), "web": service(images[v - 1], env=env)}))
    s = lab.run(release(1), 1, "r1")
    s.hold(1, "main")
    lab.write(release(2))
    s.wait("update_blocked")
    lab.write(release(2, env={"RESIN_OVERRIDE_LOCK": "1"}))
    names_whose(s.wait("lock_overridden"), "config")
    s.settled(1, "r2")


# ---- lifetimes


def crash(engine, s, container):
    """The supervisor was told of it when this returns."""
    events = Follower(s.api)
    engine.call("POST", f"/containers/{container}/kill")
    events.wait("container", containerId=container, state="exited")
    events.close()


def crashed(engine, s):
    """The service of app 1 took its lock and crashed with it."""
    c = engine.container(1, "main")["Id"]
    assert take(engine, c)
    s.wait("lock_seen")
    crash(engine, s, c)
    return c


def test_a_stopped_service_whose_label_says_so_holds_back_nothing(lab, engine, releases):
    s = lab.run(releases(1, restart="no", labels={IGNORE: "1"}), 1, "r1")
    crashed(engine, s)
    lab.write(releases(2, labels={IGNORE: "1"}))
    s.settled(1, "r2")
    names_whose(s.wait("lock_overridden"), "ignore-when-stopped")
    assert s.events("update_blocked") == [] and s.locks_on_disk() == {}
    assert engine.services(1)["main"][1] == "running"


def test_without_the_label_a_stopped_service_holds_back_its_app_until_a_target_brings_it(lab, engine, releases):
    """The label of the target counts although the container that left the lock has none: it frees a stuck device."""
    s = lab.run(releases(1, restart="no"), 1, "r1")
    c = crashed(engine, s)
    lab.write(releases(2))
    s.wait("update_blocked")
    assert s.cli("update", "--wait").code == 75
    assert engine.services(1)["main"][0] == c and s.events("lock_overridden") == []
    mark = s.mark()
    lab.write(releases(2, labels={IGNORE: "1"}))
    names_whose(s.wait("lock_overridden", since=mark), "ignore-when-stopped")
    s.settled(1, "r2", since=mark)


def test_a_running_service_with_that_label_holds_its_lock_until_it_stops(lab, engine, releases):
    s = lab.run(releases(1, restart="no", labels={IGNORE: "1"}), 1, "r1")
    c = engine.container(1, "main")["Id"]
    assert take(engine, c)
    lab.write(releases(2, labels={IGNORE: "1"}))
    s.wait("update_blocked")
    assert s.cli("update", "--wait").code == 75
    assert s.events("lock_overridden") == []
    mark = s.mark()
    crash(engine, s, c)  # what it held is nobody's now
    names_whose(s.wait("lock_overridden", since=mark), "ignore-when-stopped")
    s.settled(1, "r2", since=mark)


def test_a_lock_older_than_its_maximal_age_is_broken_by_itself(lab, engine, releases):
    labels = {MAX_AGE: "2s"}
    s = lab.run(releases(1, labels=labels), 1, "r1")
    assert take(engine, engine.container(1, "main")["Id"])
    lab.write(releases(2, labels=labels))
    s.wait("update_blocked")
    names_whose(s.wait("lock_overridden"), "max-age")
    s.settled(1, "r2")
    in_order(told(s.events()), "lock_seen", "update_blocked", "lock_overridden", "stop:main", "app_settled")
    in_order(told(s.events()), "update_blocked", "update_resumed", "app_settled")
    assert s.locks_on_disk() == {}


def test_nothing_is_broken_for_its_age_while_nothing_waits_for_it(lab, engine, releases):
    """App 2, whose lock is younger, tells when the one of app 1 was too old."""
    labels = {MAX_AGE: "1s"}
    s = lab.run(releases(1, n_apps=2, labels=labels), 1, "r1")
    s.settled(2, "r1")
    path = s.hold(1, "main")
    s.wait("lock_seen", app=1)
    s.hold(2, "main")
    both = releases(1, n_apps=2, labels=labels)
    both["apps"][uuid_of(2)] = releases(2, n_apps=2, labels=labels)["apps"][uuid_of(2)]
    lab.write(both)
    names_whose(s.wait("lock_overridden"), "max-age", app_id=2)
    s.settled(2, "r2")
    assert os.path.exists(path) and len(s.events("lock_overridden")) == 1


def test_touching_a_lock_keeps_it_alive(lab, engine, releases):
    """Two apps with the same label: the lock of app 1, the older one, is touched until that of app 2 is too old."""
    labels = {MAX_AGE: "5s"}
    s = lab.run(releases(1, n_apps=2, labels=labels), 1, "r1")
    s.settled(2, "r1")
    path, enough = s.hold(1, "main"), threading.Event()
    s.wait("lock_seen", app=1)

    def keep():
        while not enough.wait(0.2):
            os.utime(path)
    toucher = threading.Thread(target=keep)
    toucher.start()
    lab.at_end(enough.set)
    s.hold(2, "main")
    mark = s.mark()
    lab.write(releases(2, n_apps=2, labels=labels))
    s.settled(2, "r2")
    assert s.events("lock_overridden", app=2) and s.events("lock_overridden", app=1) == []
    assert os.path.exists(path)
    enough.set()
    toucher.join()
    names_whose(s.wait("lock_overridden", app=1), "max-age")
    s.settled(1, "r2", since=mark)


def test_a_maximal_age_in_the_target_counts_for_a_lock_of_a_container_without_it(lab, engine, releases):
    s = lab.run(releases(1), 1, "r1")
    s.hold(1, "main")
    lab.write(releases(2))
    s.wait("update_blocked")
    assert s.cli("update", "--wait").code == 75
    lab.write(releases(3, labels={MAX_AGE: "1s"}))
    names_whose(s.wait("lock_overridden"), "max-age")
    s.settled(1, "r3")


def test_the_target_says_how_old_a_lock_may_be_and_not_the_container(lab, engine, releases):
    """What runs allows a second, the target an hour: by the clock of app 2 the lock of app 1 is kept after a second."""
    def both(v, first):
        one, two = releases(v, labels={MAX_AGE: first}), releases(v, n_apps=2, labels={MAX_AGE: "1s"})
        return document(one["apps"][uuid_of(1)], two["apps"][uuid_of(2)])
    s = lab.run(both(1, "1s"), 1, "r1")
    s.settled(2, "r1")
    path = s.hold(1, "main")
    s.wait("lock_seen", app=1)
    lab.write(both(2, "1h"))
    s.wait("update_blocked", app=1)
    s.settled(2, "r2")
    s.hold(2, "main")
    lab.write(both(3, "1h"))
    names_whose(s.wait("lock_overridden"), "max-age", app_id=2)
    s.settled(2, "r3")
    assert os.path.exists(path) and s.events("lock_overridden", app=1) == []


@pytest.mark.parametrize("text", ["soon", "-1s", "1s later", "5 parsecs"])
def test_a_maximal_age_that_is_none_is_an_error_of_the_document(lab, engine, releases, text):
    s = lab.run(releases(1), 1, "r1")
    before = engine.services(1)
    lab.write(releases(2, labels={MAX_AGE: text}))
    rejected = s.wait("target_rejected")
    assert MAX_AGE in rejected["path"] and "duration" in rejected["err"], rejected
    checked = command("check", lab.target)
    assert checked.code == 1 and MAX_AGE in checked.out + checked.err
    assert engine.services(1) == before
