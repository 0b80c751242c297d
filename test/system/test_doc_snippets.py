"""
Every example of docs/update-locks.md, taken from the page and run: those of an application inside a container of a
supervised service, with the tools of the field; those for the device's owner beside it. An example that nobody here
knows how to run fails.
"""
import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

import supervisor
import tools_image
from lines import Lines
from target import app, document, service

PAGE = os.path.abspath(f"{os.path.dirname(__file__)}/../../docs/update-locks.md")
NAMES = ("updates.lock", "resin-updates.lock")

# The critical work of the examples: it says that it began, and ends when it is told to.
CRITICAL_WORK = "#!/bin/sh\necho working\nread _\n"
BEFORE_PYTHON = """
import sys
def critical_work():
    print("working", flush=True)
    sys.stdin.readline()
"""
BEFORE_JS = """
globalThis.criticalWork = () => new Promise(done => {
	console.log("working")
	process.stdin.once("data", () => { process.stdin.destroy(); done() })
})
"""
BESIDE_C = """
#include <stdio.h>
void critical_work(void);
void critical_work(void)
{
	puts("working");
	fflush(stdout);
	getchar();
}
"""
# These wait for their turn; the others give up at once.
WAITING = ("--wait 60", "with LockFile(")


class Snippet:
    def __init__(self, language, text, section, number):
        self.language, self.text, self.section, self.number = language, text, section, number

    def __repr__(self):
        return f"{self.section.replace(' ', '-')}-{self.number}-{self.language}"


def snippets():
    found, section, language, lines = [], "", None, []
    with open(PAGE) as f:
        for line in f:
            fence = re.match(r"\s*(`{3,}|~{3,})(.*)", line)
            if not fence:
                if language is not None:
                    lines.append(line)
                elif line.startswith("#"):
                    section = re.sub(r"[^\w ]", "", line).strip()
            elif language is None:
                language, lines = fence[2].strip(), []
            else:
                number = 1 + sum(s.section == section for s in found)
                found.append(Snippet(language, "".join(lines), section, number))
                language = None
    assert language is None, f"the last fence of {PAGE} is not closed"
    return found


SNIPPETS = snippets()
OF_SERVICES = [s for s in SNIPPETS if s.language in ("sh", "python", "js", "c")]
OF_OWNERS = [s for s in SNIPPETS if s.language == "console"]
OF_DOCUMENTS = [s for s in SNIPPETS if s.language == "json"]


def test_every_example_of_the_page_is_one_that_is_run_here():
    run = OF_SERVICES + OF_OWNERS + OF_DOCUMENTS
    assert [s for s in SNIPPETS if s not in run] == []
    sections = {s.section for s in OF_SERVICES}
    for wanted in ("Shell", "Shell with updatelock", "Python", "Node", "C", "procmails lockfile",
                   "lockfileprogs dotlockfile", "flock"):
        assert wanted in sections


@pytest.fixture(scope="session")
def tools(engine):
    return tools_image.make(engine)


