"""Images come from a real registry; what cannot be had is told, tried again, and holds back nobody else."""
import time

import sandbox
import wire
from story import env_of
from target import app, document, service


def wait_of(s, app_id, kind):
    """The one thing that an app waits for, asked for again until it is of this kind."""
    end = time.monotonic() + sandbox.DEADLINE
    while True:
        [wait] = [w for w in s.api.waits if w.get("appId") == app_id]
        if wait["kind"] == kind:
            return wait
        assert time.monotonic() < end, wait


def test_a_missing_image_is_pulled(lab, engine, images):
    ref = images.push("pulled:1", VERSION=1)
    s = lab.run(document(app(1, "r1", {"main": service(ref)})), 1, "r1")
    assert s.events("step_done", kind="pull", image=ref)
    assert env_of(engine.container(1, "main"))["VERSION"] == "1"


def test_an_image_named_by_digest_is_pulled_and_found_again(lab, engine, images, registry):
    ref = images.push("digest:1", VERSION=1)
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    digest = wire.request(f"http://{registry.address}", "HEAD", "/v2/digest/manifests/1",
                          headers=accept).headers["Docker-Content-Digest"]
    by_digest = f"{registry.address}/digest@{digest}"
    assert not images.has(ref)
    s = lab.run(document(app(1, "r1", {"main": service(by_digest)})), 1, "r1")
    before = engine.services(1)
    s.stop()
    s.start()
    s.wait("engine_listed")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == before and s.events("step_started") == []


def test_an_image_that_nobody_has_is_told_with_its_name_and_holds_back_only_its_app(lab, engine, registry):
    missing = f"{registry.address}/nobody/has:this"
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"main": service(missing)}), app(2, "r1", {"main": service(image)})), 2, "r1")
    failed = s.wait("step_failed", kind="pull")
    assert failed["image"] == missing and failed["err"]
    wait = wait_of(s, 1, "backoff")  # it is pulling again now and then
    assert wait["until"] and missing in wait["detail"]
    assert missing in s.cli("status").out
    lab.write(document(app(1, "r1", {"main": service(missing)}), app(2, "r2", {"main": service(image, env={"X": "1"})})))
    s.settled(2, "r2")


def test_the_old_release_runs_on_while_the_new_one_cannot_be_pulled(lab, engine, registry):
    s = lab.run(document(app(1, "r1", {"a": service(lab.image(1)), "b": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    lab.write(document(app(1, "r2", {"a": service(lab.image(2)), "b": service(f"{registry.address}/nobody/has:this")})))
    s.wait("step_failed", kind="pull")
    assert engine.services(1) == before
    assert s.locks_on_disk() == {}  # nobody is locked out meanwhile
    # A new target that can be had is not kept waiting by the old one's backoff.
    lab.write(document(app(1, "r3", {"a": service(lab.image(2)), "b": service(lab.image(2))})))
    s.settled(1, "r3")


def test_a_registry_that_is_down_is_tried_again_until_it_is_up(lab, engine, images, registry):
    ref = images.push("later:1", VERSION=1)
    registry.stop()
    lab.at_end(lambda: registry.process or registry.start())
    lab.write(document(app(1, "r1", {"main": service(ref)})))
    s = lab.supervisor()
    s.wait("step_failed", kind="pull")
    registry.start()
    s.settled(1, "r1", timeout=60)
    assert engine.services(1)["main"][1] == "running"


def test_cancel_ends_a_backoff_at_once(lab, engine, images, registry):
    ref = images.push("cancel:1", VERSION=1)
    registry.stop()
    lab.at_end(lambda: registry.process or registry.start())
    lab.write(document(app(1, "r1", {"main": service(ref)})))
    s = lab.supervisor()
    for _ in range(3):
        s.wait("step_failed", since=s.mark(), kind="pull", timeout=60)
    registry.start()
    assert s.cli("update", "--cancel").code == 0
    s.settled(1, "r1")


def test_a_shared_image_is_pulled_once_and_kept_while_one_service_uses_it(lab, engine, images):
    ref = images.push("shared:1", VERSION=1)
    s = lab.run(document(app(1, "r1", {"a": service(ref), "b": service(ref)}),
                         app(2, "r1", {"c": service(ref)})), 1, "r1")
    s.settled(2, "r1")
    assert len(s.events("step_started", kind="pull")) == 1
    lab.apply(s, document(app(2, "r1", {"c": service(ref)})))
    assert images.has(ref) and engine.services(2)["c"][1] == "running"
    lab.write({"apps": {}})
    s.wait("step_done", kind="remove_image", image=ref)
    assert not images.has(ref)


def test_an_image_that_was_not_ours_is_never_removed(lab, engine, images):
    mine = images.make(f"somebody/else{lab.number}:1", VERSION=9)
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    lab.write({"apps": {}})
    s.wait("step_done", kind="remove_image")
    assert s.cli("update", "--wait").code == 0
    assert images.has(mine)
    images.forget(mine)
