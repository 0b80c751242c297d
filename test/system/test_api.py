"""The local API answers as balena's applications and tools expect, and only those who may ask."""
import os
import re
import socket

import pytest

from story import env_of
from target import app, document, service, uuid_of

VERSION = re.compile(r"^19\.0\.5\+lockkeeper\.\d+\.\d+\.\d+$")


@pytest.fixture
def device(lab, engine):
    """Two apps; the first's service may use the API. The supervisor listens on both kinds of sockets."""
    image = lab.image(1)
    s = lab.run(document(
        app(1, "r1", {"main": service(image, id=10, image_id=100, network_mode="host",
                                      labels={"io.balena.features.supervisor-api": "1"})}, name="one", release_id=1000),
        app(2, "r1", {"other": service(image, id=20, image_id=200)}, name="two", release_id=2000)),
        1, "r1", listen=[f"unix:{lab.dir}/api.sock", "127.0.0.1:48484"])
    s.settled(2, "r1")
    s.service_key = env_of(engine.container(1, "main"))["BALENA_SUPERVISOR_API_KEY"]
    return s


def test_ping_and_healthy_need_no_key_and_everything_else_does(device):
    assert device.api.get("/ping", key=None).text == "OK"
    assert device.api.get("/v1/healthy", key=None).text == "OK"
    for method, path in (("GET", "/v2/version"), ("GET", "/v2/applications/state"), ("GET", "/v2/state/status"),
                         ("GET", "/v2/locks"), ("GET", "/v2/plan"), ("POST", "/v2/plan"), ("POST", "/v1/update"),
                         ("POST", "/ping"), ("GET", "/nope")):
        for key in (None, "0" * 32):
            r = device.api.call(method, path, key=key)
            assert (r.status, r.text) == (401, "Unauthorized"), (method, path)


def test_the_key_is_found_in_the_query_and_in_the_header_by_the_known_rules(device):
    key = device.key
    assert re.fullmatch("[0-9a-f]{32}", key)

    def status(path="/v2/version", header=None):
        return device.api.get(path, key=None, headers={"Authorization": header} if header else None).status
    assert status(f"/v2/version?apikey={key}") == 200
    assert [status(header=h + key) for h in ("Bearer ", "bEaReR ", "ApiKey ", "apikey ")] == [200] * 4
    assert [status(header=h) for h in (f"Bearer  {key}", f"Basic {key}", key, f"Bearer {key} ", "Bearer ")][:3] == [401] * 3
    assert status("/v2/version?apikey=bad", f"Bearer {key}") == 401
    assert status("/v2/version?apikey=", f"Bearer {key}") == 200
    assert status(f"/v2/version?apikey={key}&apikey={key}") == 401


def test_the_key_file_is_for_its_owner_alone_and_the_key_survives_a_restart(device):
    for name in ("api-key", "api-address"):
        assert os.stat(f"{device.state}/{name}").st_mode & 0o777 == 0o600
    key = device.key
    device.stop()
    device.start()
    assert device.key == key and device.api.get("/v2/version").status == 200


def test_version_and_unknown_paths(device):
    r = device.api.get("/v2/version")
    assert r.json()["status"] == "success" and VERSION.match(r.json()["version"])
    assert r.headers["Content-Type"] == "application/json; charset=utf-8"
    assert device.api.get("/V2/Version/").status == 200  # in any case, with a slash or without
    assert device.api.get("/nope").status == 404
    assert device.api.post("/v2/version").status == 404
    head = device.api.call("HEAD", "/v2/version")
    assert (head.status, head.body) == (200, b"")


def test_a_service_sees_its_own_app_and_may_use_its_key_from_inside(device, engine):
    env = env_of(engine.container(1, "main"))
    for prefix in ("BALENA_", "RESIN_"):
        assert env[prefix + "SUPERVISOR_ADDRESS"] == "http://127.0.0.1:48484"
        assert (env[prefix + "SUPERVISOR_HOST"], env[prefix + "SUPERVISOR_PORT"]) == ("127.0.0.1", "48484")
        assert env[prefix + "SUPERVISOR_API_KEY"] == device.service_key != device.key
    assert "BALENA_SUPERVISOR_API_KEY" not in env_of(engine.container(2, "other"))
    code, out = engine.exec(engine.container(1, "main")["Id"], "sh", "-c",
                            'busybox wget -q -O - "$BALENA_SUPERVISOR_ADDRESS/v2/version?apikey=$BALENA_SUPERVISOR_API_KEY"')
    assert code == 0 and '"status":"success"' in out
    key = device.service_key
    assert list(device.api.json("/v2/applications/state", key=key)) == ["one"]
    assert {c["appId"] for c in device.api.json("/v2/state/status?apps=all", key=key)["containers"]} == {1}
    device.hold(1, "main")
    device.hold(2, "other")
    device.wait("lock_seen", app=2)
    assert {x["appId"] for x in device.api.json("/v2/locks", key=key)["locks"]} == {1}
    assert {x["appId"] for x in device.api.json("/v2/locks")["locks"]} == {1, 2}
    assert device.api.post("/v2/plan", {"apps": {}}, key=key).status in (401, 403)


def test_the_state_of_applications(device):
    state = device.api.json("/v2/applications/state")
    assert list(state) == ["one", "two"]
    one = state["one"]
    assert (one["appId"], one["appUuid"], one["commit"], one["updateStatus"]) == (1, uuid_of(1), "r1", "done")
    assert one["services"]["main"]["status"] == "Running" and one["services"]["main"]["downloadProgress"] is None
    assert one["services"]["main"]["releaseId"] == 1000


