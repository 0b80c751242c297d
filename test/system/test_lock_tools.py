"""
The tools with which applications take update locks (update-locks.md 7, clients.md 4): the real programs, from inside a
real container of a supervised service. What each was measured to do stands here beside what we do about it.
"""
import os
import signal
import stat
import time

import pytest

import sandbox
import tools_image
from lines import Lines
from story import LOCK, in_order, told, touched
from target import app, document, service

OLD_NAME = "/tmp/balena/resin-updates.lock"
OURS = {"1/main/updates.lock", "1/main/resin-updates.lock"}
# What tools and applications put beside the lock, at the time or long ago: no business of ours.
NEIGHBOURS = ["host-2a.7", "updates.lock.STALE", "updates.lock.lock", ".lk12345", "updates"]


class Tool:
    """
    A program that takes the lock, says "taken" and its pid, waits for a line, gives the lock back, and ends. `shape`:
    what exists while it holds; `refused`: exit code and word when somebody else does; `known`: the program that we can
    tell to hold it, which is that of the pid.
    """

    def __init__(self, argv, shape, refused, known=None, attempt=None, says=None, then=None):
        self.argv, self.shape, self.refused, self.known = argv, shape, refused, known
        self.attempt = attempt or argv
        self.says = says  # by itself, while it holds
        self.then = then  # after a first line, and then it wants a second one


def shell(take, give, shape, refused, **more):
    """refused: the exit code; such tools say it in their own words."""
    return Tool(["sh", "-c", f"{take} || exit $?; echo taken $$; read _; {give}"], shape, (refused, ""), **more)


def python(name, path, shape, **more):
    module = name.lower()
    return Tool(["python3", "-c", f"""
import os, sys
from lockfile.{module} import {name}
lock = {name}("{path}")
try:
    lock.acquire(timeout=0)
except Exception as e:
    print(type(e).__name__)
    sys.exit(9)
print("taken", os.getpid(), flush=True)
sys.stdin.readline()
lock.release()
"""], shape, (9, "AlreadyLocked"), **more)


def node(take, give, shape, refused, **more):
    return Tool(["node", "-e", f"""
const fs = require("fs")
let release
const taken = () => {{
	console.log("taken", process.pid)
	process.stdin.once("data", () => {{ {give}; process.stdin.destroy() }})
}}
const refuse = e => {{ console.log(e.code); process.exit(9) }}
{take}
"""], shape, (9, refused), **more)


PROPER = f"""
require("proper-lockfile").lock("/tmp/balena/updates", {{realpath: false, update: 1000}}).then(r => {{
	release = r
	fs.watch("{LOCK}", () => console.log("touched"))
	taken()
}}, refuse)"""
NPM = f'try {{ require("lockfile").lockSync("{LOCK}"); taken() }} catch (e) {{ refuse(e) }}'

