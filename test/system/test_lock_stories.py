"""What an application may rely on, told by the application itself: it is never stopped while it holds its lock, and
once we are about to stop it, it never gets its lock again; whatever happens to the supervisor meanwhile.

The application is support/lock_app.c; its record lives in a volume and outlasts every container."""
import signal

import pytest

from lock_app import VOLUME, Record
from story import take
from target import app, document, service

CYCLES, UPDATES = 100_000, 30
OURS = "lockkeeper-supervisor 1 "


def ours(s):
    return sorted(path for path, text in s.locks_on_disk().items() if text.startswith(OURS))


def cycles(records):
    """All of them so far; none of them was stopped with its lock in hand."""
    counts = {n: r.counts for n, r in records.items()}
    assert all(c["term_held"] == 0 for c in counts.values()), counts
    return sum(c["cycles"] for c in counts.values())


@pytest.mark.slow
def test_no_signal_reaches_a_service_in_10_to_the_5_cycles_of_its_lock_while_one_update_follows_the_other(lab, engine):
    """
    Two services, so that all or none matters. Each counts its cycles and what it held when it was told to stop.

    It can fail: with a build that began its stops without having taken the locks it did, within the first five updates.
    That every incarnation was signalled exactly once, free, is counted as well, so it cannot pass by never being asked to
    stop, nor by being killed unheard.
    """
    image, names = lab.image(1), ("a", "b")

    def release(v):
        services = {n: service(image, mode="cycles", env=Record.env(n, v), **VOLUME) for n in names}
        return document(app(1, f"r{v}", services, volumes={"record": {}}))
    s = lab.run(release(1), 1, "r1")
    records = {n: Record(engine, 1, n) for n in names}
    version, done = 1, 0
    while done < CYCLES:
        # Not before both got to work: else most of an incarnation's life would be its start.
        for n, r in records.items():
            r.wait(f"{version} up")
        records["a"].until(lambda: cycles(records) >= done + CYCLES // UPDATES, "the next cycles")
        done, version = cycles(records), version + 1
        mark = s.mark()
        lab.write(release(version))
        s.settled(1, f"r{version}", since=mark)
    assert s.events("lock_overridden") == []
    stops = 0
    for n, r in records.items():
        counts = r.counts
        assert counts["term_held"] == 0, (n, counts, r.lines())
        assert counts["term_free"] == version - 1, (n, counts)
        for v in range(1, version):
            assert r.lines(v) == ["up", "term free"], (n, v)
        stops += counts["term_free"]
        assert counts["cycles"] > 1000, counts
    assert stops == 2 * (version - 1)
    # Ours go as soon as the last update has settled; the application's come and go.
    assert ours(s) == []


class Stubborn:
    """A service that hears SIGTERM, goes on for its five seconds, and wants its lock all the while."""

    def __init__(self, lab, engine):
        self.lab, self.engine, self.image = lab, engine, lab.image(1)
        self.s = lab.run(self.release(1), 1, "r1")
        self.record = Record(engine, 1, "main")
        self.record.wait("1 up")  # a signal before its first line would end it at once
        self.container = engine.container(1, "main")["Id"]
        self.events = engine.events()
        lab.at_end(self.events.close)

    def release(self, v):
        env = Record.env("main", v)
        main = service(self.image, mode="stubborn", env=env, stop_grace_period="5s", **VOLUME)
        return document(app(1, f"r{v}", {"main": main, "other": service(self.image, env={"GENERATION": str(v)})},
                            volumes={"record": {}}))

    def told(self):
        """The update begins, and goes on until the application was told to stop and has tried for its lock."""
        self.lab.write(self.release(2))
        self.record.wait("1 told")
        self.record.wait("1 still 1")
        assert self.alive and self.record.counts["tries"] > 100

    @property
    def alive(self):
        r = self.engine.call("GET", f"/containers/{self.container}/json", ok=(200, 404))
        return r.status == 200 and r.json()["State"]["Running"]

    def dies(self):
        """The engine's doing, at the end of its time: it was not talked into it."""
        died = self.events.wait(lambda e: e["Type"] == "container" and e["Action"] == "die" and
                                e["Actor"]["ID"] == self.container, what="the end of the first container")
        assert died["Actor"]["Attributes"]["exitCode"] == "137"

    def check(self, release):
        """It lived to the end, never had its lock, and all is as wanted with no lock of ours left."""
        s = self.s
        self.dies()
        s.settled(1, release)
        assert s.cli("update", "--wait").code == 0
        said = self.record.lines(1)
        assert said[:3] == ["up", "told", "still 1"] and "still 4" in said, said
        assert [x for x in said if x.startswith("TOOK")] == [] and self.record.counts["taken"] == 0
        services = self.engine.services(1)
        assert {n: state for n, (_, state) in services.items()} == {"main": "running", "other": "running"}
        assert services["main"][0] != self.container
        assert s.locks_on_disk() == {}
        assert take(self.engine, services["main"][0])  # and now it may


@pytest.fixture
def stubborn(lab, engine):
    """
    That the stories with it can fail: with a build that gave back its locks while a stop was at work in the engine, all
    of them did, as the application, which tries thousands of times a second, said TOOK.
    """
    return Stubborn(lab, engine)


def test_a_service_that_ignores_the_stop_never_gets_its_lock_although_the_update_is_cancelled(stubborn):
    stubborn.told()
    done = stubborn.s.cli("update", "--cancel")
    assert done.code == 0, done
    assert stubborn.alive and ours(stubborn.s) != []
    stubborn.check("r2")


def test_nor_although_another_target_comes_in_between(stubborn):
    stubborn.told()
    mark = stubborn.s.mark()
    stubborn.lab.write(stubborn.release(3))
    stubborn.s.wait("target_accepted", since=mark)
    assert stubborn.alive and ours(stubborn.s) != []
    stubborn.check("r3")


def test_nor_although_the_target_goes_back_to_what_is_being_stopped(stubborn):
    stubborn.told()
    mark = stubborn.s.mark()
    stubborn.lab.write(stubborn.release(1))
    stubborn.s.wait("target_accepted", since=mark)
    assert stubborn.alive and ours(stubborn.s) != []
    stubborn.dies()
    said = stubborn.record.lines(1)
    assert [x for x in said if x.startswith("TOOK")] == [] and stubborn.record.counts["taken"] == 0
    stubborn.record.wait("1 up")
    stubborn.s.settled(1, "r1", since=mark)
    assert stubborn.s.locks_on_disk() == {}
    assert [state for _, state in stubborn.engine.services(1).values()] == ["running", "running"]


def test_nor_although_an_app_is_taken_out_of_the_target(stubborn):
    stubborn.told()
    stubborn.lab.write({"apps": {}})
    stubborn.dies()
    said = stubborn.record.lines(1)
    assert "still 4" in said and [x for x in said if x.startswith("TOOK")] == []
    assert stubborn.s.cli("update", "--wait").code == 0
    assert stubborn.engine.containers() == [] and stubborn.s.locks_on_disk() == {}


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_nor_although_the_supervisor_ends_and_another_begins_at_once(stubborn, end):
    stubborn.told()
    s = stubborn.s
    if end == "SIGTERM":
        s.stop(signal.SIGTERM)
    else:
        s.kill()
    assert stubborn.alive and ours(s) != []  # left behind on purpose
    s.start()
    stubborn.check("r2")


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_nor_although_the_supervisor_is_away_for_a_while(stubborn, end):
    """Until the application has lived for three of its five seconds, with nobody watching."""
    stubborn.told()
    s = stubborn.s
    if end == "SIGTERM":
        s.stop(signal.SIGTERM)
    else:
        s.kill()
    stubborn.record.wait("1 still 3")
    assert stubborn.alive and ours(s) != []
    s.start()
    stubborn.check("r2")


def test_nor_although_the_supervisor_is_away_until_it_is_dead(stubborn):
    stubborn.told()
    s = stubborn.s
    s.kill()
    stubborn.dies()
    assert ours(s) != []
    s.start()
    stubborn.check("r2")


def test_nor_although_the_supervisor_is_killed_again_and_again(stubborn):
    """Each run adopts what the one before it left, at whatever moment it was killed."""
    stubborn.told()
    s = stubborn.s
    for event in ("api_listening", "engine_listed", "api_listening", "engine_listed"):
        s.kill()
        assert stubborn.alive and ours(s) != []
        s.start(ready=False)
        s.wait(event)
    s.wait("api_listening")
    stubborn.check("r2")
