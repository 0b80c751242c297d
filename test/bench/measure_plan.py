"""The planner alone, by bench_plan: 200 plans for each number of services, and how they grow."""
import re
import subprocess

LINE = re.compile(r"(\w[\w ]*?) +(\d+) services: median +(\d+) us, p99 +(\d+) us, +([\d.]+) us a service")
RUNS = 200
LIMIT_US = 10_000


def lines(place, most):
    """What it prints, up to the last line about `most` services."""
    with subprocess.Popen(["stdbuf", "-oL", f"{place.tools}/bench_plan"], stdout=subprocess.PIPE, text=True) as p:
        said = []
        for line in p.stdout:
            m = LINE.match(line)
            if m and most and int(m[2]) > most:
                p.terminate()
                return said
            said.append(line)
    if p.returncode != 0:
        raise RuntimeError(f"bench_plan: exit {p.returncode}")
    return said


def plan(place, table):
    rows = [{"case": m[1], "services": int(m[2]), "p50_us": int(m[3]), "p99_us": int(m[4]), "a_service_us": float(m[5])}
            for m in map(LINE.match, lines(place, 500 if place.quick else None)) if m]
    table.keep("plan", rows)
    for case in dict.fromkeys(r["case"] for r in rows):
        mine = {r["services"]: r for r in rows if r["case"] == case}
        r = mine[500]
        table.add_figures(f"plan for 500 services, {case}", "≤ 10 ms, linear", RUNS, r["p50_us"] * 1000, r["p99_us"] * 1000,
                          None, "ns", [("p50", LIMIT_US * 1000)])
        cost = ", ".join(f"{n}: {x['a_service_us']:.2f} µs" for n, x in sorted(mine.items()))
        table.note(f"plan, {case}: a service costs with services {cost}")
