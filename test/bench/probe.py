"""What the kernel tells about one process."""
import glob


def memory(pid):
    """{Pss, Rss, Anonymous} in KiB"""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        rows = (line.split() for line in f)
        return {r[0][:-1]: int(r[1]) for r in rows if r[0] in ("Pss:", "Rss:", "Anonymous:")}


def sharers(pid, library):
    """How many other processes map a library: they carry their part of its PSS."""
    n = 0
    for path in glob.glob("/proc/[0-9]*/maps"):
        try:
            with open(path) as f:
                n += path != f"/proc/{pid}/maps" and any(library in line for line in f)
        except OSError:
            pass  # it ended
    return n


def switches(pid):
    """Context switches of all its threads, wanted and not."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path) as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def cpu_ns(pid):
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total
