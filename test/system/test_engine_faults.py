"""The engine comes late, hangs, dies; the API answers all the while, and the device converges."""
import os
import socket
import time

import pytest

from story import env_of, take
from target import app, document, service


def test_an_engine_that_comes_later_is_waited_for(lab, engine):
    os.unlink(lab.engine_socket)
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor()
    s.wait("engine_lost")
    assert s.api.get("/ping").status == 200 and s.api.get("/v1/healthy").status == 200
    assert s.api.get("/v2/state/status").status == 200
    assert any(w["kind"] == "engine" for w in s.api.waits)
    status = s.cli("status")
    assert status.code == 0 and lab.engine_socket in status.out
    os.symlink(engine.socket, lab.engine_socket)
    s.wait("engine_back")
    s.settled(1, "r1")
    assert engine.services(1)["main"][1] == "running"
    assert s.api.waits == []


def test_a_frozen_engine_delays_an_update_and_nothing_else(lab, engine):
    images = [lab.image(1), lab.image(2)]
    s = lab.run(document(app(1, "r1", {"main": service(images[0])})), 1, "r1")
    engine.freeze()
    lab.at_end(engine.thaw)
    mark = s.mark()
    lab.write(document(app(1, "r2", {"main": service(images[1])})))
    s.wait("target_accepted", since=mark)
    for path in ("/ping", "/v1/healthy", "/v2/version", "/v2/state/status", "/v2/applications/state", "/v2/locks", "/v2/plan"):
        assert s.api.get(path).status == 200
    assert s.api.post("/v1/update").status == 204
    engine.thaw()
    s.settled(1, "r2", since=mark)
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"


@pytest.mark.slow
def test_an_engine_that_hangs_for_ten_seconds_in_the_middle_of_an_update_keeps_nobody_waiting(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {n: service(images[v - 1]) for n in ("a", "b")}))
    s = lab.run(release(1), 1, "r1")
    held = s.hold(1, "a")
    lab.write(release(2))
    s.wait("update_blocked")
    engine.freeze()
    lab.at_end(engine.thaw)
    mark, end = s.mark(), time.monotonic() + 10
    os.unlink(held)
    s.wait("step_started", since=mark, kind="stop")
    assert s.api.post("/v1/update", timeout=2).status == 204
    rounds = 0
    while time.monotonic() < end:
        for path in ("/ping", "/v1/healthy", "/v2/version", "/v2/state/status", "/v2/applications/state", "/v2/locks", "/v2/plan"):
            assert s.api.get(path, timeout=2).status == 200, path
        assert s.cli("status", timeout=5).code == 0
        assert s.events("app_settled", since=mark) == []
        rounds += 1
    assert rounds > 1
    assert {"1/a/updates.lock", "1/b/updates.lock"} <= set(s.locks_on_disk())  # what was begun goes on under our locks
    engine.thaw()
    s.settled(1, "r2", since=mark)
    assert {n: state for n, (_, state) in engine.services(1).items()} == {"a": "running", "b": "running"}
    assert {env_of(engine.container(1, n))["VERSION"] for n in "ab"} == {"2"}
    assert s.locks_on_disk() == {}


def test_an_engine_that_dies_in_the_middle_of_an_update_and_comes_back_is_no_harm(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {n: service(images[v - 1], mode="slow") for n in ("a", "b", "c")}))
    s = lab.run(release(1), 1, "r1")
    lab.write(release(2))
    s.wait("step_started", kind="stop")
    mark = s.mark()
    engine.kill()
    s.wait("engine_lost", since=mark)
    assert s.api.get("/ping").status == 200
    assert s.api.get("/v2/state/status").status == 200
    engine.start()
    s.wait("engine_back", since=mark)
    s.settled(1, "r2", since=mark, timeout=90)
    services = engine.services(1)
    assert {n: state for n, (_, state) in services.items()} == {n: "running" for n in "abc"}
    assert {env_of(engine.container(1, n))["VERSION"] for n in services} == {"2"}
    assert s.locks_on_disk() == {}


def test_a_lock_is_honoured_through_a_restart_of_the_engine(lab, engine):
    images = [lab.image(1), lab.image(2)]
    s = lab.run(document(app(1, "r1", {"main": service(images[0])})), 1, "r1")
    c = engine.container(1, "main")["Id"]
    take(engine, c)
    lab.write(document(app(1, "r2", {"main": service(images[1])})))
    s.wait("update_blocked")
    mark = s.mark()
    engine.kill()
    s.wait("engine_lost", since=mark)
    engine.start()
    s.wait("engine_listed", since=mark)
    assert s.cli("update", "--wait").code == 75
    assert engine.container(1, "main")["Id"] == c
    os.unlink(s.lock_path(1, "main"))
    s.settled(1, "r2", since=mark)


def test_what_changed_while_the_engine_was_away_is_put_right(lab, engine):
    s = lab.run(document(app(1, "r1", {"a": service(lab.image(1)), "b": service(lab.image(1))})), 1, "r1")
    os.unlink(lab.engine_socket)
    s.stop()
    s.start()
    s.wait("engine_lost")
    engine.remove(engine.services(1)["a"][0])
    os.symlink(engine.socket, lab.engine_socket)
    s.settled(1, "r1")
    assert {n: state for n, (_, state) in engine.services(1).items()} == {"a": "running", "b": "running"}


def test_a_port_that_somebody_else_uses_fails_that_service_and_is_tried_again(lab, engine):
    blocker = socket.create_server(("127.0.0.1", 8099))
    image = lab.image(1)
    s = lab.run(document(
        app(1, "r1", {"web": service(image, network_mode=None, ports=["127.0.0.1:8099:80"], mode="web")}),
        app(2, "r1", {"other": service(image)})), 2, "r1")
    failed = s.wait("step_failed", kind="start")
    assert failed["app"] == 1 and failed["service"] == "web" and "8099" in failed["err"]
    [wait] = [w for w in s.api.waits if w.get("appId") == 1]
    assert wait["kind"] == "backoff" and wait["until"] and "8099" in wait["detail"]
    blocker.close()
    s.settled(1, "r1", timeout=60)
    assert engine.services(1)["web"][1] == "running"


def test_an_image_of_another_architecture_or_none_at_all_fails_with_the_engines_words(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"main": service(image, command=["/no/such/program"])}),
                         app(2, "r1", {"other": service(image)})), 2, "r1")
    failed = s.wait("step_failed", kind="start")
    assert failed["service"] == "main" and "/no/such/program" in failed["err"]
    lab.write(document(app(1, "r2", {"main": service(image)}), app(2, "r1", {"other": service(image)})))
    s.settled(1, "r2", timeout=60)  # a new target is tried at once, whatever the backoff was
