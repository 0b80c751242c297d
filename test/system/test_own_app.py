"""The supervisor's own app and container, as the host starts and replaces them: recognised and left alone."""
import json

from story import touched
from target import app, document, service, uuid_of

OWN = "52e35121417640b1b28a680504e4039b"  # the supervisor app of amd64


def labels(app_id, name, uuid=None):
    return {"io.balena.supervised": "true", "io.balena.app-id": str(app_id), "io.balena.app-uuid": uuid or uuid_of(app_id),
            "io.balena.service-name": name, "io.balena.service-id": "1"}


def own_document(app_id, release, services, *others):
    """Apps as usual, and one that goes by the uuid of the supervisor's."""
    d = document(*others)
    d["apps"][OWN] = app(app_id, release, services, name="sv")
    return d


def started(engine, container):
    about = engine.get(f"/containers/{container}/json")
    assert about["State"]["Running"]
    return about["State"]["StartedAt"], about["Name"]


def alarms(s):
    return [e for e in s.events() if e["level"] in ("warn", "error")]


def through_releases(lab, s):
    """One update after the other, and to nothing at all: whatever could be removed on the way is."""
    for v in (2, 3):
        lab.apply(s, document(app(1, f"r{v}", {"main": service(lab.image(v))})))
    lab.apply(s, {"apps": {}})


def test_a_container_with_the_supervisors_name_is_never_touched_even_with_adopt(lab, engine):
    network = f"{uuid_of(9)}_mine"
    engine.call("POST", "/networks/create", {"Name": network, "Labels": {"io.balena.supervised": "true",
                                                                         "io.balena.app-id": "9"}})
    own = engine.run("balena_supervisor", lab.image(1, "sv"), labels=labels(9, "main"), HostConfig={"NetworkMode": network})
    adopted = engine.run("theirs_1_1_abc", lab.image(1, "theirs"), labels=labels(8, "theirs"))
    before = started(engine, own)
    events = engine.events()
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor(args=["--adopt"])
    s.settled(1, "r1")
    through_releases(lab, s)
    assert engine.call("GET", f"/containers/{adopted}/json", ok=(200, 404)).status == 404  # so it did adopt
    assert touched(events, app_id=9) == [] and started(engine, own) == before
    assert network in [n["Name"] for n in engine.get("/networks")]
    assert alarms(s) == [] and s.api.json("/v2/plan")["steps"] == []
    events.close()


def test_it_is_shown_as_running_and_as_what_it_is(lab, engine):
    own = engine.run("balena_supervisor", lab.image(1, "sv"), labels=labels(9, "main"))
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    shown = s.cli("status").out
    assert own[:12] in shown and "the supervisor's own" in shown and "foreign" not in shown and "not in the target" not in shown
    status = json.loads(s.cli("status", "--json").out)
    assert "foreign" not in status and status["appState"] == "applied"
    row, = [c for c in status["containers"] if c["appId"] == 9]
    assert (row["status"], row["containerId"], row["supervisor"]) == ("Running", own, True)
    one = s.api.json("/v2/state/status")  # without apps=all: the app that somebody deployed
    assert {c["appId"] for c in one["containers"]} == {1}


def test_the_container_named_by_the_host_in_the_environment_is_never_touched(lab, engine):
    """No name and no uuid tells: it looks like a service of the app in the target, under a name of that form."""
    image = lab.image(1)
    own = engine.run("agent_5_6_abc", image, labels=labels(1, "agent"))
    before = started(engine, own)
    lab.write(document(app(1, "r1", {"main": service(image)})))
    s = lab.supervisor(env={"SUPERVISOR_CONTAINER_ID": own})
    s.settled(1, "r1")
    through_releases(lab, s)
    assert started(engine, own) == before and alarms(s) == []
    s.stop()
    s.env = {}
    s.start()  # the control: without the variable it is a service that left the target
    assert s.cli("update", "--wait").code == 0
    assert engine.call("GET", f"/containers/{own}/json", ok=(200, 404)).status == 404


