"""run --adopt: services that another state directory made become ours, by the same rules as our own."""
import os

import pytest

from story import env_of, touched
from target import app, document, service

UUID = "12345678" * 4  # part of what a service runs with: two state directories would each make up their own


def device(*apps):
    return {UUID: {"name": "box", **document(*apps)}}


@pytest.fixture
def left(lab):
    """Runs a target to its end, stops, and gives what begins another life on the same engine and the same locks."""
    def run(*apps):
        first = lab.run(device(*apps), apps[0]["id"])
        for a in apps:
            first.settled(a["id"])
        first.stop()

        def again(*apps, args=("--adopt",)):
            lab.write(device(*apps))
            return lab.supervisor(directory=f"{lab.dir}/second", lock_root=first.lock_root, args=list(args))
        return again
    return run


def test_a_foreign_service_whose_configuration_is_as_wanted_is_taken_over_without_a_touch(lab, engine, left):
    apps = [app(1, "r1", {"main": service(lab.image(1)), "web": service(lab.image(1), env={"A": "b"})})]
    again = left(*apps)
    before = engine.services(1)
    events = engine.events()
    s = again(*apps)
    s.settled(1, "r1")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == before and touched(events) == []
    events.close()


def test_a_foreign_service_that_leaves_is_not_stopped_while_its_application_holds_its_lock(lab, engine, left):
    image = lab.image(1)
    again = left(app(9, "r1", {"theirs": service(image), "more": service(image)}))
    before = engine.services(9)
    lock = f"{lab.dir}/locks/9/theirs/updates.lock"
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    events = engine.events()
    s = again(app(1, "r1", {"main": service(image)}))
    s.settled(1, "r1")
    blocked = s.wait("update_blocked", app=9)
    assert (blocked["service"], blocked["path"]) == ("theirs", lock)
    assert s.api.locks["waiting"][0]["action"] == "remove"
    assert s.cli("update", "--wait").code == 75
    assert engine.services(9) == before and touched(events, app_id=9) == []
    os.unlink(lock)
    assert s.cli("update", "--wait").code == 0
    assert engine.services(9) == {}
    events.close()


def test_a_foreign_service_that_differs_waits_for_its_lock_and_is_replaced(lab, engine, left):
    images = [lab.image(1), lab.image(2)]
    again = left(app(1, "r1", {"main": service(images[0])}))
    before = engine.services(1)
    lock = f"{lab.dir}/locks/1/main/updates.lock"
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    s = again(app(1, "r2", {"main": service(images[1])}))
    s.wait("update_blocked", app=1)
    assert engine.services(1) == before
    os.unlink(lock)
    s.settled(1, "r2")
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"
    assert s.locks_on_disk() == {}


def test_what_was_adopted_once_stays_ours_without_the_option(lab, engine, left):
    image = lab.image(1)
    again = left(app(9, "r1", {"theirs": service(image)}))
    lock = f"{lab.dir}/locks/9/theirs/updates.lock"
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    s = again(app(1, "r1", {"main": service(image)}))
    s.wait("update_blocked", app=9)
    s.stop()
    s.argv.remove("--adopt")
    s.start()
    s.wait("update_blocked", app=9)
    os.unlink(lock)
    assert s.cli("update", "--wait").code == 0
    assert engine.services(9) == {}


def test_without_the_option_the_same_app_is_left_alone(lab, engine, left):
    image = lab.image(1)
    again = left(app(9, "r1", {"theirs": service(image)}))
    before = engine.services(9)
    s = again(app(1, "r1", {"main": service(image)}), args=())
    s.settled(1, "r1")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(9) == before