TOOLS = {
    "shell set -C": shell(f"(set -C; : > {LOCK}) 2>/dev/null", f"rm {LOCK}", "empty file", 2),
    "shell mkdir": shell(f"mkdir {LOCK}", f"rmdir {LOCK}", "empty directory", 1),
    "procmail lockfile": shell(f"lockfile -r0 {LOCK}", f"rm -f {LOCK}", "file with 0", 73),
    "lockfile-create": shell(f"lockfile-create --retry 0 --lock-name {LOCK}", f"lockfile-remove --lock-name {LOCK}",
                             "file with 0", 4),
    "lockfile-create and lockfile-touch": shell(
        f"lockfile-create --retry 0 --lock-name {LOCK}",
        f"lockfile-touch --oneshot --lock-name {LOCK}; echo touched; read _; lockfile-remove --lock-name {LOCK}",
        "file with 0", 4, then="touched"),
    "lockfile-create --use-pid": shell(f"lockfile-create --use-pid --retry 0 --lock-name {LOCK}",
                                       f"lockfile-remove --lock-name {LOCK}", "file with its pid", 4, known="sh"),
    "lockfile-create, the name it makes itself": shell("lockfile-create --retry 0 /tmp/balena/updates",
                                                       "lockfile-remove /tmp/balena/updates", "file with 0", 4),
    "dotlockfile": shell(f"dotlockfile -l -r 0 {LOCK}", f"dotlockfile -u {LOCK}", "file with 0", 4),
    "dotlockfile -p": shell(f"dotlockfile -l -p -r 0 {LOCK}", f"dotlockfile -u {LOCK}", "file with its pid", 4,
                            known="sh"),
    # It lets go and leaves the file, and the file is the lock.
    "flock": Tool(["sh", "-c", f"flock -n {LOCK} sh -c 'echo taken $PPID; read _'; echo unlocked; read _; rm {LOCK}"],
                  "empty file", (0, ""), known="flock", attempt=["flock", "-n", LOCK, "true"], then="unlocked"),
    "Python LinkLockFile": python("LinkLockFile", "/tmp/balena/updates", "empty file of two names"),
    "Python MkdirLockFile": python("MkdirLockFile", "/tmp/balena/updates", "directory of 1"),
    "Python SymlinkLockFile": python("SymlinkLockFile", "/tmp/balena/updates", "dangling symlink"),
    "Python PIDLockFile": python("PIDLockFile", LOCK, "file with its pid", known="python3"),
    "npm lockfile": node(NPM, f'require("lockfile").unlockSync("{LOCK}")', "empty file", "EEXIST"),
    "npm proper-lockfile": node(PROPER, "release()", "empty directory", "ELOCKED", says="touched"),
    "update-lock": Tool(["update-lock", "--reason", "counting", "--", "sh", "-c", "echo taken $PPID; read _"],
                        "file with a reason", (75, ""), known="update-lock"),
    "update-lock --flock": Tool(["update-lock", "--flock", "--", "sh", "-c", "echo taken $PPID; read _"],
                                "file with update-lock", (75, ""), known="update-lock"),
}
KINDS = {"file": "file", "directory": "directory", "symlink": "symlink"}


def shape_of(path, pid):
    """What a lock is, in the words of TOOLS."""
    s = os.lstat(path)
    if stat.S_ISLNK(s.st_mode):
        return "symlink" if os.path.exists(path) else "dangling symlink"
    if stat.S_ISDIR(s.st_mode):
        return f"directory of {len(os.listdir(path))}" if os.listdir(path) else "empty directory"
    with open(path) as f:
        text = f.read().strip("\0\n ")
    lines = text.split("\n")
    if lines[0].startswith("update-lock 1 "):
        return "file with a reason" if lines[1:] == ["counting"] else "file with update-lock"
    what = "file with 0" if text == "0" else "file with its pid" if text == pid \
        else f"file with {text}" if text else "empty file"
    return f"{what} of two names" if s.st_nlink == 2 else what


def pids_of(pid):
    """What a process is called in each of its pid name spaces, from ours inwards."""
    with open(f"/proc/{pid}/status") as f:
        return next(line.split()[1:] for line in f if line.startswith("NSpid:"))


class Holder:
    """A tool at work inside a container; it holds the lock when this returns."""

    def __init__(self, lab, engine, container, argv):
        self.engine, self.container = engine, container
        self.process = engine.spawn(container, *argv)
        lab.at_end(self._end)
        self.out = Lines(self.process.stdout)
        self.pid = self.say("taken").split()[1]  # as the container counts

    def say(self, word, since=0):
        return self.out.wait(lambda line: line.split(" ")[0] == word, since, what=f"'{word}' of the tool")

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def signal(self, name):
        code, out = self.engine.exec(self.container, "kill", f"-{name}", self.pid)
        assert code == 0, out
        self.process.wait(30)

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()


@pytest.fixture(scope="session")
def tools(engine):
    return tools_image.make(engine)


@pytest.fixture
def release(tools):
    """Releases of two services that differ in a variable alone; `mode` and the rest as in target.service."""
    def make(v, **how):
        services = {n: service(tools, env={"GENERATION": str(v)}, **how) for n in ("main", "side")}
        return document(app(1, f"r{v}", services))
    return make


