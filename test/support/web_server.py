"""A web server that serves a target, checks every request, and misbehaves by name when told to.

`faults` is a queue: each request takes one. What a well-behaved client must never send is kept in `complaints`, which the
fixture asserts to be empty.
"""
import hashlib
import os
import socket
import ssl
import subprocess
import threading
import time

from sandbox import DEADLINE


class Request:
    def __init__(self, method, path, headers, connection):
        self.method, self.path, self.headers, self.connection = method, path, headers, connection

    def __repr__(self):
        return f"{self.method} {self.path} {self.headers}"


class WebServer:
    def __init__(self, certificate=None):
        self.faults, self.requests, self.complaints = [], [], []
        self.body, self.etag, self.token = b"", None, None
        self.names = ["127.0.0.1", "localhost"]  # that a client may call it by
        self.released = threading.Event()  # ends the faults that hang
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self.port = self._listener.getsockname()[1]
        scheme, host = ("https", "localhost") if certificate else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self.port}/device.json"
        self._connections, self._clients = 0, []
        threading.Thread(target=self._accept, daemon=True).start()

    # ---- what the test does

    def serve(self, body, etag=True):
        with self._changed:
            self.body = body if isinstance(body, bytes) else body.encode()
            self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:16]}"' if etag else None

    def wait_requests(self, n, timeout=None):
        end = time.monotonic() + (timeout or DEADLINE)
        with self._changed:
            while len(self.requests) < n:
                assert self._changed.wait(end - time.monotonic()) or len(self.requests) >= n, \
                    f"{len(self.requests)} requests came in time, not {n}"
            return self.requests[n - 1]

    def close(self):
        self.released.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # close() alone would leave it listening while accept() waits
        except OSError:
            pass
        self._listener.close()
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # ---- the server

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connections += 1
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client, self._connections), daemon=True).start()

    def _serve(self, client, number):
        try:
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
            stream = client.makefile("rb")
            while self._one(client, stream, number):
                pass
        except (OSError, ssl.SSLError):
            pass
        finally:
            client.close()

    def _one(self, client, stream, number):
        line = stream.readline().decode("latin-1").strip()
        if not line:
            return False
        method, path, _ = line.split(" ", 2)
        headers = {}
        while (header := stream.readline().decode("latin-1").strip()):
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        self._check(method, headers)
        with self._changed:
            self.requests.append(Request(method, path, headers, number))
            fault = self.faults.pop(0) if self.faults else None
            body, etag = self.body, self.etag
            self._changed.notify_all()
        if fault:
            return self._misbehave(client, fault, body, etag)
        if etag and headers.get("if-none-match") == etag:
            return self._send(client, "304 Not Modified", b"", etag)
        return self._send(client, "200 OK", body, etag)

    def _check(self, method, headers):
        def complain(what):
            self.complaints.append(f"{what}: {headers}")

        if method != "GET":
            complain(f"method {method}")
        if headers.get("host") not in [f"{name}:{self.port}" for name in self.names]:
            complain("Host")
        if not headers.get("user-agent", "").startswith("Supervisor/19.0.5+lockkeeper."):
            complain("User-Agent")
        if int(headers.get("content-length", 0)) or "transfer-encoding" in headers:
            complain("a GET with a body")
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            complain("Authorization")

    @staticmethod
    def _send(client, status, body, etag=None, more=""):
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}"
        if etag:
            head += f"ETag: {etag}\r\n"
        if not status.startswith("304"):
            head += f"Content-Length: {len(body)}\r\n"
        client.sendall(head.encode() + b"\r\n" + (b"" if status.startswith("304") else body))
        return True

    def _misbehave(self, client, fault, body, etag):
        """True: the connection goes on."""
        name, _, detail = fault.partition(" ")
        if name == "status":  # "status 503", "status 429 Retry-After: 1"
            code, _, header = detail.partition(" ")
            return self._send(client, f"{code} Sorry", b"sorry", more=f"{header}\r\n" if header else "")
        if name == "redirect":
            return self._send(client, "302 Found", b"", more=f"Location: {detail}\r\n")
        if name == "not_modified":  # to a client that has nothing
            return self._send(client, "304 Not Modified", b"", '"never-sent"')
        if name == "huge":
            return self._send(client, "200 OK", b'{"apps": {}, "x": "' + b"x" * int(detail) + b'"}', '"huge"')
        if name == "wrong_type":
            return self._send(client, "200 OK", b"<html>captive portal</html>", '"portal"')
        if name == "half":  # closes in the middle of the body
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:len(body) // 2])
        elif name == "garbage":
            client.sendall(b"\x00\xff\xfe this is not HTTP\r\n\r\n")
        elif name == "hang":  # the head and half the body, then nothing until the test lets go
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:len(body) // 2])
            self.released.wait(DEADLINE)
            client.sendall(body[len(body) // 2:])
            return True
        elif name != "close":
            raise ValueError(fault)
        return False


def make_certificate(directory, host):
    """A self-signed certificate for `host`: (certificate file, key file); the first is also the CA file."""
    crt, key = f"{directory}/{host}.crt", f"{directory}/{host}.key"
    if not os.path.exists(crt):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
                        "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key
