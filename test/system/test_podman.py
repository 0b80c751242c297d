"""
The second engine: podman behind its Docker-compatible socket. Its answers differ from Docker's in many fields, so the point
here is that a container which is as it should be is left alone, for ever, and that a change is still seen, once.
"""
import os
import signal

import pytest

import podman
import wire
from lab import Lab
from story import env_of, give_back, in_order, take, told, touched
from target import app, document, service, uuid_of


@pytest.fixture(scope="module")
def engine(base, registry):
    assert not podman.Podman.missing(), f"not installed: {podman.Podman.missing()}"
    os.mkdir(f"{base}/p")
    engine = podman.Podman(f"{base}/p", registry.address)
    engine.start()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def images(engine, registry):
    return podman.PodmanImages(engine, registry)


@pytest.fixture
def lab(base, engine, images):
    lab = Lab(base, engine, images)
    yield lab
    lab.close()


def rich(image, release="r1", **app_service):
    """Services with the settings that podman tells in words of its own."""
    return document(app(1, release, {
        "plain": service(image, **app_service),
        "net": service(image, network_mode=None, networks={"back": {"aliases": ["x"], "ipv4_address": "172.30.7.9"},
                                                              "default": None},
                       volumes=["data:/data", "data:/ro:ro", "data:/nc/:nocopy", "/anon",
                                {"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1m"}},
                                {"type": "volume", "source": "data", "target": "/m", "read_only": True}],
                       ports=["127.0.0.1:8001:80", "90"], labels={"l": "1", "empty": ""}, restart="on-failure:3",
                       entrypoint=["sh", "-c"], command=["exec /app 'a b'"], stop_grace_period="3s"),
        "bare": service(image, network_mode="bridge", hostname="bee", user="nobody", working_dir="/tmp/", tty=False,
                        restart="no"),
        "host": service(image, network_mode="host", privileged=True, depends_on=["plain"]),
        "api": service(image, network_mode=None, labels={"io.balena.features.supervisor-api": "1"}),
        }, volumes={"data": {}},
        networks={"back": {"ipam": {"config": [{"subnet": "172.30.7.0/24", "ip_range": "172.30.7.0/25"}]},
                           "driver_opts": {"com.docker.network.driver.mtu": "1400"}}}))


def digest_of(registry, name, tag):
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"}
    return wire.request(f"http://{registry.address}", "HEAD", f"/v2/{name}/manifests/{tag}",
                        headers=accept).headers["Docker-Content-Digest"]


def nothing_to_do(s):
    assert s.cli("update", "--wait").code == 0
    plan = s.api.json("/v2/plan")
    assert plan["steps"] == [] and plan["waits"] == [], plan


def test_what_runs_as_it_should_is_left_alone_whatever_is_started_again(lab, engine):
    target = rich(lab.image(1))
    s = lab.run(target, 1, "r1")
    before = engine.services(1)
    assert {state for _, state in before.values()} == {"running"}
    assert engine.exec(before["net"][0], "stat", "-c", "%a", "/t") == (0, "1777\n")
    events = engine.events()
    nothing_to_do(s)
    lab.write(target)
    nothing_to_do(s)
    for stop in (s.stop, s.kill):
        stop()
        s.start()
        s.wait("engine_listed")
        nothing_to_do(s)
    assert touched(events) == []
    events.close()
    mark = s.mark()
    engine.stop()
    s.wait("engine_lost", since=mark)
    engine.start()
    s.wait("engine_listed", since=mark)
    nothing_to_do(s)
    assert engine.services(1) == before
    assert not [run for run in [*s.history, s.events()] if any(e["event"] == "setting_not_kept" for e in run)]


def test_each_change_replaces_the_service_once_and_no_other(lab, engine):
    image = lab.image(1)
    changes = [{"env": {"HZ": "2"}}, {"labels": {"l": "2"}}, {"command": "sleep 3600"}, {"volumes": ["data:/data"]},
               {"volumes": ["data:/data:ro"]}, {"restart": "no", "user": "nobody"}, {}]

    def release(v, **more):
        return document(app(1, f"r{v}", {"main": service(image, **more), "other": service(image)}, volumes={"data": {}}))
    s = lab.run(release(0), 1, "r0")
    before = engine.services(1)
    events = engine.events()
    for v, more in enumerate(changes, 1):  # each takes the change before it back, too
        mark = events.mark()
        lab.write(release(v, **more))
        s.settled(1, f"r{v}")
        nothing_to_do(s)
        after = engine.services(1)
        assert after["other"] == before["other"] and after["main"][0] != before["main"][0], more
        assert [a for a, n in touched(events, mark) if n == "main" and a in ("create", "start")] == ["create", "start"]
        before = after
    events.close()
    assert not s.events("setting_not_kept")


def test_what_podman_does_not_keep_is_tried_once_more_and_then_taken_as_it_is(lab, engine, images):
    ref = images.make_with(f"lk-t{lab.number}/entry:1", 'ENTRYPOINT ["/app"]')
    lab.write(document(app(1, "r1", {"main": service(ref, entrypoint=[""], command=["/app"])})))
    events = engine.events()
    s = lab.supervisor()
    told = s.wait("setting_not_kept", app=1, service="main")
    assert (told["name"], told["current"], told["target"]) == ("entrypoint", '["/app"]', "[]")
    nothing_to_do(s)
    before = engine.services(1)
    assert before["main"][1] == "running"
    s.stop()
    s.start()
    s.wait("engine_listed")
    nothing_to_do(s)
    assert engine.services(1) == before and not s.events("setting_not_kept")
    assert events.containers("create") == [("create", "main")] * 2
    events.close()


