"""What one test works with: its own directory, images and supervisors; all of it gone afterwards."""
import itertools
import json
import os
import shutil

from supervisor import Supervisor

_numbers = itertools.count(1)


class Lab:
    def __init__(self, base, engine, images):
        self.number = next(_numbers)
        self.dir = f"{base}/t{self.number}"
        os.mkdir(self.dir)
        self.engine, self.images = engine, images
        self.target = f"{self.dir}/target.json"
        # A link, so that a test can take the engine away from one supervisor, and give it back.
        self.engine_socket = f"{self.dir}/engine.sock"
        os.symlink(engine.socket, self.engine_socket)
        self.supervisors, self._made = [], set()
        self._closing = []

    def image(self, version=1, name="app", **env):
        """A local image of this test alone: the supervisor may remove it when it is no longer needed."""
        ref = f"lk-t{self.number}/{name}:{version}"
        if ref not in self._made:  # making it again would change what the name means
            self._made.add(self.images.make(ref, VERSION=version, **env))
        return ref

    def write(self, document):
        """The target file, replaced at once."""
        text = document if isinstance(document, (bytes, str)) else json.dumps(document)
        with open(f"{self.target}.new", "wb") as f:
            f.write(text.encode() if isinstance(text, str) else text)
        os.chmod(f"{self.target}.new", 0o644)
        os.replace(f"{self.target}.new", self.target)

    def supervisor(self, target=None, start=True, directory=None, **kw):
        s = Supervisor(directory or self.dir, kw.pop("engine_socket", self.engine_socket),
                       target=target or self.target, **kw)
        self.supervisors.append(s)
        return s.start() if start else s

    def run(self, document, app_id=1, release=None, **kw):
        """The usual beginning: a target, a supervisor, and everything of it running."""
        self.write(document)
        s = self.supervisor(**kw)
        s.settled(app_id, release)
        return s

    def apply(self, s, document):
        """A new target, applied to its end: nothing left to do and nothing waited for."""
        self.write(document)
        done = s.cli("update", "--wait")
        assert done.code == 0, done

    def at_end(self, fn):
        self._closing.append(fn)

    def report(self):
        return "\n".join(s.report() for s in self.supervisors)

    def close(self):
        """Everything is taken down before anything is complained about."""
        problems = []
        for fn in reversed(self._closing):
            try:
                fn()
            except Exception as e:  # the first problem must not hide the next
                problems.append(repr(e))
        for s in self.supervisors:
            try:
                if s.running:
                    s.stop()
                elif not s.awaited:
                    raise AssertionError("it ended by itself: %s %s" % s.ends())
            except Exception as e:
                problems.append(f"supervisor: {e!r}")
                if s.running:
                    s.kill()
        self.engine.clean()
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not problems, "\n".join([*problems, self.report()])
