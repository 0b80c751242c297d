"""What was measured on: without it a figure means nothing."""
import os
import subprocess
import time


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
    said = subprocess.run([binary, "--version", "--verbose"], capture_output=True, text=True).stdout.splitlines()
    tuned = [f"{k}={v}" for k, v in os.environ.items() if k == "GLIBC_TUNABLES" or k.startswith("MALLOC_")]
    return [
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {os.cpu_count()} processors ({cpu()}), {memory()} of memory, "
        f"Linux {os.uname().release}, engine {engine_version}",
        f"{said[0] if said else 'no version'}, release build, {os.path.getsize(binary) >> 10} KiB, with "
        + ", ".join(" ".join(line.split()) for line in said[1:]),
        f"shared libraries: {', '.join(libraries(binary))}" + (f"; {' '.join(tuned)}" if tuned else ""),
    ]
