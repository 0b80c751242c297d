"""The process itself: how soon it answers, what it holds, how often it wakes for nothing."""
import os
import signal
import subprocess
import time

import probe
from place import Proxy, busy_ns, clean_environment, write_target
from table import percentile
from web_server import WebServer, make_certificate

MS = 1_000_000


def prepared(place, services=5):
    """A directory whose target of five services is applied and whose services run; the supervisor is stopped again."""
    directory = place.directory()
    write_target(f"{directory}/target.json", place.documents(services, keep=False)[0])
    s = place.supervisor(directory).start()
    s.settled(1, "r1")
    place.stop(s)
    return directory


def start(place, table):
    directory = prepared(place)
    s = place.supervisor(directory)
    limit = 15 if place.curl == "system" else 5
    samples = place.tool("bench_start", "ping", place.often(100, 50), f"{directory}/api.sock", place.binary, *s.argv)
    table.keep("start_ping", samples)
    found = table.add(f"exec → `/ping` answers ({place.built})", f"≤ {limit} ms", [x["ns"] for x in samples], "ns",
                      [("p50", limit * MS)])
    used = table.add("… CPU time of its thread until then", "", [x["used_ns"] for x in samples], "ns")
    table.add("… page faults until then: minor", "", [x["minor_faults"] for x in samples], "")
    table.add("… major", "", [x["major_faults"] for x in samples], "")
    if found["p50"] > limit * MS:
        table.note(f"start: of the median {used['p50'] / 1e6:.1f} ms are the program's CPU time, the rest it waited: for a "
                   f"processor, or for its disk. {loading_ms(place):.1f} ms is `lockkeeper --version`: loading the program and "
                   "its libraries, before main() does anything")
    settled(place, table, directory)
    place.clean()


def loading_ms(place):
    """What loading costs: the same program doing nothing."""
    took = []
    for _ in range(20):
        begin = time.monotonic_ns()
        subprocess.run([place.binary, "--version"], stdout=subprocess.DEVNULL, check=True)
        took.append(time.monotonic_ns() - begin)
    return percentile(took, 50) / 1e6


def settled(place, table, directory):
    """Through the proxy, so that the engine's part is known run by run."""
    proxy = Proxy(place, directory)
    s = place.supervisor(directory, engine_socket=proxy.socket)
    samples = place.tool("bench_start", "settled", place.often(50, 20), f"{directory}/api.sock", place.binary, *s.argv)
    for x in samples:
        calls = proxy.calls(0, x["start_ns"], x["start_ns"] + x["ns"])
        x["engine_ns"], x["calls"] = busy_ns(calls), len(calls)
    proxy.close()
    table.keep("start_settled", samples)
    engine = percentile([x["engine_ns"] for x in samples], 50)
    table.add("exec → nothing-to-do target applied, 5 services", "≤ 50 ms", [x["ns"] for x in samples], "ns",
              [("p50", 50 * MS)], engine=engine)
    table.add("… beyond the engine's own time", "", [x["ns"] - x["engine_ns"] for x in samples], "ns")


def memory(place, table):
    """Five processes, one after the other, each asked after it has come to rest."""
    directory = prepared(place)
    samples = []
    for _ in range(place.often(5, 3)):
        s = place.supervisor(directory).start()
        s.settled(1, "r1")
        time.sleep(1)
        samples.append(held(s.process.pid))
        place.stop(s)
    built = place.built + ("" if place.curl == "small" else "; the target is for the container build")
    show_memory(table, "memory_idle", f"memory idle, 5 services, file target ({built})", samples, 4, 1.5)
    if place.curl == "system":
        table.note(f"memory: with libcurl come {place.libraries} shared libraries; a build with `--curl small` is what the "
                   "target means")
    table.note(f"memory: {samples[-1]['sharers']} other processes had libcrypto mapped too and carried a part of its PSS: with "
               "none PSS is more, and RSS is the bound; anonymous memory is nobody else's")
    url(place, table)
    place.clean()


def held(pid):
    return {**probe.memory(pid), "sharers": probe.sharers(pid, "libcrypto"), "mappings": probe.mappings(pid)}


def show_memory(table, name, what, samples, pss_mb, anonymous_mb):
    table.keep(name, samples)
    pss = table.add(f"{what}: PSS", f"≤ {pss_mb} MB", [x["Pss"] for x in samples], "KiB", [("p50", pss_mb * 1024)])
    anonymous = table.add("… anonymous", f"≤ {anonymous_mb} MB", [x["Anonymous"] for x in samples], "KiB",
                          [("p50", anonymous_mb * 1024)])
    table.add("… RSS", "", [x["Rss"] for x in samples], "KiB")
    table.add("… page faults so far: minor", "", [x["minor"] for x in samples], "")
    table.add("… major", "", [x["major"] for x in samples], "")
    if pss["p50"] > pss_mb * 1024 or anonymous["p50"] > anonymous_mb * 1024:
        table.detail(f"{what}: where it goes, KiB", ("mapping", *probe.COLUMNS),
                     [[m["class"], *(m[c] for c in probe.COLUMNS)] for m in samples[-1]["mappings"]])


