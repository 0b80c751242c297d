"""What was measured on: without it a figure means nothing."""
import os
import subprocess
import time


def first_line(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=10).stdout.strip().split("\n")[0]
    except OSError:
        return "not there"


def cpu():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine


def memory():
    with open("/proc/meminfo") as f:
        return f"{int(f.readline().split()[1]) >> 10} MB"


def busy():
    """How much of the processors others use while we do nothing, in per cent."""
    def read():
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
        return sum(v), v[3] + v[4]
    a = read()
    time.sleep(1)
    b = read()
    return 100 * (1 - (b[1] - a[1]) / max(1, b[0] - a[0]))


def libraries(binary):
    """The shared libraries of the binary, so that "which libcurl" has an answer."""
    out = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    return [line.split()[0] for line in out.splitlines() if "=>" in line]


def facts(binary, engine_version):
    libs = libraries(binary)
    curl = next((lib for lib in libs if lib.startswith("libcurl")), "linked statically")
    return [
        f"{os.cpu_count()} processors ({cpu()}), {memory()} of memory, Linux {os.uname().release}",
        f"engine {engine_version}; libcurl {first_line('curl', '--version').split(' ')[1]} ({curl}, "
        f"{len(libs)} shared libraries in all)",
        f"lockkeeper {first_line(binary, '--version')}, release build, {os.path.getsize(binary) >> 10} KiB",
    ]
