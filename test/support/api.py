"""The local API as a client sees it."""
import wire


class Api:
    def __init__(self, address, key=None):
        self.address, self.key = address, key

    def call(self, method, path, body=None, key="own", headers=None, timeout=None):
        headers = dict(headers or {})
        key = self.key if key == "own" else key
        if key:
            headers.setdefault("Authorization", f"Bearer {key}")
        return wire.request(self.address, method, path, body, headers, timeout)

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.call("POST", path, body, **kw)

    def json(self, path, **kw):
        r = self.get(path, **kw)
        assert r.status == 200, f"GET {path}: {r}"
        return r.json()

    @property
    def waits(self):
        return self.json("/v2/plan")["waits"]

    @property
    def steps(self):
        return self.json("/v2/plan")["steps"]

    @property
    def locks(self):
        return self.json("/v2/locks")
