"""A broken target changes nothing on the device, and the error says where it is broken."""
import json
import os

import pytest

from bad_targets import BAD, LIMIT, good
from story import touched
from supervisor import command
from target import app, document, service


def test_a_good_document_is_valid(lab):
    lab.write(good())
    done = command("check", lab.target)
    assert done.code == 0, done


@pytest.mark.parametrize("name", BAD)
def test_check_names_the_place(lab, name):
    text, place = BAD[name]
    lab.write(text)
    done = command("check", lab.target)
    assert done.code == 1
    assert place in done.out + done.err, done


def test_check_tells_every_error_not_only_the_first(lab):
    lab.write('{"apps": {"x": {"id": -1, "name": 5, "releases": {"r": {"services": {"main": {"image": 1, '
              '"environment": {"A": 1}, "labels": {}}}}}}}}')
    done = command("check", lab.target)
    text = done.out + done.err
    for place in ("apps.x.id", "apps.x.name", "apps.x.releases.r.services.main.image",
                  "apps.x.releases.r.services.main.environment.A"):
        assert place in text, done


def test_check_of_a_file_that_is_not_there_or_no_file_at_all(lab):
    done = command("check", f"{lab.dir}/nowhere.json")
    assert done.code == 1 and "nowhere.json" in done.err
    assert command("check").code == 2
    assert command("check", "--flavour", lab.target).code == 2


def test_a_running_device_keeps_its_last_good_target_through_every_bad_one(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    events = engine.events()
    for name, (text, place) in BAD.items():
        mark = s.mark()
        lab.write(text)
        rejected = s.wait("target_rejected", since=mark)
        assert rejected["level"] == "error"
        said = " ".join(str(e.get(k, "")) for e in [rejected, *s.events("target_error", since=mark)] for k in ("path", "err"))
        assert place in said, f"{name}: {said}"
        assert s.api.json("/v2/plan")["targetProblem"], name
        assert s.api.get("/v1/healthy").status == 200
    status = s.cli("status")
    assert status.code == 0 and "target" in status.out
    assert engine.services(1) == before and touched(events) == []
    # After a restart the last good one stands as well; then a good one clears the complaint.
    s.stop()
    s.start()
    s.wait("target_rejected")
    s.wait("engine_listed")
    assert engine.services(1) == before
    lab.write(document(app(1, "r2", {"main": service(lab.image(2))})))
    s.settled(1, "r2")
    assert "targetProblem" not in s.api.json("/v2/plan")
    events.close()


def test_a_target_at_the_size_limit_is_taken_and_one_byte_more_is_not(lab, engine):
    image = lab.image(1)
    text = json.dumps(document(app(1, "r1", {"main": service(image)})))
    lab.write(text + " " * (LIMIT - len(text)))
    s = lab.supervisor()
    s.settled(1, "r1")
    mark = s.mark()
    lab.write(text + " " * (LIMIT + 1 - len(text)))
    assert "4" in s.wait("target_rejected", since=mark)["err"]
    assert engine.services(1)["main"][1] == "running"


REFUSED = {
    "empty": lambda path: open(path, "w").close(),
    "writable by others": lambda path: (open(path, "w").write('{"apps": {}}'), os.chmod(path, 0o666)),
    "owned by somebody else": lambda path: (open(path, "w").write('{"apps": {}}'), os.chown(path, 1000, 1000)),
    "a directory": os.mkdir,
    "a FIFO": os.mkfifo,
    "gone": lambda path: None,
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_file_that_cannot_be_trusted_is_refused_and_nothing_is_removed(lab, engine, how):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    mark = s.mark()
    os.unlink(lab.target)
    REFUSED[how](lab.target)
    s.wait("target_rejected", since=mark)
    assert s.api.get("/ping").status == 200
    assert engine.services(1) == before
