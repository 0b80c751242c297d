"""Starting, refusing to start, and ending: with a sentence, an exit code, and nothing left behind."""
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from story import env_of, take
from supervisor import BINARY
from target import app, document, service


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_leaves_the_containers(lab, engine, sig):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    before = engine.services(1)
    s.stop(sig)
    assert engine.services(1) == before and s.locks_on_disk() == {}
    assert s.events()[-1]["event"] == "stopped"


def test_the_same_while_the_engine_is_frozen(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    engine.freeze()
    lab.at_end(engine.thaw)
    s.api.post("/v1/update")
    s.stop()


def test_a_stop_already_sent_keeps_its_lock_after_the_supervisor_ended(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], mode="slow")}))
    s = lab.run(release(1), 1, "r1")
    c = engine.container(1, "main")["Id"]
    events = engine.events()
    lab.write(release(2))
    events.wait_container("kill", "main")
    s.stop()
    assert engine.container(1, "main")["State"]["Running"]
    assert "1/main/updates.lock" in s.locks_on_disk() and not take(engine, c)
    s.start()
    s.settled(1, "r2")
    assert s.locks_on_disk() == {}
    events.close()


@pytest.mark.slow
def test_a_service_that_ignores_the_stop_is_guarded_by_our_lock_until_the_engine_killed_it(lab, engine):
    """The engine's ten seconds go on without us; nobody but the next supervisor gives the lock back."""
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1], mode="deaf" if v == 1 else "idle")}))
    s = lab.run(release(1), 1, "r1")
    c = engine.container(1, "main")["Id"]
    events = engine.events()
    lab.write(release(2))
    events.wait_container("kill", "main")
    s.stop()
    assert engine.container(1, "main")["State"]["Running"]
    for _ in range(3):
        assert not take(engine, c)
        with pytest.raises(FileExistsError):
            s.hold(1, "main")
    assert engine.wait_exit(c) == 137  # killed, not talked into it
    assert "term ignored" in engine.logs(c)
    assert "1/main/updates.lock" in s.locks_on_disk()
    s.start()
    s.settled(1, "r2")
    assert s.locks_on_disk() == {} and s.events("update_blocked") == []
    assert take(engine, engine.container(1, "main")["Id"])
    events.close()


def test_a_second_supervisor_on_the_same_state_or_locks_refuses_and_names_the_first(lab):
    lab.write({"apps": {}})
    first = lab.supervisor()
    for directory, lock_root in ((lab.dir, f"{lab.dir}/other-locks"), (f"{lab.dir}/other", first.lock_root)):
        second = lab.supervisor(start=False, directory=directory, listen=[f"unix:{lab.dir}/second.sock"],
                                lock_root=lock_root)
        code, err = second.start(ready=False).ends()
        said = err + json.dumps(second.events())
        assert code == 1 and str(first.process.pid) in said, said
    assert first.api.get("/ping").status == 200


def test_an_address_in_use_is_named(lab):
    lab.write({"apps": {}})
    with socket.create_server(("127.0.0.1", 48486)):
        s = lab.supervisor(listen=["127.0.0.1:48486"], start=False).start(ready=False)
        code, err = s.ends()
    assert code == 1 and "48486" in err
    [failed] = s.events("start_failed")  # who reads the log alone sees why, too
    assert failed["level"] == "error" and failed["err"] in err


def test_a_stale_socket_of_a_killed_supervisor_is_no_obstacle(lab):
    lab.write({"apps": {}})
    s = lab.supervisor()
    s.kill()
    s.start()
    assert s.api.get("/ping").status == 200


def test_a_state_directory_that_cannot_be_made_is_named(lab):
    lab.write({"apps": {}})
    with open(f"{lab.dir}/state", "w"):
        pass
    s = lab.supervisor(start=False)
    code, err = s.start(ready=False).ends()
    assert code == 1 and s.state in err


def test_a_lock_directory_that_others_could_have_made_is_refused(lab):
    lab.write({"apps": {}})
    os.mkdir(f"{lab.dir}/open", 0o777)
    os.chmod(f"{lab.dir}/open", 0o777)
    code, err = lab.supervisor(start=False, lock_root=f"{lab.dir}/open/locks").start(ready=False).ends()
    assert code == 1 and f"{lab.dir}/open" in err


def test_every_line_of_the_log_is_an_event_in_both_formats(lab, engine):
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor()
    s.settled(1, "r1")
    s.stop()
    assert s.err.since() == []
    for e in s.events():
        assert e["event"] and re.fullmatch("[a-z0-9_]+", e["event"]), e
        assert e["level"] in ("error", "warn", "info", "debug")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e["ts"])
    argv = [a if a != "json" else "text" for a in s.argv]
    with subprocess.Popen([BINARY, *argv], stdout=subprocess.PIPE, text=True) as p:
        lines = []
        for line in p.stdout:
            lines.append(line.rstrip("\n"))
            if " engine_listed " in line + " ":
                break
        p.terminate()
        lines += p.stdout.read().splitlines()
    value = r'(?:[^\s"=]+|"(?:[^"\\]|\\.)*")'
    for line in lines:
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z (error|warn|info|debug) [a-z0-9_]+( [a-z_]+={value})*",
                            line), line


def test_the_log_level_is_kept(lab):
    lab.write({"apps": {}})
    s = lab.supervisor(start=False, log_level="error")
    s.start(ready=False)
    while not os.path.exists(f"{s.state}/api-address"):
        assert s.running
    s.stop()
    assert s.events() == []


def test_secrets_are_never_logged(lab, engine):
    labels = {"io.balena.features.supervisor-api": "1"}
    lab.write(document(app(1, "r1", {"main": service(lab.image(1), network_mode="host", labels=labels,
                                                     env={"PASSWORD": "hunter2hunter2"})})))
    s = lab.supervisor(log_level="debug")
    s.settled(1, "r1")
    s.api.get(f"/v2/version?apikey={s.key}", key=None)
    key = env_of(engine.container(1, "main"))["BALENA_SUPERVISOR_API_KEY"]
    s.stop()
    for secret in (s.key, key, "hunter2hunter2"):
        assert secret not in s.report()


def test_it_answers_while_there_is_everything_to_do(lab, engine):
    """The API is up before the engine was asked anything."""
    os.unlink(lab.engine_socket)
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor()
    assert s.api.get("/ping").status == 200
    assert s.events("engine_back") == []
