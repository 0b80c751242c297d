"""A new target changes what differs, in the right order, and nothing else."""
import json
import os

import wire
from story import env_of, in_order, told, touched
from target import app, document, service, uuid_of


def test_a_new_release_of_three_services_replaces_each_with_its_own_configuration(lab, engine, images):
    first = {n: lab.image(1, n) for n in ("api", "main", "web")}
    second = {n: lab.image(2, n) for n in first}
    s = lab.run(document(app(1, "r1", {n: service(i, env={"WHO": n}) for n, i in first.items()})), 1, "r1")
    before = engine.services(1)
    lab.write(document(app(1, "r2", {n: service(i, env={"WHO": n}) for n, i in second.items()})))
    s.settled(1, "r2")
    after = engine.services(1)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    for name in second:
        env = env_of(engine.container(1, name))
        assert (env["VERSION"], env["WHO"]) == ("2", name)
    for ref in first.values():  # no longer needed; after the services ran, not before
        s.wait("step_done", kind="remove_image", image=ref)
        assert not images.has(ref)
    in_order(told(s.events()), "start:web", "app_settled", "start:web", "remove_image")


def test_only_the_service_that_changed_is_replaced(lab, engine):
    image = lab.image(1)

    def release(v, hz):
        return document(app(1, f"r{v}", {"same": service(image), "changed": service(image, env={"HZ": hz})}))
    s = lab.run(release(1, "1"), 1, "r1")
    before = engine.services(1)
    events = engine.events()
    lab.write(release(2, "2"))
    s.settled(1, "r2")
    after = engine.services(1)
    assert after["same"] == before["same"] and after["changed"] != before["changed"]
    assert {n for a, n in touched(events) if a != "rename"} == {"changed"}
    assert env_of(engine.container(1, "changed"))["HZ"] == "2"
    events.close()


def test_a_service_is_renamed_not_restarted_when_only_the_release_changed(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"main": service(image, id=1, image_id=1)}, release_id=1)), 1, "r1")
    before = engine.container(1, "main")
    assert before["Name"] == "/main_1_1_r1"
    lab.write(document(app(1, "r2", {"main": service(image, id=1, image_id=2)}, release_id=2)))
    s.settled(1, "r2")
    after = engine.container(1, "main")
    assert after["Name"] == "/main_2_2_r2"
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_a_rename_waits_for_the_update_lock(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"main": service(image, id=1, image_id=1)}, release_id=1)), 1, "r1")
    path = s.hold(1, "main")
    lab.write(document(app(1, "r2", {"main": service(image, id=1, image_id=2)}, release_id=2)))
    s.wait("update_blocked")
    assert engine.container(1, "main")["Name"] == "/main_1_1_r1"
    os.unlink(path)
    s.settled(1, "r2")
    assert engine.container(1, "main")["Name"] == "/main_2_2_r2"


def test_nothing_is_touched_when_the_supervisor_starts_again(lab, engine):
    image = lab.image(1)
    s = lab.run(document(
        app(1, "r1", {"a": service(image, network_mode=None, networks={"back": {"aliases": ["x"]}},
                                   volumes=["data:/data"], ports=["127.0.0.1:8001:80"], labels={"l": "1"},
                                   command="sh -c 'trap \"exit 0\" TERM; sleep 1000 & wait'"),
                      "b": service(image, restart="no", hostname="bee", working_dir="/tmp/", user="nobody"),
                      "c": service(image, network_mode="host"),
                      "d": service(image, depends_on=["a"], tty=False)},
            volumes={"data": {}}, networks={"back": {}})), 1, "r1")
    before = {n: engine.container(1, n) for n in "abcd"}
    events = engine.events()
    for stop in (s.stop, s.kill):
        stop()
        s.start()
        s.wait("engine_listed")
        assert s.cli("update", "--wait").code == 0
        assert s.api.json("/v2/plan")["steps"] == [] and s.api.json("/v2/plan")["waits"] == []
    assert touched(events) == []
    for n, c in before.items():
        assert engine.container(1, n)["State"]["StartedAt"] == c["State"]["StartedAt"]
    events.close()


def test_services_networks_and_apps_that_left_the_target_go_and_volumes_stay(lab, engine):
    image = lab.image(1)
    s = lab.run(document(
        app(1, "r1", {"stays": service(image), "goes": service(image, network_mode=None, networks=["back"],
                                                              volumes=["data:/data"])},
            volumes={"data": {}}, networks={"back": {}}),
        app(2, "r1", {"main": service(image, volumes=["data:/data"])}, volumes={"data": {}})), 1, "r1")
    s.settled(2, "r1")
    stays = engine.services(1)["stays"]
    lab.write(document(app(1, "r2", {"stays": service(image)})))
    s.settled(1, "r2")
    assert s.cli("update", "--wait").code == 0
    assert engine.services(1) == {"stays": stays} and engine.services(2) == {}
    names = {n["Name"] for n in engine.get("/networks")}
    assert f"{uuid_of(1)}_back" not in names and f"{uuid_of(2)}_default" not in names
    assert {v["Name"] for v in engine.get("/volumes")["Volumes"]} == {"1_data", "2_data"}


