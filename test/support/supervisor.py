"""The real binary: started, watched through its JSON log, asked through its command line, stopped or killed."""
import contextlib
import json
import os
import signal
import subprocess

import sandbox
from api import Api
from lines import Lines

BINARY = os.environ.get("LOCKKEEPER") or os.path.abspath(f"{os.path.dirname(__file__)}/../../build/src/lockkeeper")
# Sanitizer builds: the report goes to standard error, which is checked whenever a supervisor ends.
os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=66")
os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=0")


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"<exit {self.code}, out {self.out!r}, err {self.err!r}>"


def command(*argv, env=None, timeout=None, input=None):
    """Runs lockkeeper to its end."""
    full = {k: v for k, v in os.environ.items() if not k.startswith(("BALENA_", "RESIN_", "LOCKKEEPER_", "DOCKER_"))}
    full.update(env or {})
    done = subprocess.run([BINARY, *map(str, argv)], env=full, capture_output=True, text=True, input=input,
                          timeout=timeout or sandbox.DEADLINE, stdin=None if input is not None else subprocess.DEVNULL)
    check_sanitizers(done.stderr)
    return Result(done)


def check_sanitizers(text):
    for sign in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehaviorSanitizer"):
        assert sign not in text, text


def parse(line):
    try:
        event = json.loads(line)
        return event if isinstance(event, dict) else {"event": None, "line": line}
    except ValueError:
        return {"event": None, "line": line}


class Supervisor:
    def __init__(self, directory, engine_socket, target=None, listen=None, args=(), env=None, log_level="info",
                 lock_root=None, prefix=()):
        self.dir = directory
        os.makedirs(directory, exist_ok=True)
        self.state, self.lock_root = f"{directory}/state", lock_root or f"{directory}/locks"
        self.target = target
        self.listen = [f"unix:{directory}/api.sock"] if listen is None else listen
        self.argv = ["run", "--state", self.state, "--engine", engine_socket, "--lock-root", self.lock_root,
                     "--legacy-lock-root", f"{directory}/legacy", "--config", f"{directory}/config.json",
                     "--log-format", "json", "--log-level", log_level]
        if target:
            self.argv += ["--target", target]
        for address in self.listen:
            self.argv += ["--listen", address]
        self.argv += list(args)
        self.prefix = list(prefix)  # a program that runs it
        self.env = env or {}
        self.process = self.log = self.err = None
        self.awaited = True  # somebody saw how the process ended
        self.history = []  # logs of earlier runs, for the report of a failing test

    # ---- life

    def start(self, ready=True):
        if self.log:
            self.history.append(self.log.since())
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BALENA_", "RESIN_", "LOCKKEEPER_", "DOCKER_"))}
        env.update(self.env)
        self.process = subprocess.Popen([*self.prefix, BINARY, *self.argv], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=sandbox.die_with_parent)
        self.awaited = False
        self.log = Lines(self.process.stdout, parse)
        self.err = Lines(self.process.stderr)
        if ready:
            self.wait("api_listening")
        return self

    def stop(self, sig=signal.SIGTERM):
        """A clean stop: exit code 0, within the deadline, and nothing for a sanitizer to say."""
        self.process.send_signal(sig)
        code, err = self.ends()
        assert code == 0, f"exit {code}: {err}"

    def kill(self):
        self.process.kill()
        self.ends()

    def ends(self):
        """Waits for it to end by itself; (exit code, standard error)."""
        code = self.process.wait(sandbox.DEADLINE)
        self.awaited = True
        self.log.join()
        self.err.join()
        text = "\n".join(self.err.since())
        check_sanitizers(text)
        return code, text

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    # ---- its log

    def mark(self):
        return self.log.mark()

    def wait(self, event, since=0, timeout=None, **fields):
        """The first such event from the mark `since` on. A field's wanted value may be a function of the value."""
        what = f"event {event} {fields or ''}"
        return self.log.wait(lambda e: fits(e, event, fields), since, timeout, what)

    def events(self, event=None, since=0, **fields):
        return [e for e in self.log.since(since) if event is None or fits(e, event, fields)]

    def settled(self, app_id, release=None, since=0, timeout=None):
        want = {"app": app_id} if release is None else {"app": app_id, "release": release}
        return self.wait("app_settled", since, timeout, **want)

    # ---- asking it

    @property
    def key(self):
        with open(f"{self.state}/api-key") as f:
            return f.read().strip()

    @property
    def api(self):
        return Api(self.listen[0] if self.listen[0].startswith("unix:") else f"http://{self.listen[0]}", self.key)

    def cli(self, name, *args, env=None, timeout=None):
        return command(name, "--state", self.state, *args, env=env, timeout=timeout)

    # ---- locks, seen from the host

    def lock_path(self, app_id, service, name="updates.lock"):
        return f"{self.lock_root}/{app_id}/{service}/{name}"

    def hold(self, app_id, service, name="updates.lock"):
        """Takes the lock as an application on the host side would: exclusively."""
        path = self.lock_path(app_id, service, name)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        return path

    def locks_on_disk(self):
        """Every lock below the lock root: {path relative to it: content}"""
        found = {}
        for base, _, files in os.walk(self.lock_root):
            for name in files:
                if name.endswith("updates.lock"):
                    path = f"{base}/{name}"
                    with contextlib.suppress(FileNotFoundError), open(path) as f:  # an application may be quicker
                        found[os.path.relpath(path, self.lock_root)] = f.read()
        return found

    def report(self):
        """For people: what it wrote."""
        lines = []
        for run in [*self.history, self.log.since() if self.log else []]:
            lines.append("---- log")
            lines += [text_of(e) for e in run]
        if self.err and self.err.since():
            lines += ["---- standard error", *self.err.since()]
        return "\n".join(lines)


def fits(e, event, fields):
    if e.get("event") != event:
        return False
    return all(want(e.get(k)) if callable(want) else e.get(k) == want for k, want in fields.items())


def text_of(e):
    if e["event"] is None:
        return e["line"]
    rest = " ".join(f"{k}={v}" for k, v in e.items() if k not in ("ts", "level", "event"))
    return f"{e.get('ts')} {e.get('level')} {e['event']} {rest}"
