"""Holding the update lock while a command runs: `lockkeeper lock` and the static `update-lock`, on a directory of their own."""
import fcntl
import io
import os
import pty
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile

import pytest

import sandbox
from lines import Lines
from story import in_order, told
from supervisor import BINARY, check_sanitizers
from target import app, document, service

UPDATE_LOCK = f"{os.path.dirname(BINARY)}/update-lock"
TOOLS = {"lockkeeper lock": [BINARY, "lock"], "update-lock": [UPDATE_LOCK]}
WAIT = ["--wait", "1000"]  # longer than any test lives
STAY = ["sh", "-c", "echo up; read x; exit 0"]  # until let_go()
# Says which signals it gets; TERM ends it with 7.
LISTEN = [sys.executable, "-c", """
import os, signal
def on(n, frame):
    os.write(1, (signal.Signals(n).name + "\\n").encode())
    if n == signal.SIGTERM:
        os._exit(7)
for n in ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "CONT", "TERM"):
    if signal.getsignal(getattr(signal, "SIG" + n)) != signal.SIG_IGN:
        signal.signal(getattr(signal, "SIG" + n), on)
os.write(1, b"up\\n")
while True:
    signal.pause()
"""]


class Run:
    """One tool at work; its command's output is `out`, what the tool itself says comes in `err`."""

    def __init__(self, argv, **how):
        how.setdefault("preexec_fn", sandbox.die_with_parent)
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    @property
    def pid(self):
        return self.process.pid

    def up(self):
        self.out.wait(lambda line: line == "up", what="the command")
        return self

    def waiting(self):
        return self.err.wait(lambda line: ": waiting: " in line, what="the waiting")

    def let_go(self):
        self.process.stdin.close()

    def send(self, sig):
        self.process.send_signal(sig)

    def ends(self):
        """(exit code, what the tool said)"""
        code = self.process.wait(sandbox.DEADLINE)
        self.out.join()
        self.err.join()
        text = "\n".join(self.err.since())
        check_sanitizers(text)
        return code, text


