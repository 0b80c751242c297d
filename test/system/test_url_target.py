"""Any web server is a fleet's backend: polled politely, and never believed more than a file."""
import json

import pytest

from story import env_of, touched
from target import app, document, service
from web_server import WebServer, make_certificate


def release(image, v):
    return json.dumps(document(app(1, f"r{v}", {"main": service(image)})))


@pytest.fixture
def served(lab, web):
    """A supervisor that runs release 1 of a web server's document."""
    lab.released = [lab.image(1), lab.image(2)]
    web.serve(release(lab.released[0], 1))
    s = lab.supervisor(target=web.url, args=["--poll-interval", "1"])
    s.settled(1, "r1")
    return s


def test_a_document_from_a_web_server_runs_and_the_next_one_follows_when_asked(lab, engine, web, served):
    web.serve(release(lab.released[1], 2))
    assert served.cli("update", "--wait").code == 0
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"


def test_the_etag_is_sent_back_and_an_unchanged_document_changes_nothing(lab, engine, web, served):
    assert "if-none-match" not in web.requests[0].headers
    events = engine.events()
    seen = len(web.requests)
    assert served.cli("update", "--wait").code == 0
    request = web.wait_requests(seen + 1)
    assert request.headers["if-none-match"] == web.etag
    assert touched(events) == []
    events.close()


def test_the_connection_is_kept(web, served):
    for _ in range(3):
        assert served.cli("update", "--wait").code == 0
    assert len({r.connection for r in web.requests}) == 1


def test_what_a_url_carries_beyond_its_server_is_never_told(lab, web):
    web.serve(release(lab.image(1), 1))
    target = web.url.replace("://", "://user:hunter2@") + "?token=hunter3#hunter4"
    s = lab.supervisor(target=target, args=["--poll-interval", "1"], log_level="debug")
    s.settled(1, "r1")
    assert s.events("started")[0]["target"] == f"http://127.0.0.1:{web.port}"
    mark = s.mark()
    web.faults = ["status 500", "close", "close"]
    s.cli("update")
    s.wait("target_rejected", since=mark)
    told = [s.report(), s.cli("status").out, s.cli("status", "--json").out, s.cli("plan", "--json").out]
    for secret in ("hunter2", "hunter3", "hunter4", "user:"):
        assert not any(secret in text for text in told), secret


def test_it_polls_by_itself(web, served):
    web.wait_requests(len(web.requests) + 1, timeout=75)  # the interval of 1 s and up to 60 s of jitter


