"""Words that the stories share."""
import json

LOCK = "/tmp/balena/updates.lock"


def take(engine, container, user="", path=LOCK):
    """The application takes its lock, from inside, exclusively; False: somebody else has it."""
    return engine.exec(container, "sh", "-c", f"set -C; : > {path}", user=user)[0] == 0


def give_back(engine, container, path=LOCK):
    code, out = engine.exec(container, "rm", "-r", path)
    assert code == 0, out


def told(events):
    """The log as short words: step kinds as start:main, other events by their names."""
    words = []
    for e in events:
        if e["event"] == "step_started":
            words.append(f"{e['kind']}:{e['service']}" if e.get("service") else e["kind"])
        else:
            words.append(e["event"])
    return words


def in_order(words, *wanted):
    """Each wanted word occurs, after the one before it."""
    at = 0
    for w in wanted:
        assert w in words[at:], f"no {w} after {wanted[:wanted.index(w)]} in {words}"
        at = words.index(w, at) + 1


def touched(events, since=0, app_id=None):
    """What happened to supervised containers, [(action, service)]; looking and exec leave no trace here."""
    return events.containers("create", "start", "stop", "kill", "die", "destroy", "rename", "restart", "pause",
                             app_id=app_id, since=since)


def env_of(container):
    return dict(e.split("=", 1) for e in container["Config"]["Env"])


def wait_kinds(api):
    return sorted(w["kind"] for w in api.waits)


def kept(s, name):
    """What a supervisor has on disk of its own: a crash keeps this, and nothing else."""
    with open(f"{s.state}/{name}.json") as f:
        return json.load(f)
