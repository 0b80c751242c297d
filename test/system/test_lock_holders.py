"""
Who holds a lock (update-locks.md 6), found out about real processes in real containers, whose pids are not those of the host;
and what is not known is not guessed.
"""
import os
import signal
import time

import pytest

import sandbox
import tools_image
from lines import Lines
from story import LOCK, give_back, take
from target import app, document, service

UNKNOWN = {"pid": None, "command": None, "containerId": None, "reason": None, "stale": None}


class Holder:
    """A program in a container that takes the lock, says "taken" and its pid there, and stays until it is told to go."""

    def __init__(self, lab, engine, container, *argv):
        self.process = engine.spawn(container, *argv)
        lab.at_end(self._end)
        self.out = Lines(self.process.stdout)
        self.pid = int(self.out.wait(lambda line: line.startswith("taken "), what="'taken' of the tool").split()[1])

    def go(self):
        self.process.stdin.close()
        self.process.wait(sandbox.DEADLINE)

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def sh(script):
    return ["sh", "-c", f"set -C; {script}"]


def python(lock):
    return ["python3", "-c", f"import os, sys\nfrom lockfile.{lock.split('(')[0].lower()} import *\n"
            f"{lock}.acquire(timeout=0)\nprint('taken', os.getpid(), flush=True)\nsys.stdin.readline()"]


# (how, what the holder is called): None where nothing tells.
TOOLS = {
    "shell set -C": (sh(f": > {LOCK}; echo taken $$; read _"), None),
    "a directory": (sh(f"mkdir {LOCK}; echo taken $$; read _"), None),
    "a dangling link": (sh(f"ln -s nowhere {LOCK}; echo taken $$; read _"), None),
    "a file kept open": (sh(f"exec 3> {LOCK}; echo taken $$; read _"), "sh"),
    "its pid in the file": (sh(f"echo $$ > {LOCK}; echo taken $$; read _"), "sh"),
    "flock": (["flock", "-n", LOCK, "sh", "-c", "echo taken $PPID; read _"], "flock"),
    "lockfile-create": (sh(f"lockfile-create --retry 0 --lock-name {LOCK} && echo taken $$; read _"), None),
    "lockfile-create --use-pid": (sh(f"lockfile-create --use-pid --retry 0 --lock-name {LOCK} && echo taken $$; read _"), "sh"),
    "dotlockfile -p": (sh(f"dotlockfile -l -p -r 0 {LOCK} && echo taken $$; read _"), "sh"),
    "Python LinkLockFile": (python('LinkLockFile("/tmp/balena/updates")'), None),
    "Python PIDLockFile": (python(f'PIDLockFile("{LOCK}")'), "python"),
    "update-lock by hand": (sh(f"printf 'update-lock 1 %s\\ncounting sheep\\n' $$ > {LOCK}; echo taken $$; read _"), "sh"),
}


@pytest.fixture(scope="session")
def tools(engine):
    return tools_image.make(engine)


def the_lock(s):
    [lock] = s.api.locks["locks"]
    return lock


def who(lock):
    return {k: lock[k] for k in UNKNOWN}


def until(s, fits):
    """The lock, asked for again and again until it is as it should be: a scan is good for a second."""
    end = time.monotonic() + sandbox.DEADLINE
    while not fits(lock := the_lock(s)):
        assert time.monotonic() < end, lock
    return lock


def pid_in_container(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("NSpid:")).split()[-1])


@pytest.mark.parametrize("name", TOOLS)
def test_the_process_that_took_the_lock_is_named_where_something_tells_it(lab, engine, tools, name):
    argv, command = TOOLS[name]
    s = lab.run(document(app(1, "r1", {"main": service(tools), "other": service(tools)})), 1, "r1")
    container = engine.container(1, "main")["Id"]
    holder = Holder(lab, engine, container, *argv)
    s.wait("lock_seen")
    lock = the_lock(s)
    assert (lock["serviceName"], lock["owner"], lock["uid"]) == ("main", "application", 0)
    if command is None:
        assert who(lock) == UNKNOWN
    else:
        assert lock["command"].startswith(command) and lock["containerId"] == container and lock["stale"] is False
        assert pid_in_container(lock["pid"]) == holder.pid != lock["pid"]
    assert lock["reason"] == ("counting sheep" if name == "update-lock by hand" else None)
    holder.go()


