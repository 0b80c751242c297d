"""GET /v2/events: an update as it happens, told to everybody who follows, in order; and --watch, which stands on it."""
import json
import os
import subprocess

import pytest

import sandbox
from follower import Follower, connect, words
from lines import Lines
from story import env_of, in_order
from supervisor import BINARY
from target import app, document, service

ASKS = {"io.balena.features.supervisor-api": "1"}


@pytest.fixture
def two(lab):
    images = {v: lab.image(v) for v in (1, 2)}

    def release(v, **more):
        return document(app(1, f"r{v}", {n: service(images[v], **more) for n in ("db", "main")}))
    return release(1), release(2)


@pytest.fixture
def follow(lab):
    def start(s, **kw):
        f = Follower(s.api, **kw)
        lab.at_end(f.close)
        return f
    return start


def numbers_grow_by_one(events):
    assert [e.n for e in events] == list(range(events[0].n, events[0].n + len(events)))
    assert len({e.nonce for e in events}) == 1


def test_an_update_behind_a_lock_is_told_in_order(lab, two, follow):
    s = lab.run(two[0], 1, "r1")
    f = follow(s)
    path = s.hold(1, "main")
    seen = f.wait("lock", what="seen")
    assert (seen["appId"], seen["serviceName"], seen["path"]) == (1, "main", s.lock_path(1, "main"))
    assert (seen["owner"], seen["kind"], seen["uid"]) == ("application", "file", 0) and seen["since"] and seen["time"]
    lab.write(two[1])
    wait = f.wait("wait", what="began", kind="locked")
    assert wait["appId"] == 1 and wait["serviceNames"] == ["main"] and wait["detail"] and wait["since"]
    os.unlink(path)
    done = f.wait("app", what="settled")
    assert (done["appId"], done["release"]) == (1, "r2")

    events = f.events
    numbers_grow_by_one(events)
    told = words(events)
    for name in ("db", "main"):
        in_order(told, "lock:seen:main", "target:accepted", "wait:began:locked", "lock:gone:main", "wait:ended:locked",
                 f"lock:taken:{name}", f"step:started:stop:{name}", f"container:changed:{name}:exited",
                 f"step:done:stop:{name}", f"step:started:remove:{name}", f"container:gone:{name}",
                 f"step:started:create:{name}", f"container:changed:{name}:created", f"step:done:create:{name}",
                 f"step:started:start:{name}", f"container:changed:{name}:running", f"step:done:start:{name}",
                 f"lock:released:{name}", "app:settled")
    ended = next(e for e in events if e.type == "wait" and e["what"] == "ended" and e["kind"] == "locked")
    assert ended["serviceNames"] == ["main"] and ended["since"] == wait["since"]
    stop = next(e for e in events if e.type == "step" and e["what"] == "done" and e["kind"] == "stop")
    assert stop["reason"] and stop["tookMs"] >= 0


def test_a_pull_is_told_with_its_progress(lab, follow, images):
    ref = images.push("told:1", VERSION=1)
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    f = follow(s)
    lab.write(document(app(1, "r2", {"main": service(ref)})))
    f.wait("app", what="settled")
    in_order(words(f.events), "step:started:pull", "pull:progress:100", "step:done:pull")
    in_order(words(f.events), "wait:began:pulling", "wait:ended:pulling", "step:started:stop:main")  # the image is enough
    percents = [e["percent"] for e in f.events if e.type == "pull"]
    assert percents == sorted(percents) and all(e["image"] == ref for e in f.events if e.type == "pull")


