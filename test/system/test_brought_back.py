"""What an update took down comes up again, once, whatever happened in between; and what we lose of our own files
restarts nothing."""
import os

import pytest

from lock_app import until
from story import env_of, kept, touched
from target import app, document, service


def person_takes_the_name(engine, image, name):
    """A container of somebody else that stands in the way of ours."""
    return engine.run(name, image)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_service_we_removed_comes_back_in_the_next_run_although_another_one_is_locked_by_now(lab, engine, how):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"a": service(images[v - 1], id=1, image_id=v),
                                         "b": service(images[0], id=2, image_id=1)}, release_id=v))
    s = lab.run(release(1), 1, "r1")
    b = engine.services(1)["b"]
    in_the_way = person_takes_the_name(engine, images[0], "a_2_2_r2")
    lab.write(release(2))
    s.wait("step_failed", kind="create", service="a")
    s.wait("lock_released", service="b")  # nothing can be done now, so nobody is locked out
    assert "a" not in engine.services(1)
    path = s.hold(1, "b")
    s.wait("lock_seen", service="b")
    getattr(s, how)()
    engine.remove(in_the_way)
    events = engine.events()
    s.start()
    events.wait_container("start", "a")
    assert env_of(engine.container(1, "a"))["VERSION"] == "2"
    assert engine.services(1)["b"] == b and os.path.exists(path)  # b waits, for its new name even
    os.unlink(path)
    s.settled(1, "r2")
    assert engine.services(1)["b"] == b
    assert s.locks_on_disk() == {}
    events.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_one_shot_whose_new_release_ends_at_once_is_run_once(lab, engine, how):
    images = [lab.image(1), lab.image(2)]
    s = lab.run(document(app(1, "r1", {"job": service(images[0])})), 1, "r1")
    events = engine.events()
    lab.apply(s, document(app(1, "r2", {"job": service(images[1], mode="once", restart="no")})))
    events.wait_container("start", "job")
    events.wait(lambda e: e["Type"] == "container" and e["Action"] == "die" and
                e["Actor"]["Attributes"].get("VERSION") is None and e["Actor"]["Attributes"].get("exitCode") == "0",
                what="its end")
    for _ in range(2):
        assert s.cli("update", "--wait").code == 0
        until(lambda: kept(s, "ledger")["removed"] == [], "the end of what was owed, on disk", s.state)
        getattr(s, how)()
        s.start()
        s.settled(1, "r2")
    assert events.containers("start") == [("start", "job")]
    assert engine.logs(engine.container(1, "job")["Id"]).strip() == "up 2"
    events.close()


def test_an_old_image_that_somebody_else_uses_does_not_keep_an_update_from_ending(lab, engine, images):
    refs = [lab.image(v) for v in (1, 2, 3)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(refs[v - 1])}))
    mine = engine.run("mine", refs[0])
    s = lab.run(release(1), 1, "r1")
    lab.apply(s, release(2))
    assert images.has(refs[0]) and engine.get(f"/containers/{mine}/json")["State"]["Running"]
    assert s.cli("update", "--wait").code == 0
    engine.remove(mine)
    lab.apply(s, release(3))
    assert not images.has(refs[0]) and not images.has(refs[1])


# ---- our own files


@pytest.fixture
def two(lab):
    image = lab.image(1)
    return document(app(1, "r1", {"main": service(image), "web": service(image, volumes=["data:/data"])},
                        volumes={"data": {}}))


def spoil(s, name, text):
    path = f"{s.state}/{name}.json"
    assert os.path.exists(path), os.listdir(s.state)
    with open(path, "w") as f:
        f.write(text)


SPOILT = {"cut": '{"schema":1,"a', "empty": "", "bytes": "\x00\x01", "another's": '{"schema":0}'}


@pytest.mark.parametrize("text", SPOILT)
@pytest.mark.parametrize("name", ["device", "target", "ledger", "keys"])
def test_a_file_of_ours_that_is_corrupt_is_set_aside_and_no_service_is_touched(lab, engine, two, name, text):
    s = lab.run(two, 1, "r1")
    before = engine.services(1)
    uuid = env_of(engine.container(1, "main"))["BALENA_DEVICE_UUID"]
    s.stop()
    spoil(s, name, SPOILT[text])
    events = engine.events()
    s.start()
    told = s.wait("store_corrupt")
    assert told["name"] == name and told["err"] and told["level"] == "error"
    assert os.path.exists(f"{s.state}/{name}.json.corrupt")
    s.settled(1, "r1")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == before and touched(events) == []
    s.stop()
    s.start()  # what was rebuilt is whole
    s.settled(1, "r1")
    assert s.events("store_corrupt") == []
    assert engine.services(1) == before and touched(events) == []
    with open(f"{s.state}/device.json") as f:
        assert uuid in f.read()
    lab.apply(s, {"apps": {}})  # and the app is still ours
    assert engine.services(1) == {}
    events.close()


def test_after_the_ledger_was_lost_a_lock_still_holds_back_an_update(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1])}))
    s = lab.run(release(1), 1, "r1")
    before = engine.services(1)
    s.stop()
    spoil(s, "ledger", "{")
    s.start()
    s.settled(1, "r1")
    path = s.hold(1, "main")
    s.wait("lock_seen", service="main")
    lab.write({"apps": {}})
    s.wait("update_blocked", app=1)
    lab.write(release(2))
    s.wait("target_accepted", seq=lambda n: n is not None)
    assert s.cli("update", "--wait").code == 75
    assert engine.services(1) == before
    os.unlink(path)
    s.settled(1, "r2")