class Place:
    """A lock directory and one of the tools."""

    def __init__(self, name):
        self.top = tempfile.mkdtemp(prefix="lk-", dir="/tmp")
        os.chmod(self.top, 0o755)
        self.dir, self.name = f"{self.top}/locks", name
        self.lock = f"{self.dir}/updates.lock"
        self.make_dir()
        self.runs = []

    def make_dir(self):
        os.mkdir(self.dir)
        os.chmod(self.dir, 0o1777)

    def argv(self, flags, command):
        return [*TOOLS[self.name], "--dir", self.dir, *flags, "--", *command]

    def run(self, *flags, command=(), before=(), **how):
        run = Run([*before, *self.argv(flags, command)], **how)
        self.runs.append(run)
        return run

    def done(self, *flags, command=("true",), **how):
        """To its end: (exit code, what the tool said)."""
        run = self.run(*flags, command=command, **how)
        run.let_go()
        return run.ends()

    def hold(self, text=""):
        with os.fdopen(os.open(self.lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as f:
            f.write(text)

    @property
    def locked(self):
        return os.path.lexists(self.lock)

    def close(self):
        for run in self.runs:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
        sandbox.unmount_below(self.top)
        shutil.rmtree(self.top)


@pytest.fixture(params=TOOLS)
def place(request):
    place = Place(request.param)
    yield place
    place.close()


# ---- taking and giving back

def test_the_lock_exists_exactly_while_the_command_runs(place):
    run = place.run(command=STAY).up()
    about = os.lstat(place.lock)
    assert stat.S_ISREG(about.st_mode) and stat.S_IMODE(about.st_mode) == 0o644 and about.st_nlink == 1
    with open(place.lock) as f:
        assert f.read() == f"update-lock 1 {run.pid}\n"  # the one whose life is the lock's
    run.let_go()
    assert run.ends() == (0, "")
    assert os.listdir(place.dir) == []


@pytest.mark.parametrize("flags", [["--reason", "charging, please wait"], ["--reason=charging, please wait"]])
def test_the_reason_is_the_second_line(place, flags):
    run = place.run(*flags, command=STAY).up()
    with open(place.lock) as f:
        assert f.read() == f"update-lock 1 {run.pid}\ncharging, please wait\n"


def test_the_longest_reason_is_written_whole_and_a_longer_one_refused(place):
    run = place.run("--reason", "x" * 1024, command=STAY).up()
    with open(place.lock) as f:
        assert f.read() == f"update-lock 1 {run.pid}\n{'x' * 1024}\n"
    code, said = place.done("--reason", "x" * 1025)
    assert code == 2 and "--reason is longer than 1024 bytes" in said


@pytest.mark.parametrize("reason", ["two\nlines", "tab\there", "\x1b[2J", "\x7f"])
def test_a_reason_with_control_characters_is_refused(place, reason):
    code, said = place.done("--reason", reason)
    assert code == 2 and "control character" in said and not place.locked


def test_an_empty_reason_is_none(place):
    run = place.run("--reason", "", command=STAY).up()
    with open(place.lock) as f:
        assert f.read() == f"update-lock 1 {run.pid}\n"


@pytest.mark.parametrize("flags", [[], ["--flock"]])
def test_an_ordinary_user_holds_its_lock_in_a_directory_of_all(place, flags):
    run = place.run(*flags, command=STAY, user=1234, group=1234, extra_groups=[], preexec_fn=None).up()
    assert os.lstat(place.lock).st_uid == 1234
    run.let_go()
    assert run.ends() == (0, "") and not place.locked


def test_a_directory_that_one_may_not_write_is_an_error(place):
    os.chmod(place.dir, 0o755)
    code, said = place.done(user=1234, group=1234, extra_groups=[], preexec_fn=None)
    assert code == 125 and f"cannot take {place.lock}: Permission denied" in said


def test_without_a_lock_directory_nothing_is_run(place):
    os.rmdir(place.dir)
    for flags in ([], WAIT):
        run = place.run(*flags, command=STAY)
        code, said = run.ends()
        assert code == 125 and "there is no lock directory" in said and "inside a service" in said
        assert run.out.since() == []


def test_on_a_full_disk_no_half_written_lock_remains(place):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=1777", "none", place.dir], check=True)
    with open(f"{place.dir}/full", "w") as f:
        f.write("x" * 4096)
    for flags in ([], ["--flock"]):
        code, said = place.done(*flags)
        assert code == 125 and "No space left on device" in said and not place.locked


def test_a_lock_that_cannot_be_removed_is_said_and_shown_in_the_exit_code(place):
    for command, wanted in (STAY, 125), (["sh", "-c", "echo up; read x; exit 3"], 3):
        run = place.run(command=command, user=1234, group=1234, extra_groups=[], preexec_fn=None).up()
        os.chmod(place.dir, 0o755)
        run.let_go()
        code, said = run.ends()
        assert code == wanted and place.locked
        assert f"cannot remove {place.lock}: Permission denied; it holds off updates until somebody does" in said
        os.unlink(place.lock)
        os.chmod(place.dir, 0o1777)


def test_warnings_never_end_up_in_the_lock_when_standard_error_is_closed(place):
    closed = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"]
    fifo(f"{place.top}/end")
    run = place.run(command=["sh", "-c", f"read x < {place.top}/end; exit 0"], before=closed, user=1234, group=1234, extra_groups=[],
                    preexec_fn=None)
    with open(f"{place.top}/end", "w"):  # opens when the command reads it
        os.chmod(place.dir, 0o755)
    assert run.ends()[0] == 125  # the lock could not be removed, which nobody could be told
    with open(place.lock) as f:
        assert f.read() == f"update-lock 1 {run.pid}\n"


# ---- the command

@pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 125, 126, 127, 143, 255])
def test_the_exit_code_is_the_commands_own(place, code):
    assert place.done(command=["sh", "-c", f"exit {code}"]) == (code, "")
    assert not place.locked


@pytest.mark.parametrize("name", ["TERM", "KILL", "INT", "SEGV"])
def test_a_command_that_dies_of_a_signal_gives_128_and_its_number(place, name):
    number = getattr(signal, f"SIG{name}")
    limit = lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # noqa: E731
    assert place.done(command=["sh", "-c", f"kill -{name} $$"], preexec_fn=limit) == (128 + number, "")
    assert not place.locked


