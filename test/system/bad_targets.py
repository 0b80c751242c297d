"""Documents that no supervisor may accept, each with what its error must name: a path, or where in the text."""
import json

from target import app, document, service

LIMIT = 4 << 20
U = "0000000100000001" * 2
REL = f"apps.{U}.releases.r1"
SVC = f"{REL}.services.main"


def good():
    return document(app(1, "r1", {"main": service("lk/x:1")}))


def changed(change):
    d = good()
    a = d["apps"][U]
    change(d, a, a["releases"]["r1"], a["releases"]["r1"]["services"]["main"])
    return json.dumps(d)


def member(where, value):
    """`where`: d, a, r or s and a key, like 's.image'."""
    def change(d, a, r, s):
        {"d": d, "a": a, "r": r, "s": s}[where[0]][where[2:]] = value
    return changed(change)


def composition(**keys):
    return changed(lambda d, a, r, s: s["composition"].update(keys))


TEXT = json.dumps(good())

# name: (bytes or text, what the error says)
BAD = {
    "truncated": (TEXT[:len(TEXT) // 2], "byte"),
    "no JSON at all": ("hello", "byte 0"),
    "a comma too many": (TEXT.replace('"services"', ',"services"'), "byte"),
    "text after the end": (TEXT + "x", f"byte {len(TEXT)}"),
    "not UTF-8": (TEXT.encode().replace(b"lk/x", b"lk\xff\xfe"), "UTF-8"),
    "nested too deeply": (TEXT.replace('"labels": {}', '"contract": ' + "[" * 5000 + "]" * 5000), "deep"),
    "nested without an end": ("[" * 100000, "deep"),
    "an array": ("[]", "object"),
    "null": ("null", "object"),
    "a key twice": (TEXT.replace('"labels": {}', '"labels": {}, "labels": {"a": "b"}'), 'duplicate key "labels"'),
    "a service twice": (TEXT.replace('"main": {', '"main": {}, "main": {', 1), 'duplicate key "main"'),
    "no apps": ('{"name": "x"}', "apps"),
    "apps null": (member("d.apps", None), "apps"),
    "apps a list": (member("d.apps", []), "apps"),
    "an app that is a number": (changed(lambda d, a, r, s: d["apps"].update({"x": 1})), "apps.x"),
    "an app id of the wrong type": (member("a.id", True), f"apps.{U}.id"),
    "an app id below zero": (member("a.id", -1), f"apps.{U}.id"),
    "an app without a name": (changed(lambda d, a, r, s: a.pop("name")), f"apps.{U}.name"),
    "releases a string": (member("a.releases", "r1"), f"apps.{U}.releases"),
    "an image that is a number": (member("s.image", 5), f"{SVC}.image"),
    "no image": (changed(lambda d, a, r, s: s.pop("image")), f"{SVC}.image"),
    "an image with a space": (member("s.image", "a b"), f"{SVC}.image"),
    "an image too long": (member("s.image", "a" * 256), f"{SVC}.image"),
    "an environment value that is no string": (member("s.environment", {"A": 1}), f"{SVC}.environment.A"),
    "an environment name with a dash": (member("s.environment", {"A-B": "1"}), f"{SVC}.environment.A-B"),
    "a label that is null": (member("s.labels", {"a": None}), f"{SVC}.labels.a"),
    "running of the wrong type": (member("s.running", "yes"), f"{SVC}.running"),
    "config of the wrong type": (member("d.config", {"A": 5}), "config.A"),
    "a service name that is a path": (
        changed(lambda d, a, r, s: r["services"].update({"../up": r["services"].pop("main")})), f"{REL}.services"),
    "a compose key nobody knows": (composition(flavour="sweet"), f"{SVC}.composition.flavour"),
    "a bind of a host directory": (composition(volumes=["/etc:/etc"]), f"{SVC}.composition.volumes"),
    "ports that are nonsense": (composition(ports=["eighty"]), f"{SVC}.composition.ports"),
    "a restart policy that does not exist": (composition(restart="sometimes"), f"{SVC}.composition.restart"),
    "a dependency that does not exist": (composition(depends_on=["ghost"]), f"{SVC}.composition.depends_on"),
    "services that depend on each other": (json.dumps(document(app(1, "r1", {
        "a": service("lk/x:1", depends_on=["b"]), "b": service("lk/x:1", depends_on=["a"])}))), "depends_on"),
    "two apps with one id": (json.dumps({"apps": {"x": app(5, "r1", {}), "y": app(5, "r1", {})}}), "id"),
}
