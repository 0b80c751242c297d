"""Small images, made on the spot: a static busybox and a shell script that plays an application with an update lock."""
import base64
import io
import json
import os
import tarfile

import lock_app

APPLETS = ("sh cat rm mkdir rmdir sleep touch ln ls id nc httpd ip kill chmod mv true false env hostname stat "
           "wc head tail").split()

# The application. It says what it is told to stop with: "term free" or "term LOCKED" (stopped while it held its lock).
# APP_MODE: idle; locked (takes the lock at start and keeps it); storm (takes and gives it back for ever); slow (needs three
# seconds to stop); deaf (ignores TERM: killed after ten); web (answers "hello" on port 80); once (exits at once); crash
# (exits 3); cycles, stubborn and wants are those of lock_app.c.
APP = r"""#!/bin/sh
lock=/tmp/balena/updates.lock
held=free
out=/dev/null
[ -d /record ] && out=/record/record
say() { echo "$*"; echo "$*" >> $out; }
on_term() { say "term $held"; exit 0; }
take() { (set -C; : > $lock) 2>/dev/null; }
case $APP_MODE in
cycles | stubborn | wants) exec /lock_app ;;
deaf) trap 'say "term ignored"' TERM ;;
slow) trap 'say "term slow"; sleep 3; exit 0' TERM ;;
*) trap on_term TERM ;;
esac
say "up ${VERSION:-0}"
case $APP_MODE in
once) exit 0 ;;
crash) exit 3 ;;
locked) take && held=LOCKED && say taken || say refused ;;
web) mkdir /tmp/www && echo hello > /tmp/www/index.html && httpd -p 80 -h /tmp/www ;;
storm)
	set -C
	while :; do
		if { true > $lock; } 2>/dev/null; then
			held=LOCKED
			held=free # before it goes: a stop that follows the rm at once is no offence
			rm $lock
		fi
	done ;;
esac
while :; do sleep 3600 & wait $!; done
"""


def app_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(name, data=b"", kind=tarfile.REGTYPE, mode=0o755, link=""):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
            tar.addfile(info, io.BytesIO(data))

        for d in ("bin", "etc", "proc", "sys", "dev"):
            add(d, kind=tarfile.DIRTYPE)
        add("tmp", kind=tarfile.DIRTYPE, mode=0o1777)
        with open(os.environ.get("BUSYBOX", "/bin/busybox"), "rb") as f:
            add("bin/busybox", f.read())
        for applet in APPLETS:
            add(f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox")
        add("app", APP.encode())
        add("lock_app", lock_app.binary())
        add("etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", mode=0o644)
    return out.getvalue()


class Images:
    BASE = "lk-base:1"

    def __init__(self, engine, registry):
        self.engine, self.registry = engine, registry
        self._tar = app_tar()

    def make(self, ref, **env):
        """A local image that nobody could pull."""
        repo, _, tag = ref.rpartition(":")
        changes = ['CMD ["/app"]'] + [f"ENV {k}={v}" for k, v in env.items()]
        self.engine.call("POST", "/images/create", self._tar,
                         query={"fromSrc": "-", "repo": repo, "tag": tag, "changes": changes},
                         headers={"Content-Type": "application/x-tar"})
        return ref

    def push(self, name, **env):
        """An image that is in the registry and not in the engine; name like app:1."""
        ref = self.make(f"{self.registry.address}/{name}", **env)
        repo, _, tag = ref.rpartition(":")
        auth = base64.b64encode(json.dumps({}).encode()).decode()
        r = self.engine.call("POST", f"/images/{repo}/push", query={"tag": tag}, headers={"X-Registry-Auth": auth})
        assert "errorDetail" not in r.text, r.text
        self.forget(ref)
        return ref

    def forget(self, ref):
        self.engine.call("DELETE", f"/images/{ref}", query={"force": 1}, ok=(200, 404))

    def has(self, ref):
        return self.engine.call("GET", f"/images/{ref}/json", ok=(200, 404)).status == 200