def test_the_api_listens_on_supervisor0_as_soon_as_podman_gives_it_its_address(lab, engine):
    """That is when the first container runs on it."""
    asks = {"io.balena.features.supervisor-api": "1"}
    lab.write(document(app(1, "r1", {"main": service(lab.image(1), network_mode=None, labels=asks)})))
    s = lab.supervisor(listen=[], start=False)
    s.listen = ["127.0.0.1:48484"]  # what it listens on when nobody says
    s.start()
    s.settled(1, "r1")
    s.wait("api_listening", address="10.114.104.1")
    assert len(s.events("api_listen_failed")) <= 1


def test_an_update_waits_for_the_lock_of_the_application(lab, engine):
    images = [lab.image(1), lab.image(2)]
    s = lab.run(document(app(1, "r1", {"main": service(images[0])})), 1, "r1")
    c = engine.container(1, "main")["Id"]
    assert take(engine, c)
    events = engine.events()
    lab.write(document(app(1, "r2", {"main": service(images[1])})))
    s.wait("update_blocked", app=1)
    assert touched(events) == [] and engine.services(1)["main"] == (c, "running")
    assert "blocked" in s.cli("status").out or "lock" in s.cli("status").out
    give_back(engine, c)
    s.settled(1, "r2")
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"
    in_order(told(s.events()), "update_blocked", "update_resumed", "stop:main", "remove:main", "create:main", "start:main")
    events.close()
    assert s.locks_on_disk() == {}


def test_services_networks_and_apps_that_left_the_target_go(lab, engine):
    image = lab.image(1)
    s = lab.run(document(
        app(1, "r1", {"stays": service(image), "goes": service(image, network_mode=None, networks=["back"],
                                                              volumes=["data:/data"])},
            volumes={"data": {}}, networks={"back": {}}),
        app(2, "r1", {"main": service(image)})), 1, "r1")
    s.settled(2, "r1")
    stays = engine.services(1)["stays"]
    lab.write(document(app(1, "r2", {"stays": service(image)})))
    s.settled(1, "r2")
    nothing_to_do(s)
    assert engine.services(1) == {"stays": stays} and engine.services(2) == {}
    assert f"{uuid_of(1)}_back" not in {n["Name"] for n in engine.get("/networks")}
    assert "1_data" in {v["Name"] for v in engine.get("/volumes")["Volumes"]}


def test_a_changed_network_is_made_anew_and_names_lead_to_services(lab, engine):
    image = lab.image(1)

    def release(v):
        return document(app(1, f"r{v}", {
            "web": service(image, network_mode=None, networks={"back": {"aliases": ["www"]}}, mode="web"),
            "client": service(image, network_mode=None, networks=["back"])},
            networks={"back": {"ipam": {"config": [{"subnet": f"172.30.{v}.0/24", "gateway": f"172.30.{v}.1"}]}}}))
    s = lab.run(release(1), 1, "r1")
    lab.write(release(2))
    s.settled(1, "r2")
    nothing_to_do(s)
    web = engine.container(1, "web")["NetworkSettings"]["Networks"][f"{uuid_of(1)}_back"]
    assert web["IPAddress"].startswith("172.30.2.")
    client = engine.container(1, "client")["Id"]
    for name in ("web", "www"):
        assert engine.exec(client, "busybox", "wget", "-q", "-O", "-", f"http://{name}/index.html") == (0, "hello\n")


def test_a_container_that_died_is_started_again_by_its_policy_and_one_removed_is_made_again(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"a": service(image), "b": service(image)})), 1, "r1")
    a, before = engine.container(1, "a"), engine.services(1)
    events = engine.events()
    os.kill(a["State"]["Pid"], signal.SIGKILL)
    events.wait_container("start", "a")
    nothing_to_do(s)
    assert engine.services(1) == before
    mark = s.mark()
    engine.remove(a["Id"])
    s.settled(1, "r1", since=mark)
    after = engine.services(1)
    assert after["a"][0] != before["a"][0] and after["a"][1] == "running" and after["b"] == before["b"]
    events.close()


def test_images_are_pulled_by_tag_and_by_digest_and_a_missing_one_is_named(lab, engine, images):
    refs = [images.push(f"podman-app:{v}", VERSION=v) for v in (1, 2)]
    missing = f"{images.registry.address}/nope:1"
    lab.write(document(app(1, "r1", {"main": service(refs[0])}), app(2, "r1", {"main": service(missing)})))
    s = lab.supervisor()
    s.settled(1, "r1")
    assert env_of(engine.container(1, "main"))["VERSION"] == "1"
    assert "nope" in s.wait("step_failed", kind="pull", image=missing)["err"]
    digest = digest_of(images.registry, "podman-app", "2")
    pinned = f"{images.registry.address}/podman-app@{digest}"
    lab.write(document(app(1, "r2", {"main": service(pinned)})))
    s.settled(1, "r2")
    nothing_to_do(s)
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"
    assert not images.has(refs[0]) and images.has(pinned)
    lab.write(document(app(1, "r3", {"main": service(lab.image(3))})))
    s.settled(1, "r3")
    nothing_to_do(s)
    assert not images.has(pinned)


def test_a_service_is_renamed_not_restarted_when_only_the_release_changed(lab, engine):
    image = lab.image(1)
    s = lab.run(document(app(1, "r1", {"main": service(image, id=1, image_id=1)}, release_id=1)), 1, "r1")
    before = engine.container(1, "main")
    lab.write(document(app(1, "r2", {"main": service(image, id=1, image_id=2)}, release_id=2)))
    s.settled(1, "r2")
    after = engine.container(1, "main")
    assert after["Name"] == "/main_2_2_r2" and after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] == before["State"]["StartedAt"]
