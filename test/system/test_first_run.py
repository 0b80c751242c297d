"""A target file becomes running services, made the way balena's applications know them."""
import os

from story import env_of, told, touched, in_order
from target import app, derived_id, document, service, uuid_of


def test_a_service_of_the_target_runs_with_its_name_labels_environment_and_lock_directory(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(7, "cafe01", {"main": service(image, env={"HZ": "10"}, labels={"colour": "red"},
                                                             id=70, image_id=700)}, name="sensors", release_id=7000)),
                7, "cafe01")

    c = engine.container(7, "main")
    assert c["Name"] == "/main_700_7000_cafe01"
    assert c["State"]["Running"]
    assert c["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert c["HostConfig"]["NetworkMode"] == "none"
    labels = c["Config"]["Labels"]
    assert {k: labels[k] for k in labels if k.startswith("io.balena.")} == {
        "io.balena.supervised": "true", "io.balena.app-id": "7", "io.balena.app-uuid": uuid_of(7),
        "io.balena.service-id": "70", "io.balena.service-name": "main"}
    assert labels["colour"] == "red"
    env = env_of(c)
    assert env["HZ"] == "10" and env["VERSION"] == "1"  # ours and the image's
    for prefix in ("BALENA_", "RESIN_"):
        assert env[prefix + "APP_ID"] == "7"
        assert env[prefix + "APP_UUID"] == uuid_of(7)
        assert env[prefix + "APP_NAME"] == "sensors"
        assert env[prefix + "SERVICE_NAME"] == "main"
        assert env[prefix + "APP_LOCK_PATH"] == "/tmp/balena/updates.lock"
        assert env[prefix + "DEVICE_NAME_AT_INIT"] == "local"
        assert len(env[prefix + "DEVICE_UUID"]) == 32
    assert env["BALENA"] == env["RESIN"] == "1" and env["USER"] == "root"
    directory = f"{s.lock_root}/7/main"
    assert sorted(c["HostConfig"]["Binds"]) == [f"{directory}:/tmp/balena", f"{directory}:/tmp/resin"]
    assert os.stat(directory).st_mode & 0o7777 == 0o1777
    assert engine.get(f"/networks/{uuid_of(7)}_default")["Labels"]["io.balena.supervised"] == "true"
    assert "SUPERVISOR_API_KEY" not in str(env)


def test_missing_ids_are_derived_from_the_keys_and_stay_the_same(lab, engine):
    a = app(1, "r1", {"main": service(lab.image(1))})
    del a["id"]
    app_id = derived_id("my-app")
    s = lab.run({"apps": {"my-app": a}}, app_id, "r1")
    before = engine.container(app_id, "main")
    assert before["Config"]["Labels"]["io.balena.app-uuid"] == "my-app"
    s.stop()
    s.start().settled(app_id, "r1")
    assert engine.container(app_id, "main")["Id"] == before["Id"]


def test_a_whole_state_document_with_one_device_works_and_names_the_device(lab, engine):
    inner = document(app(1, "r1", {"main": service(lab.image(1))}), name="lab-gateway", config={})
    s = lab.run({"151e8026dd444b028cbf40d76c244b93": inner}, 1, "r1")
    env = env_of(engine.container(1, "main"))
    assert env["BALENA_DEVICE_UUID"] == "151e8026dd444b028cbf40d76c244b93"
    assert env["BALENA_DEVICE_NAME_AT_INIT"] == "lab-gateway"
    mark = s.mark()
    lab.write({"00000000000000000000000000000001": inner})
    s.wait("target_rejected", since=mark)  # another device's document


def test_without_a_target_file_it_runs_waits_and_touches_nothing(lab, engine):
    events = engine.events()
    s = lab.supervisor()
    s.wait("target_rejected")
    s.wait("engine_back")
    assert s.api.get("/v1/healthy").status == 200
    assert lab.target in s.cli("status").out  # says what it waits for
    assert touched(events) == []
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s.settled(1, "r1")
    assert touched(events) == [("create", "main"), ("start", "main")]
    events.close()


def test_the_log_tells_each_step_in_order(lab):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    in_order(told(s.events()), "started", "target_accepted", "create:main", "start:main", "app_settled")
    for event in s.events("step_started"):
        assert event["app"] == 1 and event["reason"]
    assert [e["kind"] for e in s.events("step_done")] == [e["kind"] for e in s.events("step_started")]
    assert all(e["took_ms"] >= 0 for e in s.events("step_done"))


def test_an_explicit_empty_target_removes_everything_it_made_and_nothing_else(lab, engine):
    other = engine.run("bystander", lab.image(1, "other"))
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))}, networks={"back": {}})), 1, "r1")
    lab.apply(s, {"apps": {}})
    assert engine.containers() == []
    assert [n["Name"] for n in engine.get("/networks") if uuid_of(1) in n["Name"]] == []
    assert engine.get(f"/containers/{other}/json")["State"]["Running"]


def test_a_service_that_shall_not_run_is_created_and_not_started(lab, engine):
    lab.run(document(app(1, "r1", {"main": service(lab.image(1), running=False)})), 1, "r1")
    assert engine.services(1)["main"][1] == "created"


def test_a_service_that_exits_is_left_to_its_restart_policy(lab, engine):
    events = engine.events()
    s = lab.run(document(app(1, "r1", {"job": service(lab.image(1), mode="once", restart="no")})), 1, "r1")
    events.wait_container("die", "job")
    mark = s.mark()
    lab.write(document(app(1, "r1", {"job": service(lab.image(1), mode="once", restart="no")}), name="renamed"))
    s.wait("target_accepted", since=mark)
    assert s.cli("update", "--wait").code == 0
    assert touched(events) == [("create", "job"), ("start", "job"), ("die", "job")]
    events.close()
