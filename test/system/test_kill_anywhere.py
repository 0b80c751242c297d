"""kill -9 at any moment of an update ends at the same place, with no lock of ours left and no application's lock removed."""
import os

import pytest

from story import env_of
from target import app, document, service


def check(engine, s, version):
    services = engine.services(1)
    assert {n: state for n, (_, state) in services.items()} == {"a": "running", "b": "running"}
    assert {env_of(engine.container(1, n))["VERSION"] for n in services} == {str(version)}
    assert [p for p, text in s.locks_on_disk().items() if text.startswith("lockkeeper-supervisor")] == []


def release(image, v):
    return document(app(1, f"r{v}", {"a": service(image), "b": service(image, depends_on=["a"])}))


def count_events(lab, engine):
    """How many lines an undisturbed update writes."""
    s = lab.run(release(lab.image(1), 1), 1, "r1")
    mark = s.mark()
    lab.write(release(lab.image(2), 2))
    s.settled(1, "r2", since=mark)
    s.cli("update", "--wait")
    return s, s.mark() - mark


def test_the_supervisor_is_killed_at_every_event_of_an_update(lab, engine):
    s, n = count_events(lab, engine)
    assert n > 10
    version = 2
    for at in range(n):
        version += 1
        mark = s.mark()
        lab.write(release(lab.image(version), version))
        s.log.wait(lambda e: s.mark() > mark + at or e["event"] == "app_settled", since=mark, what=f"event {at} of the update")
        s.kill()
        s.start()
        s.settled(1, f"r{version}")
        assert s.cli("update", "--wait").code == 0
        check(engine, s, version)


def test_the_supervisor_is_killed_while_an_application_holds_its_lock(lab, engine):
    s = lab.run(release(lab.image(1), 1), 1, "r1")
    before = engine.services(1)
    s.hold(1, "b")
    lab.write(release(lab.image(2), 2))
    s.wait("update_blocked")
    for _ in range(3):
        s.kill()
        s.start()
        s.wait("update_blocked")
        assert engine.services(1) == before
        assert s.locks_on_disk() == {"1/b/updates.lock": ""}
    os.unlink(s.lock_path(1, "b"))
    s.settled(1, "r2")
    check(engine, s, 2)


def test_a_stop_in_flight_when_it_is_killed_keeps_the_application_locked_out_until_it_is_dead(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def slow(v):
        return document(app(1, f"r{v}", {"a": service(images[v - 1], mode="slow"), "b": service(images[v - 1])}))
    s = lab.run(slow(1), 1, "r1")
    c = engine.services(1)["a"][0]
    events = engine.events()
    lab.write(slow(2))
    events.wait_container("kill", "a")
    s.kill()
    assert "1/a/updates.lock" in s.locks_on_disk()
    s.start()
    s.wait("engine_listed")
    # Whatever the new run does, its lock is there for as long as the old container lives.
    while engine.call("GET", f"/containers/{c}/json", ok=(200, 404)).body.find(b'"Running":true') > 0:
        code, _ = engine.exec(c, "sh", "-c", "set -C; : > /tmp/balena/updates.lock")
        assert code != 0 or not alive(engine, c)
    s.settled(1, "r2")
    assert s.locks_on_disk() == {}
    events.close()


def alive(engine, container):
    r = engine.call("GET", f"/containers/{container}/json", ok=(200, 404))
    return r.status == 200 and r.json()["State"]["Running"]


@pytest.mark.slow
def test_the_supervisor_is_killed_at_every_event_while_the_engine_pulls(lab, engine, images):
    s, n = count_events(lab, engine)
    version = 2
    for at in range(min(n + 2, 24)):
        version += 1
        mark = s.mark()
        lab.write(release(images.push(f"killed:{version}", VERSION=version), version))
        s.log.wait(lambda e: s.mark() > mark + at or e["event"] == "app_settled", since=mark, what=f"event {at} of the update")
        s.kill()
        s.start()
        s.settled(1, f"r{version}")
        assert s.cli("update", "--wait").code == 0
        check(engine, s, version)