def beside(s):
    """What else is in the lock directory: {name: which file it is, and what it holds}."""
    found = {}
    for entry in os.scandir(os.path.dirname(s.lock_path(1, "main"))):
        if not entry.name.endswith("updates.lock"):
            with open(entry.path) as f:
                found[entry.name] = (entry.inode(), f.read())
    return found


def put_neighbours(engine, container):
    for name in NEIGHBOURS:
        assert engine.exec(container, "sh", "-c", f"echo {name} > /tmp/balena/{name}")[0] == 0


@pytest.mark.parametrize("name", TOOLS)
def test_the_lock_of_a_tool_holds_back_the_update_until_the_tool_gives_it_back(lab, engine, release, name):
    tool = TOOLS[name]
    s = lab.run(release(1), 1, "r1")
    before, events, mark = engine.services(1), engine.events(), s.mark()
    lab.at_end(events.close)
    if name not in ("lockfile-create, the name it makes itself",):
        put_neighbours(engine, before["main"][0])
    neighbours = beside(s)

    holder = Holder(lab, engine, before["main"][0], tool.argv)
    kind = next(k for k in KINDS if k in tool.shape.split())
    seen = s.wait("lock_seen", since=mark)
    assert (seen["app"], seen["service"], seen["kind"], seen["uid"]) == (1, "main", kind, 0)
    assert shape_of(s.lock_path(1, "main"), holder.pid) == tool.shape
    own = {k: v for k, v in beside(s).items() if k not in neighbours}
    assert bool(own) == (name == "Python LinkLockFile"), own  # alone among them it works with a second name

    lab.write(release(2))
    blocked = s.wait("update_blocked", since=mark)
    assert blocked["services"] == "main"
    [held] = s.api.locks["locks"]
    assert (held["command"], held["reason"]) == (tool.known, "counting" if name == "update-lock" else None)
    if tool.known:
        assert held["containerId"] == before["main"][0] and pids_of(held["pid"])[-1] == holder.pid
        assert held["stale"] is False
    else:
        assert held["pid"] is None and held["containerId"] is None and held["stale"] is None
    if tool.says:
        holder.say(tool.says, holder.out.mark())
    if tool.then:
        holder.go_on()
        holder.say(tool.then)
    assert s.cli("update", "--wait").code == 75
    assert engine.services(1) == before and touched(events) == []
    assert beside(s) == {**neighbours, **own}

    holder.go_on()
    s.wait("update_resumed", since=mark)
    s.settled(1, "r2", since=mark)
    words = told(s.events(since=mark))
    for n in ("main", "side"):
        in_order(words, "lock_seen", "update_blocked", "lock_gone", "lock_taken", f"stop:{n}", f"start:{n}",
                 "app_settled")
    assert "lock_lost" not in words and words.count("update_blocked") == 1
    assert s.locks_on_disk() == {}
    assert beside(s) == neighbours


def stopping(lab, s, release):
    """An update has told the service main to stop, and main takes ages: for so long the lock is ours."""
    how = {"mode": "deaf", "stop_grace_period": "10m"}
    mark = s.mark()
    lab.write(release(2, **how))
    return s.wait("step_started", kind="stop", since=mark)["service"]


def die(engine, container):
    os.kill(engine.get(f"/containers/{container}/json")["State"]["Pid"], signal.SIGKILL)