@pytest.mark.parametrize("what, code, sentence", [
    ("no-such-command-anywhere", 127, "there is no such command"), ("/no/such/command", 127, "there is no such command"),
    ("", 127, "there is no such command"), ("{top}/plain", 126, "Permission denied"), ("{top}", 126, "Permission denied"),
    ("{top}/text", 126, "Exec format error"), ("{top}/plain/x", 126, "Not a directory")])
def test_a_command_that_cannot_be_run_leaves_no_lock(place, what, code, sentence):
    for name, mode in ("plain", 0o644), ("text", 0o755):
        with open(f"{place.top}/{name}", "w") as f:
            f.write("echo this is for no shell to guess\n")
        os.chmod(f"{place.top}/{name}", mode)
    got, said = place.done(command=[what.format(top=place.top)])
    assert got == code and sentence in said and not place.locked


def test_the_command_is_looked_for_along_the_path(place):
    os.makedirs(f"{place.top}/a/tool")  # a directory of that name is passed over
    os.mkdir(f"{place.top}/b")
    for directory, mode, text in ("a", 0o644, "not me"), ("b", 0o755, "me"):
        name = f"{place.top}/{directory}/mine"
        with open(name, "w") as f:
            f.write(f"#!/bin/sh\necho {text} \"$@\"\n")
        os.chmod(name, mode)
    path = f"{place.top}/none:{place.top}/a:{place.top}/b"
    run = place.run(command=["mine", "a b", "$HOME", "--wait"], env={**os.environ, "PATH": path})
    assert run.ends() == (0, "") and run.out.since() == ["me a b $HOME --wait"]
    run = place.run(command=["mine"], env={**os.environ, "PATH": f"{place.top}/a"})
    assert run.ends()[0] == 126  # found, and may not be run
    run = place.run(command=["mine"], env={**os.environ, "PATH": "/nowhere:"}, cwd=f"{place.top}/b")
    assert run.ends() == (0, "")  # an empty entry is where we are


def test_the_command_inherits_nothing_of_the_lock(place):
    def asks():
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])

    def sees(*command):
        plain, held = Run(command, preexec_fn=asks), place.run("--flock", command=command, preexec_fn=asks)
        assert plain.ends()[0] == 0 and held.ends() == (0, "")
        return plain.out.since(), held.out.since()

    plain, held = sees("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")  # no shell: it would set its own
    assert held == plain and len(held) == 3
    plain, held = sees("ls", "/proc/self/fd")
    assert held == plain == ["0", "1", "2", "3"]


# ---- who is in the way

def test_while_somebody_else_holds_it_nothing_is_run(place):
    place.hold()
    for flags in [], ["--wait", "0"], ["--wait=0.0"], ["--wait", "0.001"]:
        run = place.run(*flags, command=STAY)
        code, said = run.ends()
        assert code == 75 and f"somebody else holds {place.lock}: a file of uid 0" in said
        assert run.out.since() == [] and os.stat(place.lock).st_size == 0


def fifo(path):
    os.mkfifo(path)


def dangling(path):
    os.symlink("/nowhere", path)


@pytest.mark.parametrize("make, kind", [(os.mkdir, "a directory"), (dangling, "a symbolic link"), (fifo, "a special file")])
def test_a_lock_of_any_kind_is_in_the_way(place, make, kind):
    make(place.lock)
    code, said = place.done()
    assert code == 75 and f"somebody else holds {place.lock}: {kind} of uid 0" in said


def test_the_lock_of_another_tool_is_told_with_its_reason(place):
    first = place.run("--reason", "charging", command=STAY).up()
    code, said = place.done()
    assert code == 75
    assert said.endswith(f"a file of uid 0, made by update-lock, process {first.pid}: charging")


def test_a_lock_of_the_supervisor_means_that_the_service_is_about_to_be_stopped(place):
    place.hold("lockkeeper-supervisor 1 boot nonce\n")
    assert "about to stop" not in place.done()[1]  # anybody can write that
    os.chown(place.lock, 65534, 65534)
    code, said = place.done()
    assert code == 75 and said.endswith(f"lockkeeper holds {place.lock}: it is about to stop this service")


def test_what_a_lock_says_reaches_no_terminal_unescaped(place):
    place.hold("update-lock 1 7\x1b[2J\ntwo\t\x7f\x9b\xa0 words\n" + "x" * 100000)
    code, said = place.done()
    assert code == 75 and said.endswith("process 7?[2J: two????\xa0 words")


