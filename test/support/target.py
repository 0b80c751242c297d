"""Target documents, written as values."""
import zlib


def service(image, mode="idle", env=None, labels=None, running=None, id=None, image_id=None, network_mode="none", **composition):
    """network_mode none is the default of the tests alone: such a container starts quickest."""
    s = {"image": image, "environment": {"APP_MODE": mode, **(env or {})}, "labels": labels or {},
         "composition": {k: v for k, v in {"network_mode": network_mode, **composition}.items() if v is not None}}
    for key, value in (("running", running), ("id", id), ("image_id", image_id)):
        if value is not None:
            s[key] = value
    return s


def app(app_id, release, services, name=None, volumes=None, networks=None, release_id=None):
    r = {"services": services}
    if volumes is not None:
        r["volumes"] = volumes
    if networks is not None:
        r["networks"] = networks
    if release_id is not None:
        r["id"] = release_id
    return {"id": app_id, "name": name or f"app{app_id}", "releases": {release: r}}


def document(*apps, **more):
    """Apps are keyed by uuid_of(id)."""
    return {"apps": {uuid_of(a["id"]): a for a in apps}, **more}


def uuid_of(app_id):
    return f"{app_id:08x}" * 4


def derived_id(*parts):
    """The numeric id that stands in for a missing one (interface.md, Target file)."""
    return zlib.crc32("".join(parts).encode()) & 0x7FFFFFFF
