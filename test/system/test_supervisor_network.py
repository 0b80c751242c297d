"""Services that ask for the API reach it over the bridge supervisor0; nobody else is on it."""
import pytest

from story import env_of
from target import app, document, service

GATEWAY = "10.114.104.1"
ASKS = {"io.balena.features.supervisor-api": "1"}


@pytest.fixture
def bridged(lab):
    """An app whose service uses the API, and one that does not; both in networks of their apps."""
    image = lab.image(1)

    def target(labels, release="r1"):
        return document(app(1, release, {"main": service(image, network_mode=None, labels=labels)}, name="one"),
                        app(2, "r1", {"other": service(image, network_mode=None)}, name="two"))
    lab.write(target(ASKS))
    s = lab.supervisor(listen=[], start=False)
    s.listen = ["127.0.0.1:48484"]  # what it listens on when nobody says
    s.start()
    s.settled(1, "r1")
    s.settled(2, "r1")
    s.wait("api_listening", address=GATEWAY)
    s.target_with = target
    return s


def fetch(engine, container, path):
    """GET from inside, by the address and with the key of the service's environment."""
    return engine.exec(container, "sh", "-c", f'busybox wget -q -O - "$BALENA_SUPERVISOR_ADDRESS{path}?'
                                              'apikey=$BALENA_SUPERVISOR_API_KEY"')


def networks(engine):
    return {n["Name"]: n for n in engine.get("/networks")}


def test_a_service_reaches_the_api_over_the_bridge_with_its_own_key(bridged, engine):
    c = engine.container(1, "main")
    env = env_of(c)
    assert env["BALENA_SUPERVISOR_ADDRESS"] == f"http://{GATEWAY}:48484"
    assert (env["BALENA_SUPERVISOR_HOST"], env["BALENA_SUPERVISOR_PORT"]) == (GATEWAY, "48484")
    assert "supervisor0" in c["NetworkSettings"]["Networks"]
    assert "supervisor0" not in engine.container(2, "other")["NetworkSettings"]["Networks"]
    [ipam] = networks(engine)["supervisor0"]["IPAM"]["Config"]
    assert (ipam["Subnet"], ipam["Gateway"]) == ("10.114.104.0/25", GATEWAY)
    code, out = fetch(engine, c["Id"], "/v2/applications/state")
    assert code == 0 and '"one"' in out and '"two"' not in out, out
    code, out = fetch(engine, c["Id"], "/nope")
    assert code != 0
    code, out = engine.exec(c["Id"], "sh", "-c", f"busybox wget -q -O - http://{GATEWAY}:48484/v2/version")
    assert code != 0, out  # not without a key


def test_the_bridge_and_the_listener_on_it_survive_a_restart(bridged, engine):
    before = engine.services(1)
    bridged.stop()
    bridged.start()
    bridged.wait("api_listening", address=GATEWAY)
    code, out = fetch(engine, before["main"][0], "/v2/version")
    assert code == 0 and "lockkeeper" in out, out
    assert engine.services(1) == before


def test_a_service_that_no_longer_asks_leaves_the_bridge_and_is_told_no_key(bridged, engine, lab):
    lab.apply(bridged, bridged.target_with({}, "r2"))
    c = engine.container(1, "main")
    assert "supervisor0" not in c["NetworkSettings"]["Networks"] and "BALENA_SUPERVISOR_API_KEY" not in env_of(c)
    lab.apply(bridged, bridged.target_with(ASKS, "r3"))
    code, out = fetch(engine, engine.container(1, "main")["Id"], "/v2/version")
    assert code == 0 and "lockkeeper" in out, out