# ---- waiting

def test_the_command_runs_when_the_lock_is_released(place):
    place.hold()
    run = place.run(*WAIT, command=STAY)
    run.waiting()
    assert run.out.since() == []
    os.unlink(place.lock)
    run.up().let_go()
    code, said = run.ends()
    assert code == 0 and "once a second" not in said and not place.locked


def test_it_waits_with_a_watch_on_the_directory_and_its_parent(place):
    place.hold()
    run = place.run(*WAIT, command=STAY)
    run.waiting()
    watched = set()
    for name in os.listdir(f"/proc/{run.pid}/fdinfo"):
        with open(f"/proc/{run.pid}/fdinfo/{name}") as f:
            watched |= set(re.findall(r"^inotify .*\bino:([0-9a-f]+)", f.read(), re.M))
    assert watched == {f"{os.stat(d).st_ino:x}" for d in (place.dir, place.top)}


def test_a_release_by_rename_is_seen(place):
    place.hold()
    run = place.run(*WAIT, command=STAY)
    run.waiting()
    os.rename(place.lock, f"{place.dir}/elsewhere")
    run.up().let_go()
    assert run.ends()[0] == 0 and os.listdir(place.dir) == ["elsewhere"]


@pytest.mark.parametrize("ending", ["", "/", "///"])
def test_a_directory_that_is_replaced_while_waiting_is_found_again(place, ending):
    place.hold()
    run = Run([*TOOLS[place.name], "--dir", place.dir + ending, *WAIT, "--", *STAY])
    place.runs.append(run)
    run.waiting()
    os.rename(place.dir, f"{place.top}/old")
    place.make_dir()
    run.up().let_go()
    assert run.ends()[0] == 0
    assert not place.locked and os.path.exists(f"{place.top}/old/updates.lock")


def test_a_replaced_directory_is_noticed_where_its_parent_cannot_be_read(place):
    place.hold()
    os.chmod(place.top, 0o711)
    run = place.run(*WAIT, command=STAY, user=1234, group=1234, extra_groups=[], preexec_fn=None)
    run.waiting()
    os.mkdir(f"{place.top}/next")
    os.chmod(f"{place.top}/next", 0o1777)  # before that user sees it
    os.rename(place.dir, f"{place.top}/old")
    os.rename(f"{place.top}/next", place.dir)
    run.up().let_go()
    assert run.ends()[0] == 0 and not place.locked


def test_the_lock_of_a_replaced_directory_is_waited_for_too(place):
    place.hold()
    run = Run([*TOOLS[place.name], "--dir", "locks", *WAIT, "--", *STAY], cwd=place.top)
    place.runs.append(run)
    run.waiting()
    os.mkdir(f"{place.top}/next")
    os.close(os.open(f"{place.top}/next/updates.lock", os.O_CREAT))
    os.rename(place.dir, f"{place.top}/old")
    os.rename(f"{place.top}/next", place.dir)
    os.unlink(f"{place.top}/old/updates.lock")  # means nothing any more
    wait_for_watch_on(run, place.dir)
    assert run.out.since() == []
    os.unlink(place.lock)
    run.up().let_go()
    assert run.ends()[0] == 0 and os.listdir(place.dir) == []


def wait_for_watch_on(run, directory):
    wanted = f"{os.stat(directory).st_ino:x}"
    while run.process.poll() is None:  # ends with the test's own limit
        for name in os.listdir(f"/proc/{run.pid}/fdinfo"):
            with open(f"/proc/{run.pid}/fdinfo/{name}") as f:
                if f" ino:{wanted} " in f.read():
                    return
    raise AssertionError(f"it ended: {run.ends()}")


def test_without_inotify_it_looks_once_a_second_and_says_so(place):
    place.hold()
    none = ["env", "ASAN_OPTIONS=detect_leaks=0",  # which does not work under strace
            "strace", "-qq", "-o", "/dev/null", "-e", "trace=inotify_init1", "-e", "inject=inotify_init1:error=EMFILE"]
    run = place.run(*WAIT, command=STAY, before=none)
    run.err.wait(lambda line: "warning: no inotify watch could be had: looking once a second" in line)
    os.unlink(place.lock)
    run.up().let_go()
    code, said = run.ends()
    assert code == 0 and said.count("once a second") == 1 and not place.locked