FAULTS = ["status 500", "status 503", "status 404", "status 401", "status 429 Retry-After: 1", "garbage", "close",
          "half", f"huge {5 << 20}"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves_changes_nothing_and_is_asked_again(lab, engine, web, served, fault):
    before, events, mark = engine.services(1), engine.events(), served.mark()
    web.serve(release(lab.released[1], 2))
    seen = len(web.requests)
    # Twice: a client may try once more by itself on a kept connection that went away.
    web.faults = [fault, fault]
    served.cli("update")
    web.wait_requests(seen + 1)
    served.wait("target_rejected", since=mark)
    assert served.api.json("/v2/plan")["targetProblem"]
    assert served.api.get("/v1/healthy").status == 200
    assert engine.services(1) == before and touched(events) == []
    served.settled(1, "r2", since=mark)  # by itself: the backoff is capped by the interval of one second
    assert "targetProblem" not in served.api.json("/v2/plan")
    events.close()


def test_not_modified_to_a_client_that_has_nothing_is_an_error(lab, engine, web):
    web.serve('{"apps": {}}')
    web.faults = ["not_modified"]
    s = lab.supervisor(target=web.url, args=["--poll-interval", "1"])
    s.wait("target_rejected")
    s.wait("target_accepted")


def test_a_server_that_hangs_in_the_middle_of_an_answer_holds_nothing_up(lab, engine, web, served):
    web.serve(release(lab.released[1], 2))
    seen = len(web.requests)
    web.faults = ["hang"]
    served.cli("update")
    web.wait_requests(seen + 1)
    for path in ("/ping", "/v2/state/status", "/v2/plan"):
        assert served.api.get(path).status == 200
    assert any(w["kind"] == "operation" for w in served.api.waits)  # it says that it is looking
    web.released.set()
    served.settled(1, "r2")


def test_the_supervisor_ends_at_once_while_a_server_hangs(web, served):
    seen = len(web.requests)
    web.faults = ["hang"]
    web.serve(web.body + b" ")
    served.cli("update")
    web.wait_requests(seen + 1)
    served.stop()


def test_a_broken_document_is_refused_and_its_etag_is_not_kept(lab, engine, web, served):
    before, mark = engine.services(1), served.mark()
    good_etag = web.etag
    web.faults = ["wrong_type"]  # a captive portal, say
    web.serve(web.body + b" ")
    served.cli("update")
    assert "byte 0" in served.wait("target_rejected", since=mark)["err"]
    mark = served.mark()
    web.serve('{"apps": {"x": {"name": 5}}}')
    served.cli("update")
    assert "apps.x" in served.wait("target_rejected", since=mark)["path"]
    seen = len(web.requests)
    served.cli("update")
    assert web.wait_requests(seen + 1).headers.get("if-none-match") in (good_etag, None)
    assert engine.services(1) == before


def test_the_stored_target_stands_while_the_server_is_away(lab, engine, web, served):
    before = engine.services(1)
    served.stop()
    web.close()
    served.start()
    served.wait("target_rejected")
    served.wait("engine_listed")
    assert engine.services(1) == before
    mark = served.mark()
    engine.remove(before["main"][0])
    served.settled(1, "r1", since=mark)


def test_a_redirect_is_followed(lab, engine, web, served):
    other = WebServer()
    other.serve(release(lab.released[1], 2))
    web.faults = [f"redirect {other.url}"]
    served.cli("update")
    served.settled(1, "r2")
    other.close()


def test_a_token_is_sent_when_a_file_names_one(lab, web):
    with open(f"{lab.dir}/token", "w") as f:
        f.write("s3cret\n")
    web.token = "s3cret"
    web.serve('{"apps": {}}')
    s = lab.supervisor(target=web.url, env={"LOCKKEEPER_TARGET_TOKEN_FILE": f"{lab.dir}/token"})
    s.wait("target_accepted")
    assert "s3cret" not in s.report()


def test_https_with_a_trusted_certificate_works_and_with_a_wrong_name_does_not(lab, engine):
    image = lab.image(1)
    for host, good in (("localhost", True), ("elsewhere.example", False)):
        certificate = make_certificate(lab.dir, host)
        server = WebServer(certificate)
        server.serve(release(image, 1))
        s = lab.supervisor(target=server.url, directory=f"{lab.dir}/{host}", env={"SSL_CERT_FILE": certificate[0]})
        if good:
            s.settled(1, "r1")
        else:
            assert "certificate" in s.wait("target_rejected")["err"].lower()
            assert server.requests == []
        s.stop()
        server.close()


def test_an_untrusted_certificate_is_refused(lab):
    server = WebServer(make_certificate(lab.dir, "localhost"))
    server.serve('{"apps": {}}')
    s = lab.supervisor(target=server.url)
    s.wait("target_rejected")
    assert server.requests == [] and s.events("target_accepted") == []
    server.close()


def test_https_is_never_left_for_plain_http(lab, web):
    certificate = make_certificate(lab.dir, "localhost")
    server = WebServer(certificate)
    server.faults = [f"redirect {web.url}"]
    web.serve('{"apps": {}}')
    s = lab.supervisor(target=server.url, env={"SSL_CERT_FILE": certificate[0]})
    s.wait("target_rejected")
    assert web.requests == []
    server.close()
