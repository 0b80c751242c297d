"""The command line: what it prints, and with what it exits."""
import json
import os
import re
import socket
import subprocess
import threading

import pytest

from supervisor import command
from target import app, document, service

CLIENTS = ("status", "locks", "plan", "update", "health")


def test_help_of_every_command():
    done = command("--help")
    assert done.code == 0
    for name in ("run", "check", *CLIENTS):
        assert name in done.out
        one = command(name, "--help")
        assert one.code == 0 and name in one.out


def test_version_tells_ours_and_the_one_we_report():
    done = command("--version")
    assert done.code == 0 and done.out.strip()
    assert "19.0.5+lockkeeper." in command("--version", "--verbose").out
    assert command("--version", "--verbose", "now").code == 2


def test_verbose_version_names_what_is_inside():
    first, *lines = command("--version", "--verbose").out.splitlines()
    assert first == command("--version").out.strip()
    inside = dict(line.split(": ", 1) for line in lines)
    assert list(inside) == ["libuv", "llhttp", "yajl", "libcurl", "OpenSSL", "zlib", "c-ares", "libc", "compiler"]
    for name in ("libuv", "llhttp", "yajl", "libcurl", "OpenSSL", "zlib"):
        assert re.match(r"[0-9]+\.[0-9]+\.[0-9]+", inside[name]), (name, inside)
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    assert inside["OpenSSL"] in openssl
    assert inside["libc"].split()[-1] == os.confstr("CS_GNU_LIBC_VERSION").split()[-1]
    if "small" in inside["libcurl"]:  # which security fixes it has stands in the version of the source package
        assert re.fullmatch(r"([0-9.]+) \(small, source \1-\S+\)", inside["libcurl"])
        assert re.match(r"[0-9]+\.", inside["c-ares"])
    else:
        assert inside["libcurl"].endswith(" (of the system)")


@pytest.mark.parametrize("argv", [[], ["fly"], ["run", "--fly"], ["status", "--fly"], ["update", "--wait", "now"], ["check"],
                                  ["run", "--target"], ["run", "--listen", "nowhere"], ["run", "--poll-interval", "soon"],
                                  ["run", "--log-level", "loud"], ["run", "--log-format", "xml"]])
def test_bad_usage_is_exit_code_2_and_a_sentence(argv, lab):
    done = command(*argv, *(["--target", lab.target] if argv[:1] == ["run"] and len(argv) > 2 else []))
    assert done.code == 2, done
    assert done.err.strip() and done.out == ""
    if len(argv) > 1:
        assert argv[1] in done.err or argv[-1] in done.err, done


def test_a_wrong_variable_is_named(lab):
    done = command("run", "--target", lab.target, env={"LOCKKEEPER_POLL_INTERVAL": "soon"})
    assert done.code == 2 and "LOCKKEEPER_POLL_INTERVAL" in done.err


@pytest.mark.parametrize("target", ["http://", "https://u:hunter2@/t", "ftp://h/t", "http://h:x/t", "."])
def test_a_target_that_can_never_work_is_bad_usage_before_anything_is_made(lab, target):
    args = ["run", "--state", f"{lab.dir}/state", "--lock-root", f"{lab.dir}/locks"]
    flag, variable = command(*args, "--target", target), command(*args, env={"LOCKKEEPER_TARGET": target})
    assert flag.code == variable.code == 2, (flag, variable)
    assert "--target" in flag.err and "LOCKKEEPER_TARGET" in variable.err
    assert "hunter2" not in flag.err + variable.err
    assert not os.path.exists(f"{lab.dir}/state") and not os.path.exists(f"{lab.dir}/locks")


def test_run_without_a_target_and_without_a_config_says_what_to_give(lab):
    done = command("run", "--state", f"{lab.dir}/state", "--config", f"{lab.dir}/none.json")
    assert done.code == 2 and "--target" in done.err


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_without_a_supervisor_is_exit_code_3(lab, name):
    for args in (["--api", f"unix:{lab.dir}/nobody.sock", "--key", "x"], ["--state", f"{lab.dir}/nothing"]):
        done = command(name, *args)
        assert done.code == 3, done
        assert done.err.strip()


@pytest.mark.slow
def test_update_wait_ends_half_a_minute_after_the_last_answer_also_when_each_question_takes_long(lab):
    """An API that takes every request and answers the first alone."""
    path = f"{lab.dir}/silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer_once():
            connection, _ = listener.accept()
            got = b""
            while b"}" not in got:
                got += connection.recv(4096)
            connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Lockkeeper-Seq: 7\r\n\r\n")
            return connection

        kept = []
        thread = threading.Thread(target=lambda: kept.append(answer_once()))
        thread.start()
        done = command("update", "--wait", "--api", f"unix:{path}", "--key", "x", timeout=120)
        thread.join()
    assert done.code == 3 and path in done.err, done


@pytest.fixture
def blocked(lab):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))}, name="one")), 1, "r1")
    s.hold(1, "main")
    lab.write(document(app(1, "r2", {"main": service(lab.image(2))}, name="one")))
    s.wait("update_blocked")
    return s


def test_status_tells_what_runs_and_what_is_waited_for(blocked):
    done = blocked.cli("status")
    assert done.code == 0
    for word in ("one", "main", "Running", "r2", "update lock of main"):
        assert word in done.out, done.out
    assert json.loads(blocked.cli("status", "--json").out)["status"] == "success"


def test_locks_tells_who_holds_what_and_who_waits(blocked):
    done = blocked.cli("locks")
    assert done.code == 0
    for word in ("main", "application", "updates.lock"):
        assert word in done.out, done.out
    body = json.loads(blocked.cli("locks", "--json").out)
    assert body["locks"][0]["serviceName"] == "main" and body["waiting"][0]["appId"] == 1


def test_plan_tells_why_and_also_for_a_file(blocked, lab):
    done = blocked.cli("plan")
    assert done.code == 0 and "locked" in done.out and "main" in done.out
    assert json.loads(blocked.cli("plan", "--json").out)["waits"][0]["kind"] == "locked"
    with open(f"{lab.dir}/empty.json", "w") as f:
        f.write('{"apps": {}}')
    done = blocked.cli("plan", f"{lab.dir}/empty.json")
    assert done.code == 0 and done.out.strip()
    with open(f"{lab.dir}/bad.json", "w") as f:
        f.write('{"apps": []}')
    done = blocked.cli("plan", f"{lab.dir}/bad.json")
    assert done.code == 1 and "apps" in done.err


def test_update_wait_says_when_a_lock_is_in_the_way_and_when_it_is_done(blocked):
    done = blocked.cli("update", "--wait")
    assert done.code == 75 and "main" in done.out + done.err
    os.unlink(blocked.lock_path(1, "main"))
    done = blocked.cli("update", "--wait")
    assert done.code == 0, done


def test_health_is_silent_and_its_code_is_the_answer(blocked):
    assert blocked.cli("health").code == 0


def test_a_wrong_key_is_told(blocked):
    done = command("status", "--api", blocked.listen[0], "--key", "0" * 32)
    assert done.code == 1 and "key" in done.err.lower()


def test_clients_find_the_api_by_flags_and_by_the_variables_of_a_service(lab):
    lab.write({"apps": {}})
    s = lab.supervisor(listen=["127.0.0.1:48485"])
    assert command("status", "--api", "http://127.0.0.1:48485", "--key", s.key).code == 0
    assert command("status", env={"BALENA_SUPERVISOR_ADDRESS": "http://127.0.0.1:48485",
                                  "BALENA_SUPERVISOR_API_KEY": s.key}).code == 0
    assert s.cli("status").code == 0
