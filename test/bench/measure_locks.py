"""From the end of an obstacle to the stop request: a lock released, an update forced."""
import shutil
import subprocess

from place import clean_environment, write_target

US, MS = 1_000, 1_000_000
LIMITS = [("p50", 200 * US), ("p99", MS), ("worst", 10 * MS)]
REST_MS = 25  # what is written when a wait begins has reached the disk
TARGET = "p50 ≤ 200 µs, p99 ≤ 1 ms, worst ≤ 10 ms"


def prepared(place, services):
    directory = place.directory()
    for i, text in enumerate(place.documents(services), 1):
        write_target(f"{directory}/target.{i}", text)
    return directory


def run(place, mode, n, services, rest_ms=REST_MS):
    directory = prepared(place, services)
    s = place.supervisor(directory, engine_socket=f"{directory}/engine.sock")
    return place.tool("bench_release", mode, directory, n, services, rest_ms, place.binary, *s.argv)


def release(place, table):
    floor = place.tool("bench_release", "floor", place.directory() + "/locks", place.often(500, 60), REST_MS)
    table.keep("release_floor", floor)
    samples = run(place, "release", place.often(1000, 200), 1)
    table.keep("release", samples)
    times = [x["ns"] for x in samples if "ns" in x]
    found = table.add("last lock released → stop request read, 1 service", TARGET, times, "ns", LIMITS)
    bare = table.add("… a bare program in our place (inotify, lstat, write)", "", [x["ns"] for x in floor], "ns")
    soon = run(place, "release", place.often(200, 30), 1, rest_ms=3)
    table.keep("release_soon", soon)
    table.add("… released 3 ms after the wait began, when its record is not on the disk yet", "",
              [x["ns"] for x in soon if "ns" in x], "ns")
    five = run(place, "release", place.often(200, 30), 5)
    table.keep("release_5", five)
    table.add("… 5 services", TARGET, [x["ns"] for x in five if "ns" in x], "ns", LIMITS)
    table.note("release: from right before unlink() to right after the read() in a scripted engine that is asleep in poll(), so it "
               "holds the wake-up of supervisor and engine; the bare program has the same two: the rest, "
               f"{(found['p50'] - bare['p50']) / 1000:.0f} µs at the median, is ours")
    calls(place, table)


def calls(place, table):
    """What no busy machine can blur: the system calls between the wake-up by the lock's end and the stop request."""
    what = "… system calls from the wake-up to the stop request"
    if not shutil.which("strace"):
        table.absent(what, "", "strace is not installed")
        return
    for services in (1, 5):
        directory = prepared(place, services)
        s, trace = place.supervisor(directory, engine_socket=f"{directory}/engine.sock"), f"{table.raw}/release_{services}.strace"
        subprocess.run([f"{place.tools}/bench_release", "release", directory, "5", str(services), "100", shutil.which("strace"),
                        "-D", "-s", "128", "-r", "-o", trace, place.binary, *s.argv], env=clean_environment(),
                       check=True, capture_output=True, timeout=60)
        counts = between(trace)
        table.keep(f"release_calls_{services}", [{"system_calls": n} for n in counts])
        table.add(f"{what}, {services} service{'s' if services > 1 else ''}", "", counts, "")


def between(trace):
    """For each release the number of calls of that turn; a sleep begins one, and only the first stop of an update ends it."""
    counts, n, open_turn = [], 0, False
    with open(trace) as f:
        for line in f:
            if "epoll_wait(" in line and not line.rstrip().endswith(", 0) = 0"):
                n, open_turn = 0, False
            elif "read(" in line and "updates.lock" in line:
                n, open_turn = 1, True
            else:
                n += 1
            if open_turn and "POST " in line and "/stop" in line:
                counts.append(n)
                open_turn = False
    return counts


def growth(place, table):
    """Many updates, half of them blocked by a lock first: what the process holds after each hundred."""
    updates = 10000 if place.long else place.often(1000, 200)
    points = [x for x in run(place, "updates", updates, 1, rest_ms=0) if "updates" in x]
    table.keep("growth", points)
    what = f"memory over {updates:,} updates: growth of anonymous memory after the first"
    for first in (100, 1000):
        begin = [x for x in points if x["updates"] == first]
        rest = [x["anonymous_kib"] - begin[0]["anonymous_kib"] for x in points if x["updates"] > first] if begin else []
        if rest:
            table.add(f"{what} {first:,}", "≤ 64 KiB (10,000)", rest, "KiB", [("worst", 64)])
    last, faults = points[-1], points[-1]["minor_faults"] - points[0]["minor_faults"]
    table.note(f"growth: anonymous {points[0]['anonymous_kib']} KiB after {points[0]['updates']} updates, {last['anonymous_kib']} KiB "
               f"after {last['updates']:,}, PSS {last['pss_kib']} KiB, {last['fds']} descriptors; {faults} minor and "
               f"{last['major_faults']} major page faults between the two"
               + ("" if place.long else "; `--long` makes the 10,000 of the target"))


def force(place, table):
    samples = run(place, "force", place.often(300, 60), 1)
    table.keep("force", samples)
    found = table.add("force while blocked → stop request read", TARGET, [x["ns"] for x in samples if "ns" in x], "ns", LIMITS)
    if found["p50"] > 200 * US:
        table.note("force: holds the API's answer, the target file read again, the broken lock and ours in its place")
