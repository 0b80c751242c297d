"""Lines that a process writes, read by a thread as they come, so that a test can wait for one without sleeping."""
import threading
import time

from sandbox import DEADLINE


class Lines:
    def __init__(self, stream, parse=lambda line: line):
        self.items = []
        self.closed = False
        self._parse = parse
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        try:
            for raw in stream:
                item = self._parse(raw.decode("utf-8", "replace").rstrip("\n"))
                with self._changed:
                    self.items.append(item)
                    self._changed.notify_all()
        except (ValueError, OSError):
            pass  # closed by the test
        finally:
            with self._changed:
                self.closed = True
                self._changed.notify_all()

    def mark(self):
        """A place to wait from: what was written before it does not count."""
        with self._changed:
            return len(self.items)

    def since(self, mark=0):
        with self._changed:
            return self.items[mark:]

    def wait(self, fits, since=0, timeout=None, what="a line"):
        """The first item from `since` on for which fits(item) is true; AssertionError at the deadline or the end."""
        end = time.monotonic() + (timeout or DEADLINE)
        with self._changed:
            while True:
                while since < len(self.items):
                    if fits(self.items[since]):
                        return self.items[since]
                    since += 1
                if self.closed:
                    raise AssertionError(f"{what} never came: the process closed its output")
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what} did not come in time")
                self._changed.wait(left)

    def join(self, timeout=5):
        self._thread.join(timeout)