def url(place, table):
    """A target over TLS, verified against the machine's whole CA bundle."""
    what, bundle = "memory idle, URL target over TLS, full CA bundle", "/etc/ssl/certs/ca-certificates.crt"
    if not os.path.exists(bundle):
        table.absent(what, "≤ 7.5 MB", "no CA bundle on this machine")
        return
    directory = place.directory()
    certificate = make_certificate(directory, "localhost")
    with open(f"{directory}/bundle.crt", "w") as out:
        for path in (bundle, certificate[0]):
            with open(path) as f:
                out.write(f.read())
    server = WebServer(certificate)
    server.serve(place.documents(5, keep=False)[0])
    samples = []
    for _ in range(place.often(3, 2)):
        s = place.supervisor(directory, target=server.url, env={"SSL_CERT_FILE": f"{directory}/bundle.crt"}).start()
        s.settled(1, "r1")
        time.sleep(1)
        samples.append(held(s.process.pid))
        place.stop(s)
    server.close()
    show_memory(table, "memory_tls", f"{what} ({place.built})", samples, 7.5, 2.5)


def idle(place, table):
    """Nothing happens, the event stream is open: how often does it wake?"""
    seconds = 600 if place.long else place.often(60, 6)
    directory = prepared(place)
    s = place.supervisor(directory).start()
    s.settled(1, "r1")
    time.sleep(2)
    pid, samples = s.process.pid, []
    before = probe.switches(pid), probe.cpu_ns(pid)
    for second in range(1, seconds + 1):
        time.sleep(1)
        samples.append({"second": second, "switches": probe.switches(pid) - before[0], "cpu_ns": probe.cpu_ns(pid) - before[1]})
    place.stop(s)
    table.keep("idle", samples)
    a_minute = samples[-1]["switches"] * 60 / seconds
    table.add(f"idle, 5 services, event stream open, {seconds} s: context switches a minute", "≤ 2", [a_minute], "",
              [("p50", 2)])
    table.note(f"idle: {samples[-1]['switches']} switches and {samples[-1]['cpu_ns'] / 1e6:.2f} ms of CPU in {seconds} s")
    place.clean()


def blocked(place, table):
    """While an application holds its lock: no fork, no polling. Counted by strace, with a scripted engine."""
    what, seconds = "forks and execs while blocked", place.often(12, 6)
    directory = place.directory()
    for i, text in enumerate(place.documents(5), 1):
        write_target(f"{directory}/target.{i}", text)
    s = place.supervisor(directory, engine_socket=f"{directory}/engine.sock")
    tool = subprocess.Popen([f"{place.tools}/bench_release", "blocked", directory, str(seconds), "5", "100", place.binary, *s.argv],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    line = tool.stdout.readline()
    if not line:
        raise RuntimeError(tool.communicate()[1].strip()[-400:])
    trace = f"{table.raw}/blocked.strace"
    strace = subprocess.Popen(["strace", "-f", "-qq", "-r", "-o", trace, "-p", str(place.samples(line)[0]["blocked"])],
                              stderr=subprocess.PIPE, text=True)
    time.sleep(seconds - 2)
    strace.send_signal(signal.SIGINT)
    complaint = strace.communicate()[1].strip()
    rest, errors = tool.communicate()
    if tool.returncode != 0:
        raise RuntimeError(errors.strip()[-400:])
    told = [x for x in place.samples(rest) if "requests" in x][0]
    if not os.path.exists(trace) or "Operation not permitted" in complaint:
        table.absent(what, "0", f"strace: {complaint}")
        return
    with open(trace) as f:
        calls = [c for c in f if "resumed>" not in c and "+++" not in c]
    forks = [c for c in calls if " vfork(" in c or " fork(" in c or "execve(" in c or
             ("clone" in c and "CLONE_THREAD" not in c)]
    table.keep("blocked", [{**told, "traced_s": seconds - 2, "forks": len(forks), "system_calls": len(calls)}])
    table.add(f"{what}, {seconds - 2} s", "0", [len(forks)], "", [("worst", 0)])
    table.add("… system calls", "", [len(calls)], "")
    table.add("… requests to the engine", "", [told["requests"]], "")
