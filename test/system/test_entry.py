"""lockkeeper-entry, with real partitions on loop devices; what it becomes is a program that says what it was given."""
import base64
import json
import os
import shutil
import subprocess

import pytest

import disk
import sandbox
import supervisor
from disk import HostRoot

ENTRY = f"{os.path.dirname(supervisor.BINARY)}/lockkeeper-entry"
# Stands where lockkeeper would: what the entry program prepared, as seen by the program it became.
WITNESS = """#!/usr/bin/python3
import json, os, sys
mounts = [line.split() for line in open("/proc/self/mountinfo")]
state = os.environ.get("STATE_DIRECTORY", "")
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid(),
                  "mounts": [(m[4], m[2], m[m.index("-") + 2], m[m.index("-") - 1], m[5].split(",")) for m in mounts],
                  "listed": sorted(os.listdir(state)) if os.path.isdir(state) else None}))
"""
NORMAL = (("resin-boot", None, "ext4"), (None, None, None), ("resin-state", None, "ext4"), ("resin-data", None, "ext4"))


class Entry:
    """One made-up device: a host's root, and the container's directories."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(f"{directory}/bin")
        shutil.copy(ENTRY, f"{directory}/bin/lockkeeper-entry")
        with open(f"{directory}/bin/lockkeeper", "w") as f:
            f.write(WITNESS)
        os.chmod(f"{directory}/bin/lockkeeper", 0o755)
        self.host = None

    def a_host(self, **kw):
        self.host = HostRoot(f"{self.dir}/host", **kw)
        return self.host

    def normal(self, *partitions):
        disk = self.a_host().disk(*(partitions or NORMAL))
        self.host.mount(disk, 1)
        return disk

    @property
    def places(self):
        return [f"{self.dir}/{name}" for name in ("boot", "state", "data")]

    def run(self, *args, before=None, **env):
        """Runs it to its end in a mount name space of its own; `before` is called in there first."""
        given = {"PATH": os.environ["PATH"], "ROOT_MOUNTPOINT": f"{self.dir}/host", "BOOT_MOUNTPOINT": self.places[0],
                 "STATE_MOUNTPOINT": self.places[1], "DATA_MOUNTPOINT": self.places[2],
                 "STATE_DIRECTORY": f"{self.dir}/own", "DATABASE_PATH": f"{self.dir}/own/database.sqlite", **env}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            given[name] = os.environ[name]

        def alone():
            sandbox.libc.unshare(sandbox.CLONE_NEWNS)
            sandbox.libc.mount(b"none", b"/", None, sandbox.MS_REC | sandbox.MS_PRIVATE, None)
            if before:
                before()

        process = subprocess.Popen([f"{self.dir}/bin/lockkeeper-entry", *args], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=alone,
                                   env={k: v for k, v in given.items() if v is not None})
        out, err = process.communicate(timeout=sandbox.DEADLINE)
        supervisor.check_sanitizers(err)
        return Ended(process, out, err)

    def close(self):
        if self.host:
            self.host.close()
        sandbox.unmount_below(self.dir)


class Ended:
    def __init__(self, process, out, err):
        self.code, self.err, self.started_pid = process.returncode, err, process.pid
        self.became = json.loads(out) if out else None

    def mounted(self, point):
        """What is mounted there, outermost first."""
        return [m[2] for m in self.became["mounts"] if m[0] == point]

    def env(self, name):
        return self.became["env"].get(name)


@pytest.fixture
def entry(base):
    number = len(os.listdir(base))
    e = Entry(f"{base}/entry{number}")
    yield e
    e.close()
    shutil.rmtree(e.dir)


def refused(ended, *words):
    assert ended.code == 1 and ended.became is None, (ended.code, ended.err)
    assert ended.err.startswith("lockkeeper-entry: ")
    for word in words:
        assert word in ended.err, ended.err


# ---- the partitions


@pytest.mark.parametrize("prefix", ["resin", "balena"])
def test_the_partitions_are_found_by_the_labels_of_their_file_systems_and_mounted(entry, prefix):
    d = entry.normal(*((label and label.replace("resin", prefix), name, kind) for label, name, kind in NORMAL))
    ended = entry.run()
    assert ended.code == 0, ended.err
    for place, number in zip(entry.places, (1, 3, 4)):
        assert ended.mounted(place) == [d.node(number)]
    assert f'mounted {d.name}p3 (ext4, "{prefix}-state") at {entry.places[1]}' in ended.err


def test_the_names_in_the_partition_table_do_where_file_systems_have_no_label(entry):
    d = entry.normal((None, "resin-boot", "ext4"), (None, "resin-rootA", "ext4"), (None, "resin-data", "ext4"),
                     (None, "resin-state", "ext4"))
    ended = entry.run()
    assert ended.code == 0, ended.err
    assert [ended.mounted(p) for p in entry.places] == [[d.node(1)], [d.node(4)], [d.node(3)]]


def test_the_label_of_a_file_system_counts_before_the_name_in_the_table(entry):
    d = entry.normal(("resin-boot", "resin-state", "ext4"), ("resin-state", "resin-data", "ext4"),
                     ("resin-data", "resin-boot", "ext4"))
    ended = entry.run()
    assert [ended.mounted(p) for p in entry.places] == [[d.node(1)], [d.node(2)], [d.node(3)]]


def test_an_old_partition_table_without_names_does_as_well(entry):
    d = entry.a_host().disk(*(p for p in NORMAL if p[2]), table="dos")
    entry.host.mount(d, 1)
    ended = entry.run()
    assert [ended.mounted(p) for p in entry.places] == [[d.node(1)], [d.node(2)], [d.node(3)]]


def test_a_second_disk_with_the_same_labels_is_never_chosen(entry):
    entry.a_host()
    stick, own = entry.host.disk(*NORMAL), entry.host.disk(*NORMAL)
    entry.host.mount(own, 1)
    ended = entry.run()
    assert [ended.mounted(p) for p in entry.places] == [[own.node(1)], [own.node(3)], [own.node(4)]]
    assert stick.name not in ended.err


def test_a_partition_that_only_another_disk_has_is_missing(entry):
    entry.a_host()
    entry.host.disk(*NORMAL)
    own = entry.host.disk(*NORMAL[:3])
    entry.host.mount(own, 1)
    refused(entry.run(), f"no partition of disk {own.name} has the label resin-data or balena-data",
            f'{own.name}p3 "resin-state"')


def test_a_partition_of_the_right_name_without_a_file_system_is_refused(entry):
    d = entry.normal(*NORMAL[:3], (None, "resin-data", None))
    refused(entry.run(), f"the data partition of disk {d.name} holds no file system")


def test_a_label_that_only_begins_like_the_wanted_one_is_another(entry):
    entry.normal(*NORMAL[:3], ("resin-data2", "resin-dat", "ext4"))
    refused(entry.run(), "resin-data or balena-data")


def test_a_fat_boot_partition_is_recognised_by_its_label(entry):
    entry.a_host()
    d = entry.host.disk(("resin-boot", None, "vfat"), ("any", None, "ext4"), *NORMAL[2:])
    entry.host.mount(d, 2, "mnt/efi")
    ended = entry.run()
    with open("/proc/filesystems") as f:
        if "\tvfat\n" in f.read():
            assert ended.mounted(entry.places[0]) == [d.node(1)]
        else:  # found, and the kernel says that it cannot
            refused(ended, f"mount {d.node(1)} (vfat) at {entry.places[0]}: No such device")


def test_a_host_that_booted_from_an_encrypted_disk_is_found_by_its_plain_partition(entry):
    entry.a_host()
    d = entry.host.disk(("efi", None, "ext4"), *NORMAL)
    entry.host.mount(d, 1, "mnt/efi")
    ended = entry.run()
    assert ended.mounted(entry.places[0]) == [d.node(2)]


def test_what_is_mounted_already_is_not_mounted_again(entry):
    d = entry.normal()

    def before():
        os.makedirs(entry.places[1])
        disk.mount(d.node(3), entry.places[1], "ext4")

    ended = entry.run(before=before)
    assert ended.mounted(entry.places[1]) == [d.node(3)]
    assert f"{d.name}p3 is already mounted at {entry.places[1]}" in ended.err


def test_what_the_host_has_read_only_is_mounted_read_only(entry):
    d = entry.a_host().disk(*NORMAL)
    entry.host.mount(d, 1, flags=disk.MS_RDONLY)
    ended = entry.run()
    options = {m[0]: m[4] for m in ended.became["mounts"]}
    assert "ro" in options[entry.places[0]] and "rw" in options[entry.places[1]]
    assert all({"nosuid", "nodev"} <= set(options[p]) for p in entry.places)
    assert f"at {entry.places[0]}, read-only\n" in ended.err


def test_something_else_mounted_in_that_place_is_covered(entry):
    d = entry.normal()

    def before():
        os.makedirs(entry.places[1])
        disk.mount("other", entry.places[1], "tmpfs")

    ended = entry.run(before=before)
    assert ended.mounted(entry.places[1]) == ["other", d.node(3)]


def test_a_node_that_is_another_device_is_not_believed(entry):
    d = entry.normal()
    os.unlink(d.node(4))
    os.link(d.node(3), d.node(4))
    refused(entry.run(), f"{d.node(4)} is not the device that the kernel calls so", "resin-data or balena-data")


def test_balena_os_without_its_boot_partition_is_refused(entry):
    entry.a_host().disk(*NORMAL)
    refused(entry.run(), "/mnt/boot, /mnt/efi, /mnt/rpi and /mnt/imx", f"{entry.dir}/host")


def test_a_mount_point_that_cannot_be_made_is_named(entry):
    entry.normal()
    with open(f"{entry.dir}/file", "w"):
        pass
    refused(entry.run(STATE_MOUNTPOINT=f"{entry.dir}/file/state"), f"make directory {entry.dir}/file")


def test_a_label_cannot_begin_a_line_of_its_own_in_the_log(entry):
    d = entry.normal(*NORMAL[:3], ("evil\nline", None, "ext4"))
    refused(entry.run(), f'{d.name}p4 "evil?line"')


# ---- a directory for the data


def test_the_own_directory_is_bound_from_the_data_partition(entry):
    d = entry.normal()
    ended = entry.run()
    assert ended.mounted(f"{entry.dir}/own") == [d.node(4)]
    row, = (m for m in ended.became["mounts"] if m[0] == f"{entry.dir}/own")
    assert row[3].startswith("shared:")
    again = entry.run()  # kept on the partition
    assert again.mounted(f"{entry.dir}/own") == [d.node(4)]
    on_disk = f"{entry.dir}/look"
    os.mkdir(on_disk)
    disk.mount(d.node(4), on_disk, "ext4")
    assert os.path.isdir(f"{on_disk}/resin-data/balena-supervisor")


@pytest.mark.parametrize("given", ["database", "mount"])
def test_a_directory_that_the_host_gave_stays_as_it_is(entry, given):
    entry.normal()

    def before():
        os.makedirs(f"{entry.dir}/own")
        if given == "mount":
            disk.mount("given", f"{entry.dir}/own", "tmpfs")
        else:
            with open(f"{entry.dir}/own/database.sqlite", "w"):
                pass

    ended = entry.run(before=before)
    assert ended.mounted(f"{entry.dir}/own") == (["given"] if given == "mount" else [])


def test_a_database_without_a_directory_is_refused(entry):
    entry.normal()
    refused(entry.run(DATABASE_PATH="database.sqlite"), "DATABASE_PATH (database.sqlite) names no file in a directory")


# ---- other hosts


def test_on_any_other_host_nothing_is_mounted_and_it_goes_on(entry):
    d = entry.a_host(os_release='ID=debian\nNAME="Debian"\n').disk(*NORMAL)
    entry.host.mount(d, 1)
    ended = entry.run()
    assert ended.code == 0 and ended.err == ""
    assert [ended.mounted(p) for p in entry.places] == [[], [], []]


def test_without_a_host_root_it_goes_on(entry):
    ended = entry.run(ROOT_MOUNTPOINT=f"{entry.dir}/nowhere")
    assert ended.code == 0 and ended.err == "" and ended.became["argv"] == ["run"]


def test_the_variable_test_leaves_out_the_mounting(entry):
    entry.a_host()
    ended = entry.run(TEST="1")
    assert ended.code == 0 and ended.err == ""


# ---- what it becomes


def test_it_becomes_run_with_the_flags_given_in_the_same_process(entry):
    for args in ([], ["--target", "x y", "--log-level=debug"]):
        ended = entry.run(*args)
        assert ended.became["argv"] == ["run", *args]
        assert ended.became["pid"] == ended.started_pid


@pytest.mark.parametrize("args", [["health"], ["status", "--json"], ["--version"], ["--version", "--verbose"], ["--help"]])
def test_a_sub_command_or_a_question_is_passed_on_and_nothing_is_prepared(entry, args):
    entry.a_host()  # balenaOS without a boot partition: preparing would fail
    ended = entry.run(*args, CONFIG_MOUNT_POINT=None)
    assert ended.code == 0, ended.err
    assert ended.became["argv"] == args
    assert ended.env("CONFIG_MOUNT_POINT") is None


def test_the_defaults_of_the_environment_are_those_of_the_reference(entry):
    unset = dict.fromkeys(("BOOT_MOUNTPOINT", "STATE_MOUNTPOINT", "DATA_MOUNTPOINT", "DATABASE_PATH"))
    ended = entry.run(ROOT_MOUNTPOINT=f"{entry.dir}/", STATE_DIRECTORY="null", HOST_OS_VERSION_PATH="undefined",
                      CONFIG_MOUNT_POINT="", DBUS_SYSTEM_BUS_ADDRESS="null", **unset)
    assert {name: ended.env(name) for name in (
        "BOOT_MOUNTPOINT", "STATE_MOUNTPOINT", "DATA_MOUNTPOINT", "CONFIG_MOUNT_POINT", "HOST_OS_VERSION_PATH",
        "DATABASE_PATH", "STATE_DIRECTORY", "DBUS_SYSTEM_BUS_ADDRESS")} == {
        "BOOT_MOUNTPOINT": "/mnt/boot", "STATE_MOUNTPOINT": "/mnt/state", "DATA_MOUNTPOINT": "/mnt/data",
        "CONFIG_MOUNT_POINT": "/mnt/boot/config.json", "HOST_OS_VERSION_PATH": f"{entry.dir}/etc/os-release",
        "DATABASE_PATH": "/data/database.sqlite", "STATE_DIRECTORY": "/data",
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={entry.dir}/run/dbus/system_bus_socket"}
    assert entry.run(ROOT_MOUNTPOINT=None, TEST="1").env("ROOT_MOUNTPOINT") == "/mnt/root"


def test_a_variable_that_is_set_is_kept(entry):
    ended = entry.run(CONFIG_MOUNT_POINT="/c.json", HOST_OS_VERSION_PATH="/o", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/b")
    assert [ended.env(n) for n in ("CONFIG_MOUNT_POINT", "HOST_OS_VERSION_PATH", "DBUS_SYSTEM_BUS_ADDRESS",
                                   "BOOT_MOUNTPOINT")] == ["/c.json", "/o", "unix:path=/b", entry.places[0]]


def test_a_missing_lockkeeper_is_told(entry):
    os.unlink(f"{entry.dir}/bin/lockkeeper")
    refused(entry.run(), f"start {entry.dir}/bin/lockkeeper: No such file or directory")


# ---- certificates of one's own


def certificate(entry, name):
    key, cert = f"{entry.dir}/{name}.key", f"{entry.dir}/{name}.pem"
    disk.command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                 "-out", cert, "-days", "2", "-subj", f"/CN={name}")
    with open(cert) as f:
        return f.read()


def subjects(path):
    done = subprocess.run(["openssl", "storeutl", "-noout", "-text", "-certs", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split("CN")[-1].strip(" =") for line in done.stdout.splitlines() if "Subject: " in line]


@pytest.mark.parametrize("form", ["PEM", "base64"])
def test_a_root_certificate_is_added_to_the_bundle_and_named_to_the_supervisor(entry, form):
    extra, public = certificate(entry, "owner"), certificate(entry, "public")
    text = extra if form == "PEM" else base64.b64encode(extra.encode()).decode()
    ended = entry.run(BALENA_ROOT_CA=text, NODE_EXTRA_CA_CERTS="/etc/ssl/certs/balenaRootCA.pem",
                      SSL_CERT_FILE=f"{entry.dir}/public.pem")
    assert ended.code == 0 and ended.err == ""
    assert ended.env("SSL_CERT_FILE") == f"{entry.dir}/own/ca-bundle.pem"
    assert subjects(ended.env("SSL_CERT_FILE")) == ["public", "owner"]
    with open(ended.env("SSL_CERT_FILE")) as f:
        assert f.read() == public + extra
    assert ended.became["listed"] == ["ca-bundle.pem"]


def test_a_file_of_certificates_is_added_from_here_or_from_the_host(entry):
    certificate(entry, "one"), certificate(entry, "two")
    os.makedirs(f"{entry.dir}/host/certs")
    shutil.move(f"{entry.dir}/two.pem", f"{entry.dir}/host/certs/two.pem")
    for path, want in ((f"{entry.dir}/one.pem", ["one"]), ("/certs/two.pem", ["two"])):
        ended = entry.run(NODE_EXTRA_CA_CERTS=path, SSL_CERT_FILE="/dev/null/none")
        assert subjects(ended.env("SSL_CERT_FILE")) == want
        assert "/dev/null/none" in ended.err  # the bundle they were to be added to


def test_a_bundle_that_would_not_change_is_not_written(entry):
    text = certificate(entry, "owner")
    first = entry.run(BALENA_ROOT_CA=text).env("SSL_CERT_FILE")
    before = os.stat(first)
    assert entry.run(BALENA_ROOT_CA=text, SSL_CERT_FILE=first).env("SSL_CERT_FILE") == first
    after = os.stat(first)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert entry.run(BALENA_ROOT_CA=certificate(entry, "next")).code == 0
    assert os.stat(first).st_ino != before.st_ino
    assert subjects(first)[-1] == "next"


@pytest.mark.parametrize("text", ["rubbish", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "x" * 65537])
def test_a_broken_certificate_is_told_and_left_out(entry, text):
    ended = entry.run(BALENA_ROOT_CA=text)
    assert ended.code == 0
    assert ended.err.startswith("lockkeeper-entry: BALENA_ROOT_CA is left out: ")
    assert ended.env("SSL_CERT_FILE") is None


def test_a_state_directory_that_cannot_be_written_is_told_and_the_image_s_bundle_stays(entry):
    text = certificate(entry, "owner")
    ended = entry.run(BALENA_ROOT_CA=text, STATE_DIRECTORY="/proc")
    assert ended.code == 0 and "additional certificates are left out: write /proc/ca-bundle.pem" in ended.err
    assert ended.env("SSL_CERT_FILE") is None
