"""The local API over TCP with wrk: 16 connections, the key in a header as clients send it."""
import json
import os
import shutil
import subprocess

import probe
from measure_process import prepared
from place import clean_environment

MS = 1_000_000
CASES = (("/ping", 100_000, 1, "GET /ping"), ("/v2/state/status", 50_000, 2, "GET /v2/state/status, 5 services"))
ADDRESS = "127.0.0.1:48484"


def api(place, table):
    if not shutil.which("wrk"):
        for _, rate, p99, what in CASES:
            table.absent(f"local API, 16 connections, {what}", f"≥ {rate:,}/s, p99 ≤ {p99} ms", "wrk is not installed")
        return
    s = place.supervisor(prepared(place), listen=[ADDRESS]).start()
    s.settled(1, "r1")
    before = probe.memory(s.process.pid)
    for path, rate, p99, what in CASES:
        runs = [one(s, path, place.often(4, 1)) for _ in range(place.often(3, 2))]
        table.keep(f"api{path.replace('/', '_')}", runs)
        show(table, what, rate, p99, runs)
    after = probe.memory(s.process.pid)
    table.keep("memory_after_api", [{"before": before, "after": after}])
    table.add("… memory after it: PSS", "", [after["Pss"]], "KiB")
    table.add("… anonymous", "", [after["Anonymous"]], "KiB")
    place.stop(s)
    place.clean()


def one(s, path, seconds):
    before = probe.cpu_ns(s.process.pid)
    run = wrk(s, path, seconds)
    run["cpu_ns"] = probe.cpu_ns(s.process.pid) - before
    return run


def wrk(s, path, seconds):
    done = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", f"{os.path.dirname(os.path.abspath(__file__))}/wrk.lua",
                           "-H", f"Authorization: Bearer {s.key}", f"http://{ADDRESS}{path}"],
                          capture_output=True, text=True, env=clean_environment(), timeout=seconds + 30)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"wrk: {(done.stderr or done.stdout).strip()[-300:]}")


def show(table, what, rate, p99, runs):
    per_second = [x["requests"] * 1e6 / x["us"] for x in runs]
    table.add(f"local API, 16 connections, {what}: requests a second", f"≥ {rate:,}", per_second, "", [("p50", rate)], worst=min)
    slowest = sorted(runs, key=lambda x: x["p99_us"])[len(runs) // 2]
    table.add_figures("… latency", f"p99 ≤ {p99} ms", sum(x["requests"] for x in runs), slowest["p50_us"] * 1000,
                      slowest["p99_us"] * 1000, max(x["max_us"] for x in runs) * 1000, "ns", [("p99", p99 * MS)])
    errors = sum(x["errors"] for x in runs)
    if errors:
        table.note(f"{what}: {errors} of the answers were errors: the rate says nothing")
    cost = sum(x["cpu_ns"] for x in runs) / sum(x["requests"] for x in runs)
    if sorted(per_second)[len(runs) // 2] < rate:
        table.note(f"{what}: a request costs the server {cost / 1000:.1f} µs of CPU, so one processor of this machine gives "
                   f"{1e9 / cost:,.0f} a second at most; the rest is wrk and whatever else shares the processors")
