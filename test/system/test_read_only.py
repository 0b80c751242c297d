"""Nothing is written but below the state directory and the lock roots: a container may have everything else read-only."""
import os
import re
import shutil

from story import give_back, in_order, take, told
from target import app, document, service

# Everything read-only but the directories named first, up to "--"; then the program.
READ_ONLY = r"""
import ctypes, os, sys
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, NEWNS = 1, 32, 4096, 16384, 1 << 18, 0x20000
libc = ctypes.CDLL(None, use_errno=True)
def must(rc, what):
    if rc: sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
at = sys.argv.index("--")
kept = [p.encode() for p in sys.argv[1:at]]
must(libc.unshare(NEWNS), "unshare")
must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private")
for path in kept:
    must(libc.mount(path, path, None, MS_BIND, None), path)
points = [line.split()[4] for line in open("/proc/self/mountinfo")]
for point in {p.encode().decode("unicode_escape").encode("latin-1") for p in points}:
    if point not in kept:
        libc.mount(b"none", point, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)  # what is hidden by another cannot be
try:
    os.mkdir("/lk-read-only")
    sys.exit("the root is not read-only")
except OSError as e:
    assert e.errno == 30, e
os.execv(sys.argv[at + 1], sys.argv[at + 1:])
"""

# A directory as the root of a plain container: only the host's lock directory (2) is mounted into it (1).
PLAIN = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, 16384 | 1 << 18, None) == 0
assert libc.mount(sys.argv[2].encode(), sys.argv[1].encode(), None, 4096, None) == 0
os.execv(sys.argv[4], sys.argv[4:])
"""


def python(script, *args):
    return [shutil.which("python3") or "/usr/bin/python3", "-c", script, *args, "--"]


def update_story(lab, engine, s):
    """An update that waits for a lock of the application, and then an end of everything."""
    s.settled(1, "r1")
    main = engine.services(1)["main"][0]
    assert take(engine, main)
    lab.write(document(app(1, "r2", {"main": service(lab.image(2)), "db": service(lab.image(1))})))
    s.wait("update_blocked", service="main")
    assert engine.services(1)["main"][0] == main
    give_back(engine, main)
    s.settled(1, "r2")
    assert s.cli("update", "--wait").code == 0
    assert s.locks_on_disk() == {}
    in_order(told(s.events()), "update_blocked", "lock_gone", "update_resumed", "lock_taken", "stop:main", "start:main",
             "lock_released", "app_settled")


def complaints(s):
    return [e for e in s.events() if e["level"] in ("warn", "error") and e["event"] != "update_blocked"]


def tree(directory):
    return sorted(os.path.relpath(os.path.join(base, n), directory)
                  for base, dirs, files in os.walk(directory) for n in [*dirs, *files])


def test_a_whole_update_works_with_everything_else_read_only(lab, engine):
    state, locks = f"{lab.dir}/state", f"{lab.dir}/locks"
    os.mkdir(state)
    os.mkdir(locks)
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor(listen=[f"unix:{state}/api.sock"], prefix=python(READ_ONLY, state, locks))
    update_story(lab, engine, s)
    assert complaints(s) == []
    s.stop()
    s.start()  # and once more, with what is there already
    s.settled(1, "r2")
    assert complaints(s) == []


def test_a_read_only_run_directory_of_the_host_is_no_reason_to_warn(lab, engine):
    """The exclusion from the ageing of /tmp is a courtesy: where it cannot be written the log says so without alarm."""
    root = f"{lab.dir}/root"
    os.makedirs(f"{root}/run/systemd/system")
    os.mkdir(f"{root}/tmp")
    os.chmod(f"{root}/tmp", 0o1777)
    state = f"{lab.dir}/state"
    os.mkdir(state)
    lab.write(document())
    s = lab.supervisor(listen=[f"unix:{state}/api.sock"], lock_root="/tmp/lk/services", args=["--root", root],
                       prefix=python(READ_ONLY, state, f"{root}/tmp"))
    said = s.wait("lock_ageing_not_told")
    assert said["level"] == "info" and "Read-only" in said["err"]
    assert s.cli("update", "--wait").code == 0
    assert complaints(s) == [] and not os.path.exists(f"{root}/run/tmpfiles.d")


def test_a_plain_container_needs_the_lock_directory_of_the_host_and_nothing_more(lab, engine):
    """docker run -v /tmp/balena-supervisor:/mnt/root/tmp/balena-supervisor: no legacy directory is there to be seen."""
    host = f"{lab.dir}/tmp/balena-supervisor"
    root = f"{lab.dir}/box"  # /mnt/root of the container, on its own writable file system
    inside = root + host
    os.makedirs(host)
    os.makedirs(inside)
    before = tree(root)
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    s = lab.supervisor(lock_root=f"{host}/services", args=["--root", root], prefix=python(PLAIN, inside, host))
    update_story(lab, engine, s)
    assert complaints(s) == []
    assert tree(root) == before
    assert os.path.isdir(f"{host}/services/1/main")
    s.stop()
    s.start()
    s.settled(1, "r2")
    assert complaints(s) == [] and tree(root) == before


def test_a_lock_directory_that_cannot_be_made_is_refused_and_named(lab, engine):
    """The bind was forgotten, and the container's own root is read-only."""
    state, root = f"{lab.dir}/state", f"{lab.dir}/root"
    os.makedirs(f"{root}/tmp")
    os.chmod(f"{root}/tmp", 0o1777)
    os.mkdir(state)
    lab.write(document())
    s = lab.supervisor(start=False, lock_root="/tmp/balena-supervisor/services", args=["--root", root],
                       prefix=python(READ_ONLY, state))
    s.start(ready=False)
    code, err = s.ends()
    assert code == 1 and "/tmp/balena-supervisor" in err and "Read-only" in err
    assert tree(root) == ["tmp"]


