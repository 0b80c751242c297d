"""A real update on a real engine: what we add to the engine's own time, and how long each service is away."""
import time

from place import Proxy, busy_ns, write_target
from table import percentile

MS = 1_000_000
BEYOND = {1: 5, 5: 20}
DOWN = {("none", 1): 250, ("none", 5): 350, ("bridge", 1): 400, ("bridge", 5): 550}


def update(place, table):
    for network in ("none", "bridge"):
        for services in (1, 5):
            one(place, table, network, services, place.often(12, 2) if services == 5 else place.often(20, 3))


def one(place, table, network, services, n):
    directory = place.directory()
    target = f"{directory}/target.json"
    documents = place.documents(services, "none" if network == "none" else None)
    proxy = Proxy(place, directory)
    write_target(target, documents[0])
    s = place.supervisor(directory, engine_socket=proxy.socket).start()
    s.settled(2, "keep")
    s.settled(1, "r1")
    events = place.engine.events()
    samples = [sample(s, proxy, events, target, documents, i) for i in range(n)]
    events.close()
    place.stop(s)
    proxy.close()
    place.clean()
    table.keep(f"update_{services}_{network}", samples)
    show(table, network, services, samples)


def sample(s, proxy, events, target, documents, i):
    version = 2 if i % 2 == 0 else 1
    time.sleep(0.3)  # what the engine does after an update is not this one's
    marks = s.mark(), proxy.lines.mark(), events.mark()
    begin = write_target(target, documents[version - 1])
    end = s.wait("app_settled", since=marks[0], app=1, release=f"r{version}")["read_ns"]
    calls = proxy.calls(marks[1], begin, end)
    changing = [c for c in calls if c[0] != "GET"]
    down = downtimes(events, marks[2])
    return {"i": i, "total_ns": end - begin, "engine_ns": busy_ns(calls), "changing_ns": busy_ns(changing),
            "calls": len(calls), "changing_calls": len(changing), "down_ns": {k: e - b for k, (b, e) in down.items()},
            "down_engine_ns": {k: busy_ns(within(calls, b, e)) for k, (b, e) in down.items()},
            "timeline": [[c[0], c[1], c[2] - begin, c[3] - begin] for c in calls]}


def downtimes(events, since):
    """{service: (its die, its start)}, by the engine's own clock, as moments of ours."""
    ahead, died, down = time.time_ns() - time.monotonic_ns(), {}, {}
    for e in events.since(since):
        name = e["Actor"]["Attributes"].get("io.balena.service-name")
        if e["Type"] == "container" and e["Action"] == "die":
            died[name] = e["timeNano"]
        elif e["Type"] == "container" and e["Action"] == "start" and name in died:
            down[name] = died.pop(name) - ahead, e["timeNano"] - ahead
    return down


def within(calls, begin, end):
    return [(c[0], c[1], max(c[2], begin), min(c[3], end)) for c in calls if c[2] < end and c[3] > begin]


def show(table, network, services, samples):
    name = f"{services} service{'s' if services > 1 else ''}, network {network}"
    engine = percentile([x["engine_ns"] for x in samples], 50)
    limit = BEYOND[services]
    beyond = [x["total_ns"] - x["engine_ns"] for x in samples]
    found = table.add(f"update of {name}: beyond the engine's own time", f"≤ {limit} ms", beyond, "ns",
                      [("p50", limit * MS)], engine=engine)
    reading = [x["engine_ns"] - x["changing_ns"] for x in samples]
    table.add("… waiting for nothing but our own questions (inspects, lists)", "", reading, "ns")
    longest = [(x, max(x["down_ns"], key=x["down_ns"].get)) for x in samples if x["down_ns"]]
    downs = [x["down_ns"][name] for x, name in longest]
    engines = [x["down_engine_ns"][name] for x, name in longest]
    limit_down = DOWN[network, services]
    what = f"downtime, {name}" if services == 1 else f"downtime, worst of {name}"
    down = table.add(what, f"≤ {limit_down / 1000:g} s", downs, "ns", [("p50", limit_down * MS)],
                     engine=percentile(engines, 50))
    table.add("… of it beyond the engine's own time", "", [d - e for d, e in zip(downs, engines)], "ns")
    if found["p50"] > limit * MS or down["p50"] > limit_down * MS:
        table.note(f"update of {name}: {where(samples)}")


def where(samples):
    """The median update, call by call."""
    x = sorted(samples, key=lambda s: s["total_ns"])[len(samples) // 2]
    verbs = {}
    for method, path, begin, end in x["timeline"]:
        path = path.split("?")[0].rstrip("/")
        last = path.rsplit("/", 1)[-1]
        verb = "inspect or list" if method == "GET" else "remove" if method == "DELETE" else last
        verbs.setdefault(verb, []).append(end - begin)
    parts = [f"{len(v)} {k} {sum(v) / 1e6:.0f} ms" for k, v in sorted(verbs.items(), key=lambda kv: -sum(kv[1]))]
    first = min((call[2] for call in x["timeline"]), default=0) / 1e6
    return (f"the median one took {x['total_ns'] / 1e6:.0f} ms; {first:.1f} ms passed before its first request, and "
            f"the engine was at work {x['engine_ns'] / 1e6:.0f} ms "
            f"(the calls added up: {', '.join(parts)})")