def test_a_wait_that_runs_out_says_who_is_in_the_way(place):
    place.hold()
    run = place.run("--wait", "0.05", command=STAY)
    code, said = run.ends()
    assert code == 75 and said.splitlines()[-1].endswith(f"not run: somebody else holds {place.lock}: a file of uid 0")
    assert run.out.since() == [] and place.locked


@pytest.mark.parametrize("flags", [[], ["--flock"]])
def test_two_tools_take_turns(place, flags):
    """Each of many adds a line to a file while it holds the lock; two at once would mix theirs."""
    record = f"{place.top}/record"
    turn = ["sh", "-c", f"echo in >> {record}; echo out >> {record}"]
    first = place.run(*flags, command=STAY).up()
    others = [place.run(*WAIT, *flags, command=turn) for _ in range(8)]
    for run in others:
        run.waiting()
    first.let_go()
    assert first.ends() == (0, "")
    for run in others:
        assert run.ends()[0] == 0
    with open(record) as f:
        assert f.read().split() == ["in", "out"] * 8
    assert os.listdir(place.dir) == []


# ---- signals

def test_signals_are_passed_on_and_the_command_decides_when_to_end(place):
    run = place.run(command=LISTEN).up()
    for name in "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "CONT":
        run.send(getattr(signal, f"SIG{name}"))
        run.out.wait(lambda line: line == f"SIG{name}", what=name)
    assert place.locked
    run.send(signal.SIGTERM)
    assert run.ends() == (7, "") and not place.locked
    assert run.out.since() == ["up"] + [f"SIG{n}" for n in ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "CONT",
                                                            "TERM")]


def test_a_command_without_handlers_dies_of_the_signal_and_the_lock_goes(place):
    for sig in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1:
        run = place.run(command=["sh", "-c", "echo up; exec cat"]).up()
        run.send(sig)
        assert run.ends() == (128 + sig, "") and not place.locked


def test_a_signal_that_was_ignored_before_stays_ignored(place):
    run = place.run(command=LISTEN, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)).up()
    run.send(signal.SIGHUP)
    run.send(signal.SIGTERM)
    assert run.ends() == (7, "") and run.out.since() == ["up", "SIGTERM"]
    place.hold()
    run = place.run(*WAIT, command=STAY, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    run.waiting()
    run.send(signal.SIGHUP)
    run.send(signal.SIGTERM)
    assert run.ends()[0] == 128 + signal.SIGTERM


def test_a_signal_ends_the_waiting(place):
    place.hold()
    for sig in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1:
        run = place.run(*WAIT, command=STAY)
        run.waiting()
        run.send(signal.SIGWINCH)  # means nothing
        run.send(sig)
        assert run.ends()[0] == 128 + sig and run.out.since() == []
        assert place.locked


def test_ctrl_c_reaches_the_command_once(place):
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))  # becomes the controlling one

    run = place.run(command=LISTEN, preexec_fn=take_terminal).up()
    run.send(signal.SIGSTOP)  # the tool sees the signal after the command has dealt with it: two would be two
    wait_for_state(run.pid, "T")
    os.write(master, b"\x03")
    run.out.wait(lambda line: line == "SIGINT")
    run.send(signal.SIGCONT)
    run.out.wait(lambda line: line == "SIGCONT")
    run.send(signal.SIGUSR1)
    run.out.wait(lambda line: line == "SIGUSR1")
    assert run.out.since() == ["up", "SIGINT", "SIGCONT", "SIGUSR1"] and place.locked
    os.close(slave)
    os.close(master)  # hangs up: the kernel tells the leader of the session alone
    run.out.wait(lambda line: line == "SIGHUP")
    run.send(signal.SIGTERM)
    assert run.ends() == (7, "") and not place.locked


