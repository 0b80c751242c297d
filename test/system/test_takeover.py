"""The host swaps the supervisor for another build: what runs goes on, what waits goes on waiting, and nothing is forgotten."""
import json
import os
import signal
import subprocess

import pytest

import sandbox
import supervisor
from lock_app import until
from story import env_of, give_back, kept, take, touched
from target import app, document, service

API = {"io.balena.features.supervisor-api": "1"}


def release(lab, v, **more):
    image = lab.image(v)
    return document(app(1, f"r{v}", {"main": service(image, **more), "side": service(image, network_mode=None, labels=API)}))


@pytest.fixture
def one(lab, engine):
    """Two services: one that locks, one with everything that we make up ourselves (key, network) in it."""
    return lab.run(release(lab, 1), 1, "r1")


def running(engine):
    """{service: (container, StartedAt)}"""
    return {n: (i, engine.get(f"/containers/{i}/json")["State"]["StartedAt"]) for n, (i, _) in engine.services(1).items()}


def end(s, how):
    if how == "stop":
        s.stop()
    else:
        s.process.send_signal(how)
        s.ends()


ENDS = pytest.mark.parametrize("how", ["stop", signal.SIGKILL, signal.SIGABRT], ids=["stopped", "killed", "crashed"])


@ENDS
def test_the_new_one_touches_nothing_that_runs(one, engine, how):
    before, key = running(engine), one.key
    events = engine.events()
    end(one, how)
    one.start()
    one.settled(1, "r1")
    assert one.cli("update", "--wait").code == 0
    assert running(engine) == before and touched(events) == [] and one.events("step_started") == []
    assert one.key == key
    events.close()


def wait_of(s, api="/v2/plan"):
    return [w for w in s.api.json(api)["waits" if api == "/v2/plan" else "waiting"]
            if w.get("kind", "locked") == "locked"]


@ENDS
def test_a_held_wait_is_there_again_with_its_first_moment_and_its_lock_is_honoured(lab, one, engine, how):
    main = engine.services(1)["main"][0]
    before = running(engine)
    assert take(engine, main)
    lab.write(release(lab, 2))
    blocked = one.wait("update_blocked")
    first, = wait_of(one)
    until(lambda: kept(one, "ledger")["waits"], "the wait, on disk", one.state)  # a crash before that begins it anew
    events = engine.events()
    for _ in range(2):
        end(one, how)
        one.start()
        again = one.wait("update_blocked")
        assert (again["since"], again["path"]) == (blocked["since"], blocked["path"])
        row, = wait_of(one)
        assert row["since"] == first["since"]
        row, = wait_of(one, "/v2/locks")
        assert (row["since"], row["action"], row["serviceNames"]) == (first["since"], "update", ["main"])
        assert one.cli("update", "--wait").code == 75
        assert running(engine) == before and touched(events) == []
    give_back(engine, main)
    resumed = one.wait("update_resumed")
    assert resumed["blocked_ms"] > 0
    one.settled(1, "r2")
    assert {env_of(engine.container(1, n))["VERSION"] for n in ("main", "side")} == {"2"}
    events.close()


@ENDS
def test_a_lock_given_back_during_the_swap_is_waited_for_no_more(lab, one, engine, how):
    main = engine.services(1)["main"][0]
    assert take(engine, main)
    lab.write(release(lab, 2))
    one.wait("update_blocked")
    end(one, how)
    give_back(engine, main)
    one.start()
    one.settled(1, "r2")
    assert one.events("update_blocked") == []
    # And a lock taken later begins a wait of its own.
    main = engine.services(1)["main"][0]
    assert take(engine, main)
    lab.write(release(lab, 3))
    taken = one.wait("update_blocked")["since"]
    row, = wait_of(one)
    assert row["since"] >= taken
    give_back(engine, main)
    one.settled(1, "r3")


@ENDS
def test_a_lock_taken_during_the_swap_holds_back_what_was_not_begun(lab, one, engine, how):
    before = running(engine)
    main = engine.services(1)["main"][0]
    end(one, how)
    assert take(engine, main)
    lab.write(release(lab, 2))
    one.start()
    one.wait("update_blocked", service="main")
    assert running(engine) == before
    give_back(engine, main)
    one.settled(1, "r2")


def test_the_new_one_ends_the_update_that_the_old_one_began(lab, one, engine):
    """Killed while the stop it asked for is under way: the container needs three seconds for that."""
    lab.apply(one, release(lab, 2, mode="slow"))
    side = running(engine)["side"]
    events = engine.events()
    lab.write(document(app(1, "r3", {"main": service(lab.image(3)), "side": service(lab.image(2), network_mode=None,
                                                                                   labels=API)})))
    events.wait_container("kill", "main")
    one.kill()
    one.start()
    one.settled(1, "r3")
    assert one.cli("update", "--wait").code == 0
    assert env_of(engine.container(1, "main"))["VERSION"] == "3"
    assert running(engine)["side"] == side and one.locks_on_disk() == {}
    assert [a for a, n in touched(events) if n == "side" and a != "rename"] == []  # a new release renames it
    assert [a for a, n in touched(events) if n == "main" and a in ("create", "destroy")] == ["destroy", "create"]
    events.close()