def test_its_app_in_the_target_is_left_to_the_host_and_its_other_services_run(lab, engine):
    old, new = lab.image(1, "sv"), lab.image(2, "sv")
    own = engine.run("balena_supervisor", old, labels=labels(7, "main", OWN))
    before = started(engine, own)
    events = engine.events()
    d = own_document(7, "s2", {"main": service(new), "relay": service(lab.image(1))})
    lab.write(d)
    checked = s_check(lab)
    assert checked.code == 0 and "1 service\n" in checked.out and "service main" in checked.out and checked.err == ""
    s = lab.supervisor()
    s.settled(7, "s2")
    assert s.cli("update", "--wait").code == 0
    services = engine.services(7)
    assert services["main"] == (own, "running") and services["relay"][1] == "running"
    state = s.api.json("/v2/applications/state")["sv"]
    assert {n: v["status"] for n, v in state["services"].items()} == {"main": "Running", "relay": "Running"}
    assert state["services"]["main"]["image"] == new and state["updateStatus"] == "done"
    assert s.cli("plan", lab.target).code == 0
    lab.apply(s, {"apps": {}})  # the app leaves: its supervisor stays
    assert list(engine.services(7)) == ["main"]
    assert started(engine, own) == before and {name for _, name in touched(events)} == {"relay"}
    assert alarms(s) == []
    events.close()


def s_check(lab):
    from supervisor import command
    return command("check", lab.target)


def test_of_an_app_that_is_the_supervisor_alone_nothing_is_made(lab, engine, images):
    lab.write(own_document(7, "s2", {"core": service("registry.invalid/sv:2")}))
    networks = {n["Name"] for n in engine.get("/networks")}
    s = lab.supervisor()
    s.settled(7, "s2")
    assert s.cli("update", "--wait").code == 0
    assert engine.containers() == [] and {n["Name"] for n in engine.get("/networks")} == networks
    shown = s.cli("status").out
    assert "core" in shown and "Running" in shown and "state: applied" in shown
    assert alarms(s) == [] and s.events("step_started") == []


def test_its_next_image_stays_until_the_host_starts_it(lab, engine, images):
    """Pulled by the host and tagged by it, not running yet; also a reference that was once in a target."""
    running, pulled, other = lab.image(1, "sv"), lab.image(2, "sv"), lab.image(1, "other")
    tagged = images.make("balena_supervisor:99.0.1", VERSION=99)
    lab.at_end(lambda: images.forget(tagged))
    engine.run("balena_supervisor", running)
    lab.write(document(app(1, "r1", {"a": service(pulled), "b": service(tagged), "c": service(other)})))
    s = lab.supervisor(env={"SUPERVISOR_IMAGE": running})
    s.settled(1, "r1")
    lab.apply(s, document(app(1, "r2", {"a": service(lab.image(2))})))
    assert not images.has(other)
    assert images.has(running) and images.has(pulled) and images.has(tagged)
    assert alarms(s) == []


def test_a_supervisor_that_somebody_deployed_as_a_service_is_neither_updated_nor_doubled(lab, engine):
    own = engine.run("agent_5_6_abc", lab.image(1), labels=labels(1, "agent"))
    before = started(engine, own)
    lab.write(document(app(1, "r1", {"main": service(lab.image(1)), "agent": service(lab.image(2))})))
    s = lab.supervisor(env={"SUPERVISOR_CONTAINER_ID": own})
    s.settled(1, "r1")
    assert s.cli("update", "--wait").code == 0
    assert started(engine, own) == before and sorted(engine.services(1)) == ["agent", "main"]
    assert {r["serviceName"]: r["status"] for r in s.api.json("/v2/state/status")["containers"]} == {
        "agent": "Running", "main": "Running"}
    assert s.api.json("/v2/applications/state")["app1"]["updateStatus"] == "done" and alarms(s) == []