# What a shell does to its jobs: a group of their own, the terminal to it, notice when it stops, let it go on.
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.setsid()
tty = os.open(sys.argv[1], os.O_RDWR)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(tty, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        print("stopped", pid, flush=True)
        sys.stdin.readline()
        os.killpg(pid, signal.SIGCONT)
    else:
        os._exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("how", ["by the terminal", "by a signal to the tool"])
def test_job_control_stops_both_and_lets_both_go_on(place, how):
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "import os, signal\nprint('up', os.getpid(), flush=True)\n"
               "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\nwhile True: signal.pause()"]
    run = Run([sys.executable, "-c", SHELL, os.ttyname(slave), *place.argv([], command)])
    place.runs.append(run)
    child = int(run.out.wait(lambda line: line.startswith("up")).split()[1])
    with open(f"/proc/{child}/stat") as f:
        tool = int(f.read().rpartition(")")[2].split()[1])
    if how == "by the terminal":
        os.write(master, b"\x1a")
    else:
        os.kill(tool, signal.SIGTSTP)
    assert run.out.wait(lambda line: line.startswith("stopped")) == f"stopped {tool}"
    wait_for_state(child, "T")
    assert place.locked
    run.process.stdin.write(b"\n")
    run.process.stdin.flush()
    wait_for_state(child, "S")
    os.kill(tool, signal.SIGTERM)
    assert run.ends() == (7, "") and not place.locked
    assert len([line for line in run.out.since() if line.startswith("stopped")]) == 1
    os.close(slave)
    os.close(master)


def wait_for_state(pid, wanted):
    state = None
    while state != wanted:  # ends with the test's own limit
        with open(f"/proc/{pid}/stat") as f:
            state = f.read().rpartition(")")[2].split()[0]


def test_a_killed_tool_leaves_the_lock_with_the_command_that_it_protects(place):
    run = place.run(command=["sh", "-c", "echo up; echo $$; read x; echo read; exec >&- 2>&-"]).up()
    run.process.kill()
    assert run.process.wait(sandbox.DEADLINE) == -signal.SIGKILL
    assert place.locked
    assert place.done()[0] == 75
    run.let_go()
    run.out.wait(lambda line: line == "read")  # the command lived on


# ---- a lock that is no longer ours

def test_a_lock_that_was_replaced_meanwhile_stays(place):
    run = place.run(command=STAY).up()
    os.unlink(place.lock)
    place.hold("somebody else's")
    run.let_go()
    code, said = run.ends()
    assert code == 0 and "warning: somebody replaced the lock while the command ran" in said
    with open(place.lock) as f:
        assert f.read() == "somebody else's"


def test_a_lock_that_was_removed_meanwhile_is_no_error(place):
    run = place.run(command=STAY).up()
    os.unlink(place.lock)
    run.let_go()
    code, said = run.ends()
    assert code == 0 and "warning: somebody removed the lock while the command ran" in said


def test_a_lock_in_a_directory_that_moved_is_removed_there(place):
    run = place.run(command=STAY).up()
    os.rename(place.dir, f"{place.top}/old")
    place.make_dir()
    place.hold()
    run.let_go()
    assert run.ends() == (0, "")
    assert os.listdir(f"{place.top}/old") == [] and place.locked


# ---- flock

@pytest.mark.parametrize("flags, free", [([], True), (["--flock"], False)])
def test_flock_is_held_when_it_is_asked_for(place, flags, free):
    run = place.run("--reason", "both", *flags, command=STAY).up()
    check = subprocess.run(["flock", "-n", place.lock, "true"])
    assert (check.returncode == 0) == free
    with open(place.lock) as f:
        assert f.read() == f"update-lock 1 {run.pid}\nboth\n"
    run.let_go()
    assert run.ends() == (0, "") and os.listdir(place.dir) == []


def test_flock_does_not_outlive_a_killed_tool(place):
    run = place.run("--flock", command=["sh", "-c", "echo up; read x; exec >&- 2>&-"]).up()
    run.process.kill()
    run.process.wait(sandbox.DEADLINE)
    with open(place.lock) as f:  # the command did not inherit the descriptor
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    run.let_go()


# ---- as process 1 of a container

AS_PROCESS_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def inside(run):
    """The one child of unshare."""
    with open(f"/proc/{run.pid}/task/{run.pid}/children") as f:
        return int(f.read())


def test_as_process_1_it_gets_signals_and_passes_them_on(place):
    run = place.run(command=LISTEN, before=AS_PROCESS_1).up()
    os.kill(inside(run), signal.SIGUSR1)
    run.out.wait(lambda line: line == "SIGUSR1")
    with open(place.lock) as f:
        assert f.read() == "update-lock 1 1\n"  # as its own pid name space counts
    os.kill(inside(run), signal.SIGTERM)
    assert run.ends() == (7, "") and not place.locked