def test_a_service_key_sees_its_own_app_only(lab, engine, follow):
    def both(v):
        return document(app(1, f"r{v}", {"main": service(lab.image(v), labels=ASKS)}),
                        app(2, f"r{v}", {"other": service(lab.image(v))}))
    s = lab.run(both(1), 1, "r1")
    s.settled(2, "r1")
    key = env_of(engine.container(1, "main"))["BALENA_SUPERVISOR_API_KEY"]
    everything, own = follow(s), follow(s, key=key)
    for number in (1, 2):
        s.hold(number, {1: "main", 2: "other"}[number])
        everything.wait("lock", what="seen", appId=number)
    lab.write(both(2))
    everything.wait("wait", what="began", kind="locked", appId=2)
    everything.wait("wait", what="began", kind="locked", appId=1)
    os.unlink(s.lock_path(2, "other"))
    everything.wait("app", what="settled", appId=2)
    os.unlink(s.lock_path(1, "main"))
    own.wait("app", what="settled", appId=1)
    last = everything.wait("app", what="settled", appId=1)
    mine = [e.id for e in everything.events if e["appId"] == 1 and e.n <= last.n]
    seen = [e for e in own.events if e.n <= last.n]
    assert {e["appId"] for e in seen} <= {1, None} and not any("other" in json.dumps(e.data) for e in seen)
    assert [e.id for e in seen if e["appId"] == 1] == mine
    assert all(e.type in ("wait", "target") for e in seen if e["appId"] is None)


def test_what_came_after_the_last_event_id_is_told_again_and_a_restart_is_a_reset(lab, two, follow):
    s = lab.run(two[0], 1, "r1")
    f = follow(s)
    s.hold(1, "main")
    seen = f.wait("lock", what="seen")
    f.close()
    os.unlink(s.lock_path(1, "main"))
    s.wait("lock_gone")
    s.hold(1, "db")
    s.wait("lock_seen", service="db")
    again = follow(s, last_id=seen.id)
    again.wait("lock", what="seen", serviceName="db")
    assert words(again.events)[:2] == ["lock:gone:main", "lock:seen:db"]
    numbers_grow_by_one([seen, *again.events])
    last = again.events[-1]

    s.stop()
    again.ends()
    s.start()
    anew = follow(s, last_id=last.id)
    reset = anew.wait("reset")
    assert anew.events[0].n == reset.n and reset.nonce != last.nonce
    os.unlink(s.lock_path(1, "db"))
    gone = anew.wait("lock", what="gone")
    numbers_grow_by_one([e for e in anew.events if e.n <= gone.n])


def test_a_hundred_follow_an_update_and_the_next_is_refused(lab, two, follow):
    s = lab.run(two[0], 1, "r1")
    everybody = [follow(s) for _ in range(100)]
    assert follow(s).status == 503
    assert s.api.get("/v2/version").status == 200  # others are served
    lab.write(two[1])
    last = everybody[0].wait("app", what="settled")
    first = everybody[0].events[0].n
    want = [e.id for e in everybody[0].events if e.n <= last.n]
    for f in everybody:
        f.wait("app", what="settled")
        assert [e.id for e in f.events if first <= e.n <= last.n] == want
    everybody[3].close()
    s.api.get("/ping")
    while (late := follow(s)).status == 503:  # until its going was noticed
        pass
    assert late.status == 200


def test_a_follower_that_never_reads_is_dropped_and_the_update_goes_on(lab, two, follow):
    s = lab.run(two[0], 1, "r1")
    deaf, good = follow(s, read=False), follow(s)
    for _ in range(1200):  # more than its socket, a piece and the ring take together
        mark = good.mark()
        path = s.hold(1, "main")
        good.wait("lock", since=mark, what="seen")
        os.unlink(path)
        good.wait("lock", since=mark, what="gone")
    lab.apply(s, two[1])
    good.wait("app", what="settled")
    numbers_grow_by_one(good.events)
    deaf.socket.settimeout(sandbox.DEADLINE)
    total = b""
    while part := deaf.socket.recv(1 << 16):
        total += part
    assert 0 < total.count(b"event: lock") < 2400 and b"event: app" not in total