def test_a_blocked_update_says_whose_lock_it_is_in_the_log_and_on_the_command_line(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1])}))
    s = lab.run(release(1), 1, "r1")
    container = engine.container(1, "main")["Id"]
    holder = Holder(lab, engine, container, *sh(f"printf 'update-lock 1 %s\\ncounting sheep\\n' $$ > {LOCK}; "
                                                "echo taken $$; read _"))
    lab.write(release(2))
    blocked = s.wait("update_blocked")
    lock = the_lock(s)
    text = f"sh (pid {lock['pid']})"
    assert (blocked["holder"], blocked["container"], blocked["reason"], blocked["since"]) == (
        text, container[:12], "counting sheep", lock["since"])
    shown = s.cli("locks").out
    assert f"  sh ({lock['pid']})\n  {lock['path']}\n  reason: counting sheep\n" in shown
    mark = s.mark()
    give_back(engine, container)
    assert s.wait("lock_gone", since=mark)["holder"] == text
    s.settled(1, "r2", since=mark)
    assert len(s.events("update_blocked")) == 1 and len(s.events("update_resumed")) == 1
    holder.go()


def test_a_lock_that_force_breaks_is_told_with_its_holder(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1])}))
    s = lab.run(release(1), 1, "r1")
    Holder(lab, engine, engine.container(1, "main")["Id"], *sh(f"exec 3> {LOCK}; echo taken $$; read _"))
    lab.write(release(2))
    holder = s.wait("update_blocked")["holder"]
    assert s.api.post("/v1/update", {"force": True}).status == 204
    s.settled(1, "r2")
    assert s.wait("lock_overridden")["holder"] == holder


def test_a_lock_whose_process_is_dead_is_stale_and_counts_all_the_same(lab, engine):
    images = [lab.image(1), lab.image(2)]

    def release(v):
        return document(app(1, f"r{v}", {"main": service(images[v - 1])}))
    s = lab.run(release(1), 1, "r1")
    container = engine.container(1, "main")["Id"]
    holder = Holder(lab, engine, container, *sh(f"echo $$ > {LOCK}; echo taken $$; read _"))
    lab.write(release(2))
    assert s.wait("update_blocked")["holder"].startswith("sh (pid ")
    assert the_lock(s)["stale"] is False
    holder.go()
    assert who(until(s, lambda lock: lock["stale"])) == {**UNKNOWN, "stale": True}
    assert "  nobody (stale)\n" in s.cli("locks").out
    assert engine.services(1)["main"] == (container, "running") and s.events("update_resumed") == []


def test_the_pid_of_a_dead_process_is_not_taken_for_the_one_that_got_it_next(lab, engine):
    """A container starts again, and its first process has the pid that the last one wrote."""
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    about = engine.container(1, "main")
    assert engine.exec(about["Id"], "sh", "-c", f"echo 1 > {LOCK}")[0] == 0
    s.wait("lock_seen")
    assert the_lock(s)["pid"] == about["State"]["Pid"]
    events = engine.events()
    lab.at_end(events.close)
    os.kill(about["State"]["Pid"], signal.SIGKILL)  # not by the engine, which would leave it stopped
    events.wait_container("die", "main")
    events.wait_container("start", "main")
    assert who(until(s, lambda lock: lock["pid"] is None and lock["stale"])) == {**UNKNOWN, "stale": True}


def test_a_lock_of_a_service_that_does_not_run_is_stale(lab):
    s = lab.run(document(app(1, "r1", {"job": service(lab.image(1), mode="once", restart="no"),
                                       "main": service(lab.image(1))})), 1, "r1")
    s.hold(1, "job")
    assert until(s, lambda lock: lock["stale"])["serviceName"] == "job"


def test_what_is_no_file_says_nothing_and_nobody_waits_for_it(lab):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    path = s.lock_path(1, "main")
    for make in (lambda: os.mkfifo(path), lambda: os.mknod(path, 0o020666, os.makedev(1, 9))):
        mark = s.mark()
        make()
        s.wait("lock_seen", since=mark)
        lock = the_lock(s)
        assert (lock["kind"], who(lock)) == ("other", UNKNOWN)
        os.unlink(path)
        s.wait("lock_gone", since=mark)
    mark = s.mark()
    with open(f"{path}.new", "wb") as f:
        f.write(b"update-lock 1 0\nno \x1b[2J\xff holder\n" + b"x" * (8 << 20))
    os.rename(f"{path}.new", path)
    s.wait("lock_seen", since=mark)
    assert who(the_lock(s)) == {**UNKNOWN, "reason": "no \\x1b[2J\ufffd holder"}


def test_an_application_that_took_its_lock_again_is_a_new_holder(lab, engine):
    s = lab.run(document(app(1, "r1", {"main": service(lab.image(1))})), 1, "r1")
    container = engine.container(1, "main")["Id"]
    holder = Holder(lab, engine, container, *sh(f"exec 3> {LOCK}; echo taken $$; read _"))
    s.wait("lock_seen")
    assert the_lock(s)["command"] == "sh"
    mark = s.mark()
    give_back(engine, container)
    assert take(engine, container)
    s.wait("lock_seen", since=mark)
    assert who(the_lock(s)) == UNKNOWN  # what holds the old file does not hold this one
    holder.go()