def test_while_ours_is_held_each_tool_says_that_the_lock_is_taken(lab, engine, release):
    s = lab.run(release(1, mode="deaf", stop_grace_period="10m"), 1, "r1")
    before = engine.services(1)
    stopping(lab, s, release)
    c = before["main"][0]
    ours = {p: os.lstat(f"{s.lock_root}/{p}").st_ino for p in s.locks_on_disk()}
    assert OURS < set(ours)
    said = {}
    for name, tool in TOOLS.items():
        code, out = engine.exec(c, *tool.attempt)
        word = tool.refused[1]
        said[name] = (code, word if word in out.split() else out)
    expected = {name: tool.refused for name, tool in TOOLS.items()}
    for name in expected:  # those that speak in sentences: the exit code tells
        if not expected[name][1]:
            said[name] = (said[name][0], "")
    # flock(1) alone does not ask whether the file was there. Where the kernel protects files in sticky directories
    # (fs.protected_regular), it cannot even open ours.
    with open("/proc/sys/fs/protected_regular") as f:
        if f.read().strip() != "0":
            expected["flock"] = (66, "")
    assert said == expected
    assert {p: os.lstat(f"{s.lock_root}/{p}").st_ino for p in s.locks_on_disk()} == ours
    assert s.events("lock_lost") == []
    for container, _ in before.values():
        die(engine, container)
    s.settled(1, "r2")


STAYS, SEEN_TO_BE_STALE, GOES = "stays", "stays, and is seen to be stale", "goes"
LEFT = {  # the lock of a holder that dies
    ("npm lockfile", "KILL"): STAYS, ("npm lockfile", "TERM"): GOES,
    ("npm proper-lockfile", "KILL"): STAYS, ("npm proper-lockfile", "TERM"): GOES,
    ("Python PIDLockFile", "KILL"): SEEN_TO_BE_STALE, ("Python PIDLockFile", "TERM"): SEEN_TO_BE_STALE,
    ("update-lock", "KILL"): SEEN_TO_BE_STALE, ("update-lock", "TERM"): GOES,
}


@pytest.mark.parametrize("name, sig", LEFT)
def test_what_a_dead_holder_leaves_still_is_a_lock_and_what_it_cleans_up_is_none(lab, engine, release, name, sig):
    s = lab.run(release(1), 1, "r1")
    before = engine.services(1)
    holder = Holder(lab, engine, before["main"][0], TOOLS[name].argv)
    s.wait("lock_seen", service="main")
    lab.write(release(2))
    s.wait("update_blocked")
    mark = s.mark()
    holder.signal(sig)
    if LEFT[name, sig] != GOES:
        assert s.cli("update", "--wait").code == 75
        assert engine.services(1) == before and os.path.lexists(s.lock_path(1, "main"))
        assert s.events("lock_gone", since=mark) == []
        wanted = True if LEFT[name, sig] == SEEN_TO_BE_STALE else None
        # An answer holds for a second.
        end = time.monotonic() + sandbox.DEADLINE
        while s.api.locks["locks"][0]["stale"] is not wanted and time.monotonic() < end:
            pass
        assert s.api.locks["locks"][0]["stale"] is wanted
        assert engine.exec(before["main"][0], "rm", "-r", LOCK)[0] == 0
    s.wait("lock_gone", since=mark)
    s.settled(1, "r2", since=mark)


# Tools that take a lock away from a holder that they believe dead. True: ours is made to seem an hour old.
THIEVES = {
    "npm lockfile with stale": (node(
        f'require("lockfile").lock("{LOCK}", {{stale: 1}}, e => e ? refuse(e) : taken())',
        f'require("lockfile").unlockSync("{LOCK}")', "", ""), False),
    "procmail lockfile with a locktimeout": (shell(f"lockfile -1 -r 3 -l 1 -s 0 {LOCK}", f"rm -f {LOCK}", "", 0), True),
    # Whatever is in it: not touched for five minutes is dead for them.
    "lockfile-create with a retry": (shell(f"lockfile-create --retry 2 --lock-name {LOCK}",
                                           f"lockfile-remove --lock-name {LOCK}", "", 0), True),
    "dotlockfile with a retry": (shell(f"dotlockfile -l -i 1 -r 2 {LOCK}", f"dotlockfile -u {LOCK}", "", 0), True),
    "Python break_lock": (Tool(["python3", "-c", """
import os, sys
from lockfile import LockFile
lock = LockFile("/tmp/balena/updates")
lock.break_lock()
lock.acquire(timeout=0)
print("taken", os.getpid(), flush=True)
sys.stdin.readline()
lock.release()
"""], "", (0, "")), False),
    "rm by root": (shell(f"rm -f {LOCK} && (set -C; : > {LOCK})", f"rm {LOCK}", "", 0), False),
}


