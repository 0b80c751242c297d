"""One HTTP request over TCP or a Unix socket, with nothing in between."""
import http.client
import json
import socket
import time

from sandbox import DEADLINE


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(address, timeout=None):
    """address: unix:PATH or http://HOST:PORT"""
    timeout = timeout or DEADLINE
    if address.startswith("unix:"):
        return UnixConnection(address[5:], timeout)
    host, port = address.removeprefix("http://").rstrip("/").rsplit(":", 1)
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)


def request(address, method, path, body=None, headers=None, timeout=None):
    c = connection(address, timeout)
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (bytes, str)) and not hasattr(body, "read"):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    try:
        c.request(method, path, body=body, headers=headers)
        r = c.getresponse()
        return Response(r.status, r.headers, r.read())
    finally:
        c.close()


def until_served(address, path, seconds=30):
    """GET until somebody answers: a port is published a moment before the application behind it listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return request(address, "GET", path)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
