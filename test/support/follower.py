"""GET /v2/events as a client sees it: a raw socket, read by a thread as events come."""
import json
import socket

from lines import Lines


class Event:
    def __init__(self, id, type, data):
        self.id, self.type, self.data = id, type, data
        self.nonce, _, n = id.rpartition("-")
        self.n = int(n)

    def __getitem__(self, key):
        return self.data.get(key)

    def __repr__(self):
        return f"<{self.id} {self.type} {self.data}>"

    @property
    def word(self):
        """step:started:stop:main, lock:seen:main, wait:began:locked, container:changed:main:running, container:gone:main, …"""
        # A container that went may have been seen while it was being removed, or not.
        state = ("state",) if self["what"] == "changed" else ()
        last = {"step": ("kind", "serviceName"), "lock": ("serviceName",), "wait": ("kind",),
                "container": ("serviceName", *state), "pull": ("percent",)}.get(self.type, ())
        return ":".join(str(w) for w in [self.type, self["what"], *map(self.data.get, last)] if w is not None)


def connect(address):
    if address.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(address[5:])
        return s
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)))


def blocks(stream):
    """What lies between empty lines, and what is left at the end."""
    block = b""
    for line in stream:
        if line.strip():
            block += line
        else:
            yield block
            block = b""
    yield block


def parse(block):
    """An event; of anything else (the head, a comment) its text."""
    if not block.startswith("id: "):
        return block
    fields = dict(line.split(": ", 1) for line in block.splitlines())
    return Event(fields["id"], fields["event"], json.loads(fields["data"]))


class Follower:
    """Stands when made: what happens from then on is told. read=False: never reads a byte of it."""

    def __init__(self, api, key=None, last_id=None, read=True):
        self.socket = connect(api.address)
        lines = ["GET /v2/events HTTP/1.0", f"Authorization: Bearer {key or api.key}"]
        if last_id is not None:
            lines.append(f"Last-Event-ID: {last_id}")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._items = None
        if not read:
            return
        self._items = Lines(blocks(self.socket.makefile("rb")), parse)
        self.status = int(self._items.wait(lambda item: str(item).startswith("HTTP/1.1 ")).split()[1])
        if self.status == 200:
            self._items.wait(lambda item: item == ": ok")

    @property
    def events(self):
        return [e for e in self._items.since() if isinstance(e, Event)]

    def mark(self):
        return self._items.mark()

    def wait(self, type, since=0, **members):
        """The first such event, from a mark on."""
        return self._items.wait(lambda e: isinstance(e, Event) and e.type == type and
                                all(e[k] == v for k, v in members.items()), since, what=f"event {type} {members}")

    def ends(self):
        """Waits until the other side closes."""
        self._items.join(30)
        assert self._items.closed, "the connection was not closed"

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was quicker
        self.socket.close()


def words(events):
    return [e.word for e in events]