class Example:
    """A snippet in a service of its own."""

    def __init__(self, lab, engine, image, snippet):
        self.engine = engine
        main = service(image, env={"PATH": "/example:/usr/bin"}, volumes=["work:/example"])
        self.s = lab.run(document(app(1, "r1", {"main": main}, volumes={"work": {}})), 1, "r1")
        self.container = engine.container(1, "main")["Id"]
        self.work = engine.get("/volumes/1_work")["Mountpoint"]
        self.put("critical-work", CRITICAL_WORK)
        self.argv = getattr(self, snippet.language)(snippet.text)
        self.lab = lab

    def put(self, name, text):
        with open(f"{self.work}/{name}", "w") as f:
            f.write(text)
        os.chmod(f"{self.work}/{name}", 0o755)
        return f"/example/{name}"

    def sh(self, text):
        return ["sh", self.put("example.sh", text)]

    def python(self, text):
        return ["python3", self.put("example.py", BEFORE_PYTHON + text)]

    def js(self, text):
        return ["node", "-r", self.put("before.js", BEFORE_JS), self.put("example.js", text)]

    def c(self, text):
        """Compiled on this side, static."""
        self.put("example.c", text)
        self.put("beside.c", BESIDE_C)
        done = subprocess.run([shutil.which("musl-gcc") or "cc", "-static", "-Wall", "-Wextra", "-Werror",
                               "-o", "example", "example.c", "beside.c"], cwd=self.work, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return ["/example/example"]

    def run(self):
        self.process = self.engine.spawn(self.container, *self.argv)
        self.lab.at_end(self._end)
        self.out = Lines(self.process.stdout)

    def is_working(self):
        self.out.wait(lambda line: line == "working", what="the critical work")

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def ends(self):
        code = self.process.wait(30)
        self.out.join()
        return code, self.out.since()

    def locks(self):
        return [n for n in NAMES if os.path.lexists(self.s.lock_path(1, "main", n))]

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()


@pytest.mark.parametrize("snippet", OF_SERVICES, ids=repr)
def test_an_example_holds_the_lock_while_it_does_its_critical_work_and_not_longer(lab, engine, tools, snippet):
    e = Example(lab, engine, tools, snippet)
    mark = e.s.mark()
    e.run()
    e.is_working()
    assert len(e.locks()) == 1
    seen = e.s.wait("lock_seen", since=mark)
    assert (seen["app"], seen["service"]) == (1, "main")
    assert e.s.events("lock_gone", since=mark) == []
    e.go_on()
    assert e.ends() == (0, ["working"])
    e.s.wait("lock_gone", since=mark, path=seen["path"])
    assert e.locks() == [] and os.listdir(os.path.dirname(e.s.lock_path(1, "main"))) == []


@pytest.mark.parametrize("snippet", OF_SERVICES, ids=repr)
def test_an_example_does_no_critical_work_while_somebody_else_holds_the_lock(lab, engine, tools, snippet):
    e = Example(lab, engine, tools, snippet)
    held = e.s.hold(1, "main")
    e.run()
    if not any(sign in snippet.text for sign in WAITING):
        e.ends()
        assert os.path.lexists(held)
    assert "working" not in e.out.since()
    os.unlink(held)
    if any(sign in snippet.text for sign in WAITING):
        e.is_working()
        assert len(e.locks()) == 1
        e.go_on()
        assert e.ends()[0] == 0
    assert e.locks() == []


@pytest.mark.parametrize("snippet", OF_OWNERS, ids=repr)
def test_a_command_for_the_owner_of_the_device_works_on_a_device_whose_update_waits(lab, engine, snippet):
    def release(v):
        return document(app(1, f"r{v}", {"main": service(lab.image(1), env={"GENERATION": str(v)})}))
    s = lab.run(release(1), 1, "r1")
    s.hold(1, "main")
    lab.write(release(2))
    s.wait("update_blocked")
    commands = [line[2:] for line in snippet.text.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        program, name, *args = shlex.split(command)
        assert program == "lockkeeper"
        done = s.cli(name, *args)
        assert done.code == 0 and done.err == "", (command, done)
        if name == "locks":
            assert "updates.lock" in done.out and "main" in done.out
        if "--force" in args:
            s.settled(1, "r2")
            assert s.events("lock_overridden", service="main")
    # What the page shows of the answer has the words that the answer has.
    shown = [line for line in snippet.text.splitlines() if line and not line.startswith("$ ")]
    said = "".join(s.cli(*shlex.split(c)[1:]).out for c in commands) if shown else ""
    for head in shown[:1]:
        assert head.split() == said.splitlines()[0].split()


@pytest.mark.parametrize("snippet", OF_DOCUMENTS, ids=repr)
def test_labels_of_the_page_are_accepted_and_reach_the_container(lab, engine, snippet):
    labels = json.loads(snippet.text)["labels"]
    wanted = document(app(1, "r1", {"main": service(lab.image(1), labels=labels)}))
    lab.write(wanted)
    checked = supervisor.command("check", lab.target)
    assert checked.code == 0 and not checked.err, checked
    s = lab.supervisor()
    s.settled(1, "r1")
    assert labels.items() <= engine.container(1, "main")["Config"]["Labels"].items()
    for label in labels:
        assert f"`{label}`" in open(PAGE).read()