@pytest.fixture
def one_at_a_time():
    """A supervisor that has one processor replaces one service after the other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("name", THIEVES)
def test_a_thief_of_our_lock_is_noticed_and_nobody_else_is_stopped_until_we_have_it_again(
        lab, engine, release, one_at_a_time, name):
    thief, aged = THIEVES[name]
    s = lab.run(release(1, mode="deaf", stop_grace_period="10m"), 1, "r1")
    before = engine.services(1)
    first = stopping(lab, s, release)
    other = {"main": "side", "side": "main"}[first]
    path = s.lock_path(1, other)
    assert os.path.exists(path)
    if aged:
        os.utime(path, (time.time() - 3600,) * 2)

    # It sleeps while the thief is at work, else it would be quicker; see the next test.
    mark = s.mark()
    s.process.send_signal(signal.SIGSTOP)
    try:
        holder = Holder(lab, engine, before[other][0], thief.argv)
    finally:
        s.process.send_signal(signal.SIGCONT)
    lost = s.wait("lock_lost", since=mark)
    assert (lost["app"], lost["service"], lost["path"]) == (1, other, path)

    die(engine, before[first][0])  # what was told to stop comes back, in its new form
    s.wait("step_done", kind="start", service=first, since=mark)
    assert s.cli("update", "--wait").code == 75
    assert engine.services(1)[other] == before[other] and engine.services(1)[first][1] == "running"
    assert s.events("step_started", kind="stop", service=other) == []

    holder.go_on()
    s.wait("step_started", kind="stop", service=other, since=mark)
    die(engine, before[other][0])
    s.settled(1, "r2", since=mark)
    in_order(told(s.events()), f"stop:{first}", "lock_lost", f"start:{first}", "lock_taken", f"stop:{other}",
             f"start:{other}", "app_settled")
    assert not set(engine.services(1).values()) & set(before.values())
    assert s.locks_on_disk() == {}


def test_root_in_a_container_can_remove_ours_and_we_take_it_again_but_nobody_else_can(lab, engine, release):
    s = lab.run(release(1, mode="deaf", stop_grace_period="10m"), 1, "r1")
    before = engine.services(1)
    stopping(lab, s, release)
    c, path, ours = before["main"][0], s.lock_path(1, "main"), s.locks_on_disk()
    assert engine.exec(c, "rm", "-f", LOCK, user="1000:1000")[0] != 0
    mark = s.mark()
    assert engine.exec(c, "rm", "-f", LOCK, user="0:0")[0] == 0
    s.wait("lock_lost", service="main", path=path, since=mark)
    s.wait("lock_taken", service="main", path=path, since=mark)
    assert s.locks_on_disk() == ours
    assert [e["path"] for e in s.events("lock_lost")] == [path]
    for container, _ in before.values():
        die(engine, container)
    s.settled(1, "r2", since=mark)


def test_a_lock_that_proper_lockfile_finds_stale_is_not_stolen_when_it_is_ours(lab, engine, release):
    """It would remove a directory, and ours is a file."""
    s = lab.run(release(1, mode="deaf", stop_grace_period="10m"), 1, "r1")
    before = engine.services(1)
    stopping(lab, s, release)
    os.utime(s.lock_path(1, "main"), (time.time() - 3600,) * 2)
    ours = s.locks_on_disk()
    code, out = engine.exec(before["main"][0], *TOOLS["npm proper-lockfile"].argv)
    assert code == 9 and out.split() == ["ENOTDIR"]
    assert s.locks_on_disk() == ours and s.events("lock_lost") == []
    for container, _ in before.values():
        die(engine, container)
    s.settled(1, "r2")