class Watch:
    """`lockkeeper NAME --watch`, its lines read as they come."""

    def __init__(self, lab, s, name, *args):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BALENA_", "RESIN_"))}
        self.process = subprocess.Popen([BINARY, name, "--state", s.state, "--watch", *args], env=env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=sandbox.die_with_parent)
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        lab.at_end(self.end)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("listen", [None, ["127.0.0.1:48486"]])
def test_watching_locks_shows_one_appear_and_go(lab, two, listen):
    s = lab.run(two[0], 1, "r1", listen=listen)
    w = Watch(lab, s, "locks", "--json")
    assert json.loads(w.out.wait(lambda line: True))["locks"] == []
    path = s.hold(1, "main")
    [lock] = json.loads(w.out.wait(lambda line: json.loads(line)["locks"]))["locks"]
    assert (lock["serviceName"], lock["owner"]) == ("main", "application")
    mark = w.out.mark()
    os.unlink(path)
    assert json.loads(w.out.wait(lambda line: True, since=mark))["locks"] == []
    lines = [json.loads(line) for line in w.out.since()]
    assert [len(d["locks"]) for d in lines] == [0, 1, 0]


def test_watching_goes_on_after_a_restart_and_says_so_once(lab, two):
    s = lab.run(two[0], 1, "r1")
    w = Watch(lab, s, "locks", "--json")
    w.out.wait(lambda line: True)
    s.kill()
    w.err.wait(lambda line: "looking again" in line)
    s.hold(1, "main")
    s.start()
    [lock] = json.loads(w.out.wait(lambda line: json.loads(line)["locks"]))["locks"]
    assert lock["serviceName"] == "main"
    assert len(w.err.since()) == 1


def test_watching_status_and_plan_show_an_update_wait_and_settle(lab, two):
    s = lab.run(two[0], 1, "r1")
    status, plan = Watch(lab, s, "status"), Watch(lab, s, "plan", "--json")
    status.out.wait(lambda line: "main" in line)
    assert json.loads(plan.out.wait(lambda line: True))["waits"] == []
    path = s.hold(1, "main")
    lab.write(two[1])
    waiting = json.loads(plan.out.wait(lambda line: json.loads(line)["waits"]))
    assert [x["kind"] for x in waiting["waits"]] == ["locked"]
    status.out.wait(lambda line: "locked" in line)
    os.unlink(path)
    s.settled(1, "r2")
    plan.out.wait(lambda line: json.loads(line)["settledSeq"] == waiting["seq"])
    assert status.process.poll() is None and plan.process.poll() is None


def test_watching_ends_when_nobody_reads_it_any_more_and_nothing_happens(lab, two):
    s = lab.run(two[0], 1, "r1")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BALENA_", "RESIN_"))}
    r, w = os.pipe()
    p = subprocess.Popen([BINARY, "locks", "--state", s.state, "--watch", "--json"], env=env, stdout=w,
                         stdin=subprocess.DEVNULL, preexec_fn=sandbox.die_with_parent)
    os.close(w)
    assert b"locks" in os.read(r, 65536)
    os.close(r)
    assert p.wait(sandbox.DEADLINE) == 0


def test_a_screen_is_drawn_anew_without_asking_the_supervisor(lab, two):
    s = lab.run(two[0], 1, "r1", log_level="debug")
    s.hold(1, "main")
    s.wait("lock_seen")
    mark = s.mark()
    screen, terminal = os.openpty()
    env = {**os.environ, "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    p = subprocess.Popen([BINARY, "locks", "--state", s.state, "--watch"], env=env, stdin=subprocess.DEVNULL,
                         stdout=terminal, preexec_fn=sandbox.die_with_parent)
    os.close(terminal)
    seen = b""
    while seen.count(b"\033[2J") < 4:
        seen += os.read(screen, 65536)
    assert seen.count(b"updates.lock") >= 3
    asked = [e["path"] for e in s.events("api_request", since=mark)]
    assert sorted(asked) == ["/v2/events", "/v2/locks"]
    os.close(screen)
    assert p.wait(sandbox.DEADLINE) == 0


def test_watching_a_file_is_bad_usage(lab):
    done = subprocess.run([BINARY, "plan", "--watch", "x.json"], capture_output=True, text=True)
    assert done.returncode == 2 and "--watch" in done.stderr


def test_followers_do_not_hold_up_the_end(lab, two, follow):
    s = lab.run(two[0], 1, "r1")
    followers = [follow(s) for _ in range(5)]
    half = connect(s.api.address)  # has asked for half of it
    half.sendall(b"GET /v2/events HTTP/1.1\r\nAuth")
    s.stop()
    for f in followers:
        f.ends()
    half.close()