def test_as_process_1_a_signal_ends_the_waiting(place):
    place.hold()
    run = place.run(*WAIT, command=STAY, before=AS_PROCESS_1)
    run.waiting()
    os.kill(inside(run), signal.SIGTERM)
    assert run.ends()[0] == 128 + signal.SIGTERM


def test_as_process_1_it_buries_the_orphans_that_come_to_it(place):
    orphan = """
import os, signal
r, w = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() != 1:
            os.sched_yield()
        os.write(w, b"%d" % os.getpid())
        os._exit(0)
    os._exit(0)
os.wait()
pid = int(os.read(r, 20))
try:
    while True:
        os.kill(pid, 0)
except ProcessLookupError:
    print("buried", flush=True)
"""
    run = place.run(command=[sys.executable, "-c", orphan], before=AS_PROCESS_1)
    run.out.wait(lambda line: line == "buried")
    assert run.ends() == (0, "")


# ---- usage

@pytest.mark.parametrize("args, sentence", [
    ([], "say what to run"), (["--"], "say what to run"), (["--flock", "--"], "say what to run"),
    (["true"], "put -- in front of the command"), (["--wait", "1", "true"], "put -- in front of the command"),
    (["--wait"], "--wait needs a value: --wait SECONDS"), (["--wait", "--", "true"], "--wait needs a value"),
    (["--wait", "soon", "--", "true"], "--wait 'soon'"), (["--wait=", "--", "true"], "--wait ''"),
    (["--wait=-1", "--", "true"], "--wait '-1'"), (["--wait=1e3", "--", "true"], "--wait '1e3'"),
    (["--wait=inf", "--", "true"], "--wait 'inf'"), (["--wait=1000000001", "--", "true"], "--wait '1000000001'"),
    (["--wait=1 ", "--", "true"], "--wait '1 '"), (["--wait=.", "--", "true"], "--wait '.'"),
    (["--flock=yes", "--", "true"], "--flock takes no value"), (["--dir=", "--", "true"], "--dir needs a directory"),
    (["--reasons", "x", "--", "true"], "there is no option '--reasons'"), (["-x", "--", "true"], "there is no option '-x'")])
def test_bad_usage_is_told(place, args, sentence):
    run = Run([*TOOLS[place.name], *args])
    code, said = run.ends()
    assert code == 2 and said.startswith(f"{place.name}: {sentence}")
    assert said.splitlines()[-1] == f"Try '{place.name} --help'."
    assert run.out.since() == []


@pytest.mark.parametrize("wait", ["0", "0.5", ".5", "5.", "1000000000", "0000.0001"])
def test_every_number_of_seconds_is_a_wait(place, wait):
    assert place.done("--wait", wait) == (0, "")


def test_both_tell_the_same_in_their_help():
    texts = {}
    for name, argv in TOOLS.items():
        for flag in "--help", "-h":
            done = subprocess.run([*argv, flag], capture_output=True, text=True)
            assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(f"{name} [--wait SECONDS]")
            texts[name] = re.sub(rf"\b{name}\b", "PROGRAM", done.stdout).replace("  --version\n", "")
        assert all(len(line) <= 110 for line in done.stdout.splitlines())
    assert len(set(texts.values())) == 1


# ---- the static program

def test_update_lock_tells_the_version_of_lockkeeper():
    ours = subprocess.run([UPDATE_LOCK, "--version"], capture_output=True, text=True)
    theirs = subprocess.run([BINARY, "--version"], capture_output=True, text=True)
    assert ours.returncode == 0 and ours.stdout.split()[0] == "update-lock"
    assert ours.stdout.split()[1] == theirs.stdout.split()[1]
    assert subprocess.run([BINARY, "lock", "--version"], capture_output=True).returncode == 2