WRITES = re.compile(r'^\d+ +(?:(?P<open>openat|open|openat2)|mkdir\w*|rename\w*|unlink\w*|rmdir|link\w*|symlink\w*|mknod\w*|'
                    r'f?chmod\w*|l?f?chown\w*|truncate|creat|utimensat)\(')
READS = ("O_RDONLY", "O_PATH")


def test_every_path_that_is_written_lies_below_the_state_directory_or_the_lock_roots(lab, engine):
    trace = f"{lab.dir}/trace"
    lab.write(document(app(1, "r1", {"main": service(lab.image(1))})))
    # -y names the directory behind each descriptor, so that names relative to one are whole
    # (a sanitizer cannot look for leaks in a traced program)
    s = lab.supervisor(start=False, listen=[f"unix:{lab.dir}/state/api.sock"], env={"ASAN_OPTIONS": "detect_leaks=0"},
                       prefix=[shutil.which("strace") or "strace", "-f", "-y", "-D", "-o", trace, "-e",
                               "trace=%file,fchmod,fchown,mkdirat,renameat,linkat"])
    os.makedirs(s.state)
    s.start()
    update_story(lab, engine, s)
    s.stop()
    with open(trace) as f:
        lines = [line.rstrip("\n") for line in f]
    written, allowed = set(), (s.state, s.lock_root)
    for line in lines:
        m = WRITES.match(line)
        if not m or " = -1 " in line or (m["open"] and "O_CREAT" not in line and not
                                         re.search(r"O_WRONLY|O_RDWR|O_TRUNC", line)):
            continue
        written.add(where(line))
    assert written and any(p.startswith(s.lock_root) for p in written)
    strangers = [p for p in written if not p.startswith(allowed) and p != "/proc/self/fd/1"]  # its own log
    assert strangers == [], strangers


def where(line):
    """The path that a traced call is about: the last it names, below the directory it starts from."""
    named = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"', line)
    if not named:  # by descriptor alone
        return re.search(r"<([^>]*)>", line)[1]
    base, name = named[-1]
    return os.path.normpath(os.path.join(base or "/", name))
