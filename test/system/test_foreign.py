"""What was never in a target of this state directory is somebody else's, whatever its labels say."""
from story import touched
from target import app, document, service, uuid_of


def labels(app_id, name):
    return {"io.balena.supervised": "true", "io.balena.app-id": str(app_id), "io.balena.app-uuid": uuid_of(app_id),
            "io.balena.service-name": name, "io.balena.service-id": "1"}


def test_a_foreign_app_is_shown_and_never_touched(lab, engine):
    foreign = engine.run("theirs_1_1_abc", lab.image(1, "theirs"), labels=labels(9, "theirs"))
    events = engine.events()
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    lab.write(document(app(1, "r2", {"main": service(lab.image(2))})))
    s.settled(1, "r2")
    lab.apply(s, {"apps": {}})
    assert "9" in s.cli("status").out
    assert touched(events, app_id=9) == []
    assert engine.get(f"/containers/{foreign}/json")["State"]["Running"]
    events.close()


def test_adopt_takes_foreign_apps_over(lab, engine):
    engine.run("theirs_1_1_abc", lab.image(1, "theirs"), labels=labels(9, "theirs"))
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor(args=["--adopt"])
    s.settled(1, "r1")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(9) == {}


def test_a_foreign_app_becomes_ours_when_the_target_names_it(lab, engine):
    image = lab.image(1)
    engine.run("main_1_1_abc", image, labels=labels(1, "main"))
    s = lab.run(document(app(1, "r1", {"main": service(image)})), 1, "r1")
    assert engine.services(1)["main"][1] == "running"
    lab.apply(s, {"apps": {}})
    assert engine.services(1) == {}


def test_an_app_stays_ours_after_a_restart_with_another_target(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    s.stop()
    lab.write(document(app(2, "r1", {"main": service(lab.image(1))})))
    s.start()
    s.settled(2, "r1")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == {}