def test_force_asked_of_the_old_one_is_honoured_by_the_new_one(lab, one, engine):
    """A force that the old one had noted; its lock is broken once, by whoever runs then."""
    main = engine.services(1)["main"][0]
    assert take(engine, main)
    second = release(lab, 2)
    engine.freeze()  # so that nothing can come of it yet
    lab.at_end(engine.thaw)
    lab.write(second)
    one.wait("target_accepted", seq=lambda n: n and n > 1)
    assert one.cli("update", "--force").code == 0
    one.kill()
    engine.thaw()
    one.start()
    one.settled(1, "r2")
    assert env_of(engine.container(1, "main"))["VERSION"] == "2"


STATE = ["device", "keys", "ledger", "target"]


def test_an_older_one_keeps_what_a_newer_one_wrote_and_touches_nothing(one, engine):
    """The host goes back: every file is of a schema that this program does not know, with members that it does not."""
    before, key = running(engine), one.key
    one.stop()
    written = {}
    for name in STATE:
        path = f"{one.state}/{name}.json"
        with open(path) as f:
            content = json.load(f)
        assert content["schema"] == 1
        content.update(schema=2, later={"deep": [1, 2, 3]})
        written[name] = json.dumps(content)
        with open(path, "w") as f:
            f.write(written[name])
    events = engine.events()
    one.start()
    one.settled(1, "r1")
    assert one.cli("update", "--wait").code == 0
    told_of = one.events("store_newer")
    assert sorted(e["name"] for e in told_of) == STATE and {e["level"] for e in told_of} == {"warn"}
    assert one.events("store_corrupt") == []
    assert running(engine) == before and touched(events) == [] and one.key == key
    for name in STATE:
        with open(f"{one.state}/{name}.json.schema-2") as f:
            assert f.read() == written[name]
    assert one.cli("update", "--wait").code == 0
    one.stop()
    one.start()  # what it wrote itself since is its own again, and the newer content stays for the newer program
    one.settled(1, "r1")
    assert running(engine) == before and touched(events) == []
    with open(f"{one.state}/ledger.json.schema-2") as f:
        assert f.read() == written["ledger"]
    events.close()


def test_a_wait_and_an_unknown_member_of_a_newer_file_do_not_confuse_the_older_one(lab, one, engine):
    main = engine.services(1)["main"][0]
    assert take(engine, main)
    lab.write(release(lab, 2))
    one.wait("update_blocked")
    first, = wait_of(one)
    one.stop()
    path = f"{one.state}/ledger.json"
    with open(path) as f:
        content = json.load(f)
    content["schema"] = 3
    content["waits"] += [{"subject": "window 1", "since": 1, "until": 2}, {"since": "x"}, 7, None]
    content["removed"] = "of another type now"
    with open(path, "w") as f:
        json.dump(content, f)
    one.start()
    one.wait("update_blocked")
    row, = wait_of(one)
    assert row["since"] == first["since"]
    give_back(engine, main)
    one.settled(1, "r2")


def second(s, state=None, lock_root=None, prefix=()):
    argv = [*prefix, supervisor.BINARY, *s.argv]
    argv[argv.index("--state") + 1] = state or s.state
    argv[argv.index("--lock-root") + 1] = lock_root or s.lock_root
    return subprocess.run(argv, capture_output=True, text=True, timeout=sandbox.DEADLINE)


CONTAINER = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]


@pytest.mark.parametrize("prefix", [[], CONTAINER], ids=["side by side", "in another pid name space"])
@pytest.mark.parametrize("shared", ["state", "locks"])
def test_two_at_once_the_second_refuses_and_says_who_is_there(lab, one, engine, shared, prefix):
    """The host started the new one too early: it tries again in ten seconds, so waiting here would help nobody."""
    before = running(engine)
    other = f"{lab.dir}/other"
    os.mkdir(other)
    done = second(one, **({"lock_root": f"{other}/locks"} if shared == "state" else {"state": f"{other}/state"}), prefix=prefix)
    place = one.state if shared == "state" else one.lock_root
    assert done.returncode == 1 and "another supervisor" in done.stderr and place in done.stderr, done
    assert f"(pid {one.process.pid}" in done.stderr
    assert ("not a pid of here" in done.stderr) == bool(prefix)
    assert one.running and running(engine) == before and one.cli("health").code == 0
    one.stop()
    one.start()  # and what it refused to share is whole
    one.settled(1, "r1")
    assert running(engine) == before


def test_the_second_starts_at_once_when_the_first_has_gone(one, engine):
    before = running(engine)
    assert second(one).returncode == 1
    one.kill()
    one.start()
    one.settled(1, "r1")
    assert running(engine) == before


def test_the_holder_in_a_container_is_not_taken_for_a_process_of_the_host(lab, engine):
    lab.write(document())
    first = lab.supervisor(prefix=CONTAINER)
    done = second(first)
    assert done.returncode == 1
    assert "pid 1 of another container, or of the host: not a pid of here" in done.stderr, done.stderr
    # The program that the prefix started is its child: it is asked to end like the first process of a container.
    with open(f"/proc/{first.process.pid}/task/{first.process.pid}/children") as f:
        os.kill(int(f.read().split()[0]), signal.SIGTERM)
    assert first.ends()[0] == 0