def test_update_lock_is_static_stripped_and_small():
    assert os.access(UPDATE_LOCK, os.X_OK), f"{UPDATE_LOCK} was not built: is musl-tools installed?"
    assert os.stat(UPDATE_LOCK).st_size <= 100 * 1024
    shown = subprocess.run(["readelf", "-ldS", UPDATE_LOCK], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in shown and "NEEDED" not in shown and "There is no dynamic section" in shown
    assert ".symtab" not in shown and ".debug" not in shown


def image_of(lab, files, name="alone:1"):
    """An image with these files and nothing else: {path: content, None: a directory}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.mode, info.type = (0o1777, tarfile.DIRTYPE) if data is None else (0o755, tarfile.REGTYPE)
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    repo, _, tag = f"lk-t{lab.number}/{name}".rpartition(":")
    lab.engine.call("POST", "/images/create", out.getvalue(), query={"fromSrc": "-", "repo": repo, "tag": tag},
                    headers={"Content-Type": "application/x-tar"})
    lab.at_end(lambda: lab.images.forget(f"{repo}:{tag}"))
    return f"{repo}:{tag}"


def tool_bytes():
    with open(UPDATE_LOCK, "rb") as f:
        return f.read()


def test_update_lock_runs_in_an_image_of_nothing_else(lab, engine):
    image = image_of(lab, {"update-lock": tool_bytes(), "tmp": None, "tmp/balena": None})
    run = engine.run("alone", image, Cmd=["/update-lock", "--flock", "--reason", "alone", "--", "/update-lock", "--version"])
    assert engine.wait_exit(run) == 0
    assert re.fullmatch(r"update-lock \d+\.\d+\.\d+\n", engine.logs(run))
    # Held inside by an outer one, so that the inner one must refuse, and say whose lock it found.
    run = engine.run("twice", image, Cmd=["/update-lock", "--reason", "outer", "--", "/update-lock", "--", "/update-lock"])
    assert engine.wait_exit(run) == 75
    assert "made by update-lock, process 1: outer" in engine.logs(run)


@pytest.mark.parametrize("place", ["update-lock"], indirect=True)
def test_flock_is_taken_right_after_creating_where_no_nameless_file_can_be_named(place):
    """As in a root without /proc."""
    shutil.copy(UPDATE_LOCK, f"{place.top}/tool")
    shutil.copy(os.environ.get("BUSYBOX", "/bin/busybox"), f"{place.top}/busybox")
    run = Run(["chroot", place.top, "/tool", "--dir", "/locks", "--flock", "--", "/busybox", *STAY])
    place.runs.append(run)
    run.up()
    assert subprocess.run(["flock", "-n", place.lock, "true"]).returncode == 1
    with open(place.lock) as f:
        assert f.read().startswith("update-lock 1 ")
    run.let_go()
    assert run.ends() == (0, "") and os.listdir(place.dir) == []


# ---- against the supervisor

def test_an_update_waits_for_the_command_and_goes_on_when_it_ends(lab, engine):
    with open(os.environ.get("BUSYBOX", "/bin/busybox"), "rb") as f:
        busybox = f.read()
    images = []
    for v in 1, 2:
        images.append(image_of(lab, {"update-lock": tool_bytes(), "busybox": busybox, "tmp": None, "sleep": None,
                                     f"version-{v}": b""}, f"charger:{v}"))

    def release(v):
        charge = "/update-lock --reason charging -- /busybox sleep 1000000; " if v == 1 else ""
        command = ["/busybox", "sh", "-c", f"trap 'exit 0' TERM; {charge}/busybox sleep 1000000 & wait"]
        return document(app(1, f"r{v}", {"main": service(images[v - 1], command=command)}))
    s = lab.run(release(1), 1, "r1")
    seen = s.wait("lock_seen", service="main")
    assert (seen["app"], seen["kind"], seen["uid"]) == (1, "file", 0)
    c = engine.container(1, "main")["Id"]
    [(name, text)] = s.locks_on_disk().items()
    tool = re.fullmatch(r"update-lock 1 (\d+)\ncharging\n", text)[1]
    assert name == "1/main/updates.lock"
    lab.write(release(2))
    s.wait("update_blocked")
    assert engine.services(1)["main"] == (c, "running")
    code, said = engine.exec(c, "/update-lock", "--", "/busybox", "true")
    assert code == 75 and f"made by update-lock, process {tool}: charging" in said
    mark = s.mark()
    code, said = engine.exec(c, "/busybox", "kill", tool)  # which tells the command, and gives back the lock when it ended
    assert code == 0, said
    s.settled(1, "r2", since=mark)
    in_order(told(s.events(since=mark)), "lock_gone", "lock_taken", "stop:main", "start:main", "app_settled")
    assert engine.container(1, "main")["Id"] != c and s.locks_on_disk() == {}