def test_the_status_of_the_device(device, engine):
    status = device.api.json("/v2/state/status")
    assert (status["status"], status["appState"], status["release"]) == ("success", "applied", "r1")
    assert status["overallDownloadProgress"] is None
    [c] = status["containers"]  # the lowest app only, as the reference
    assert (c["status"], c["serviceName"], c["appId"], c["imageId"], c["serviceId"]) == ("Running", "main", 1, 100, 10)
    assert c["containerId"] == engine.container(1, "main")["Id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", c["createdAt"])
    assert [i["imageId"] for i in status["images"]] == [100]


def test_update_answers_before_it_is_done_and_says_which_number_to_wait_for(device, lab):
    before = device.api.json("/v2/plan")
    assert before["seq"] == before["settledSeq"] and before["steps"] == before["waits"] == []
    r = device.api.post("/v1/update")
    assert (r.status, r.body) == (204, b"")
    assert int(r.headers["X-Lockkeeper-Seq"]) > before["seq"]
    assert device.cli("update", "--wait").code == 0
    after = device.api.json("/v2/plan")
    assert after["settledSeq"] == after["seq"] > before["seq"]


@pytest.mark.parametrize("body,content_type", [
    ('{"force": true}', "application/json"), ('{"force": "on"}', "application/json"), ('{"force": 1}', "application/json"),
    ("force=true", "application/x-www-form-urlencoded"), ('{"force": "TRUE"}', "application/x-www-form-urlencoded")])
def test_force_is_understood_in_every_form_it_is_sent_in(lab, body, content_type):
    images = [lab.image(1), lab.image(2)]
    s = lab.run(document(app(1, "r1", {"main": service(images[0])})), 1, "r1")
    s.hold(1, "main")
    lab.write(document(app(1, "r2", {"main": service(images[1])})))
    s.wait("update_blocked")
    assert s.api.call("POST", "/v1/update", body, headers={"Content-Type": content_type}).status == 204
    s.settled(1, "r2")


def test_a_force_that_is_false_forces_nothing(lab):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    s.hold(1, "main")
    lab.write(document(app(1, "r2", {"main": service(lab.image(2))})))
    s.wait("update_blocked")
    for value in (False, "false", 0, "0", None, "yes", [], {}):
        assert s.api.post("/v1/update", {"force": value}).status == 204
    assert s.cli("update", "--wait").code == 75
    assert s.events("lock_overridden") == []


def test_broken_and_oversized_bodies_are_told(device):
    def status(body, **headers):
        r = device.api.call("POST", "/v1/update", body, headers={"Content-Type": "application/json", **headers})
        return r.status
    assert status('{"force": tru') == 400
    assert status('"x"') == 400
    assert status("") == 204
    assert status("{}", **{"Content-Encoding": "brotli"}) == 415
    assert device.api.call("POST", "/v1/update", '{"x": "' + "y" * (11 << 20) + '"}',
                           headers={"Content-Type": "application/json"}).status == 413
    assert device.api.get("/ping").status == 200


def test_a_plan_for_another_document_tells_what_would_be_done_and_does_nothing(device, engine, lab):
    before = engine.services(1)
    new = document(app(1, "r2", {"main": service("lk/none:2", id=10, image_id=100, network_mode="host")}, name="one"))
    r = device.api.post("/v2/plan", new)
    assert r.status == 200
    steps = [(x["kind"], x.get("appId")) for x in r.json()["steps"]]
    assert ("pull", 1) in steps
    assert all(x["reason"] and x["inFlight"] is False for x in r.json()["steps"])
    assert device.api.post("/v2/plan", {"apps": {"x": {"name": 5}}}).status == 400
    assert "apps.x.name" in device.api.post("/v2/plan", {"apps": {"x": {"name": 5}}}).text
    assert engine.services(1) == before and device.api.json("/v2/plan")["steps"] == []


def test_a_plan_names_the_fields_that_differ(device, engine, lab):
    c = engine.container(1, "main")
    new = document(app(1, "r1", {"main": service(c["Config"]["Image"], id=10, image_id=100, network_mode="host",
                                                 env={"HZ": "99"}, labels={"io.balena.features.supervisor-api": "1"})},
                       name="one", release_id=1000))
    steps = device.api.post("/v2/plan", new).json()["steps"]
    changes = [c for x in steps for c in x.get("changes", [])]
    assert any("HZ" in str(c) or "env" in c["field"].lower() for c in changes), steps
    assert device.service_key not in str(steps)


def raw(address, data):
    with socket.create_connection(address, timeout=30) as c:
        c.sendall(data)
        c.shutdown(socket.SHUT_WR)
        out = b""
        while (more := c.recv(65536)):
            out += more
    return out


@pytest.mark.parametrize("data", [
    b"\x00\xff\xfe\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /ping\r\n\r\n", b"POST /v1/update HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nX: " + b"y" * 70000 + b"\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n"])
def test_a_malformed_request_gets_an_error_and_harms_nobody(device, data):
    out = raw(("127.0.0.1", 48484), data)
    assert out == b"" or out.split(b" ")[1][:1] == b"4", out
    assert device.api.get("/ping").status == 200


def test_pipelined_requests_are_answered_in_order(device):
    out = raw(("127.0.0.1", 48484), b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 3 +
              b"GET /nope HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert [int(x.split(b" ")[0]) for x in out.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 401]


def test_a_service_key_ends_with_its_app(device, lab, engine):
    assert device.api.get("/v2/version", key=device.service_key).status == 200
    lab.apply(device, document(app(2, "r1", {"other": service(engine.container(2, "other")["Config"]["Image"], id=20, image_id=200)},
                               name="two", release_id=2000)))
    assert device.api.get("/v2/version", key=device.service_key).status == 401
