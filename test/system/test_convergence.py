"""The device comes back to its target, whatever was done to it behind our back."""
import os

from story import env_of, touched
from target import app, document, service, uuid_of


def test_a_container_removed_by_hand_is_made_again(lab, engine):
    s = lab.run(document(app(1, "r1", {"a": service(lab.image(1)), "b": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    mark = s.mark()
    engine.remove(before["a"][0])
    s.settled(1, "r1", since=mark)
    after = engine.services(1)
    assert after["a"][1] == "running" and after["a"][0] != before["a"][0]
    assert after["b"] == before["b"]


def test_making_it_again_waits_for_the_lock_of_its_app(lab, engine):
    s = lab.run(document(app(1, "r1", {"a": service(lab.image(1)), "b": service(lab.image(1))})), 1, "r1")
    path = s.hold(1, "b")
    engine.remove(engine.services(1)["a"][0])
    s.wait("update_blocked")
    assert set(engine.services(1)) == {"b"}
    mark = s.mark()
    os.unlink(path)
    s.settled(1, "r1", since=mark)
    assert set(engine.services(1)) == {"a", "b"}


def test_a_container_stopped_by_hand_stays_stopped_until_something_of_it_changes(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v, commit):
        return document(app(1, commit, {"main": service(images[v - 1])}))
    s = lab.run(release(1, "r1"), 1, "r1")
    c = engine.container(1, "main")["Id"]
    engine.call("POST", f"/containers/{c}/stop")
    for restart in (s.stop, s.kill):
        restart()
        s.start()
        s.wait("engine_listed")
        assert s.cli("update", "--wait").code == 0
        assert engine.services(1)["main"] == (c, "exited")
    lab.write(release(2, "r2"))
    s.settled(1, "r2")
    assert engine.services(1)["main"][1] == "running"
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"


def test_a_container_changed_behind_our_back_is_put_right(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1), id=1, image_id=1)}, release_id=1)), 1, "r1")
    c = engine.container(1, "main")["Id"]
    mark = s.mark()
    engine.call("POST", f"/containers/{c}/rename", query={"name": "somebody_else"})
    s.settled(1, "r1", since=mark)
    assert engine.container(1, "main")["Name"] == "/main_1_1_r1"
    assert engine.container(1, "main")["Id"] == c


def test_a_network_removed_by_hand_is_made_again(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))}, networks={"spare": {}})), 1, "r1")
    mark = s.mark()
    engine.call("DELETE", f"/networks/{uuid_of(1)}_spare")
    s.settled(1, "r1", since=mark)
    assert f"{uuid_of(1)}_spare" in {n["Name"] for n in engine.get("/networks")}


def test_two_containers_of_one_service_become_one(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    c = engine.container(1, "main")
    mark = s.mark()
    engine.run("main_1_1_twin", c["Config"]["Image"], labels=c["Config"]["Labels"])
    s.settled(1, "r1", since=mark)
    assert engine.services(1)["main"][1] == "running"  # services() itself refuses two


def test_the_stored_target_is_kept_when_the_file_is_gone_at_start(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    s.stop()
    engine.clean()
    os.unlink(lab.target)
    s.start()
    s.settled(1, "r1")
    assert engine.services(1)["main"][1] == "running"


def test_a_broken_state_file_is_set_aside_and_rebuilt(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    s.stop()
    for name in ("target.json", "ledger.json"):
        with open(f"{s.state}/{name}", "w") as f:
            f.write('{"half": ')
    s.start()
    s.wait("store_corrupt")
    s.wait("engine_listed")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == before
    assert any(n.endswith(".corrupt") for n in os.listdir(s.state))


def test_an_app_whose_service_crashes_for_ever_does_not_hold_back_another(lab, engine):
    events = engine.events()
    s = lab.run(document(app(1, "r1", {"bad": service(lab.image(1), mode="crash")}),
                         app(2, "r1", {"good": service(lab.image(1))})), 2, "r1")
    events.wait_container("die", "bad")
    assert engine.services(2)["good"][1] == "running"
    lab.write(document(app(2, "r2", {"good": service(lab.image(1), env={"X": "1"})})))
    s.settled(2, "r2")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == {}
    events.close()


def test_removing_the_supervisor_leaves_every_container_running(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    events = engine.events()
    s.stop()
    assert engine.services(1) == before and touched(events) == []
    events.close()