def test_a_volume_keeps_its_data_through_an_update(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], volumes=["data:/data"])}, volumes={"data": {}}))
    s = lab.run(release(1), 1, "r1")
    engine.exec(engine.container(1, "main")["Id"], "sh", "-c", "echo precious > /data/file")
    lab.write(release(2))
    s.settled(1, "r2")
    assert engine.exec(engine.container(1, "main")["Id"], "cat", "/data/file") == (0, "precious\n")
    labels = engine.get("/volumes/1_data")["Labels"]
    assert labels["io.balena.supervised"] == "true" and labels["io.balena.app-uuid"] == uuid_of(1)


def test_dependencies_start_first_and_stop_last(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {
            "aaa": service(images[v - 1], depends_on=["db"]), "db": service(images[v - 1], depends_on=["net"]),
            "net": service(images[v - 1])}))
    events = engine.events()
    s = lab.run(release(1), 1, "r1")
    assert events.containers("start") == [("start", "net"), ("start", "db"), ("start", "aaa")]
    mark = events.mark()
    lab.write(release(2))
    s.settled(1, "r2")
    assert events.containers("die", since=mark) == [("die", "aaa"), ("die", "db"), ("die", "net")]
    assert events.containers("start", since=mark) == [("start", "net"), ("start", "db"), ("start", "aaa")]
    events.close()


def test_a_changed_network_is_made_anew_with_the_services_on_it(lab, engine):
    image = lab.image(1)

    def release(v):
        return document(app(1, f"r{v}", {
            "on": service(image, network_mode=None, networks=["back"]), "off": service(image)},
            networks={"back": {"ipam": {"config": [{"subnet": f"172.30.{v}.0/24", "gateway": f"172.30.{v}.1"}]}}}))
    s = lab.run(release(1), 1, "r1")
    before = engine.services(1)
    lab.write(release(2))
    s.settled(1, "r2")
    after = engine.services(1)
    assert after["off"] == before["off"] and after["on"][0] != before["on"][0]
    address = engine.container(1, "on")["NetworkSettings"]["Networks"][f"{uuid_of(1)}_back"]["IPAddress"]
    assert address.startswith("172.30.2.")


def test_services_of_one_network_reach_each_other_by_name_and_alias(lab, engine):
    image = lab.image(1)
    lab.run(document(app(1, "r1", {
        "web": service(image, network_mode=None, networks={"back": {"aliases": ["www"]}}, mode="web"),
        "client": service(image, network_mode=None, networks=["back"])}, networks={"back": {}})), 1, "r1")
    client = engine.container(1, "client")["Id"]
    for name in ("web", "www"):
        code, out = engine.exec(client, "busybox", "wget", "-q", "-O", "-", f"http://{name}/index.html")
        assert (code, out.strip()) == (0, "hello")


def test_a_published_port_answers_and_moves_with_the_target(lab, engine):
    image = lab.image(1)

    def release(v, port):
        return document(app(1, f"r{v}", {"web": service(image, network_mode=None, ports=[f"127.0.0.1:{port}:80"],
                                                        mode="web")}))
    s = lab.run(release(1, 8081), 1, "r1")
    assert wire.until_served("http://127.0.0.1:8081", "/index.html").text == "hello\n"
    lab.write(release(2, 8082))
    s.settled(1, "r2")
    assert wire.until_served("http://127.0.0.1:8082", "/index.html").text == "hello\n"


def test_network_modes_host_and_none_are_taken_as_they_are(lab, engine):
    image = lab.image(1)
    lab.run(document(app(1, "r1", {"h": service(image, network_mode="host"), "n": service(image)})), 1, "r1")
    assert engine.container(1, "h")["HostConfig"]["NetworkMode"] == "host"
    assert engine.container(1, "n")["HostConfig"]["NetworkMode"] == "none"


def test_a_service_that_shall_not_run_any_more_is_stopped_under_its_lock_and_started_again(lab, engine):
    image = lab.image(1)

    def release(running):
        return document(app(1, "r1", {"main": service(image, running=running)}))
    s = lab.run(release(True), 1, "r1")
    path = s.hold(1, "main")
    mark = s.mark()
    lab.write(release(False))
    s.wait("update_blocked", since=mark)
    assert engine.services(1)["main"][1] == "running"
    os.unlink(path)
    s.settled(1, "r1", since=mark)
    assert engine.services(1)["main"][1] == "exited"


def test_a_target_that_is_written_in_place_is_followed_too(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"main": service(image)})), 1, "r1")
    with open(lab.target, "w") as f:
        json.dump(document(app(1, "r2", {"main": service(image, env={"HZ": "2"})})), f)
    s.settled(1, "r2")
    assert env_of(engine.container(1, "main"))["HZ"] == "2"


def test_the_newest_target_wins_when_several_come_at_once(lab, engine):
    images = [lab.image(v) for v in range(1, 6)]
    s = lab.run(document(app(1, "r1", {"main": service(images[0])})), 1, "r1")
    for v in range(2, 6):
        lab.write(document(app(1, f"r{v}", {"main": service(images[v - 1])})))
    s.settled(1, "r5")
    assert env_of(engine.container(1, "main"))["VERSION"] == "5"
