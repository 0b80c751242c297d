"""One private engine and registry for the session, one lab for each test. See test/support for the parts."""
import faulthandler
import os
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
import sandbox  # noqa: E402
import supervisor  # noqa: E402
from engine import Engine  # noqa: E402
from images import Images  # noqa: E402
from lab import Lab  # noqa: E402
from registry import Registry  # noqa: E402
from web_server import WebServer  # noqa: E402

TEST_LIMIT = int(os.environ.get("LK_TEST_LIMIT", "180"))  # seconds; a hung test fails and the next one runs


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not part of test/run quick")
    config.addinivalue_line("markers", "image: of the container image, which has a build of its own")


def pytest_addoption(parser):
    parser.addoption("--shard", metavar="K/N", default="1/1", help="only every Nth test, from the Kth on: N such runs "
                     "can go side by side, as each has name spaces, an engine and a registry of its own")


def pytest_collection_modifyitems(config, items):
    k, n = map(int, config.option.shard.split("/"))
    config.hook.pytest_deselected(items=[i for at, i in enumerate(items) if at % n != k - 1])
    items[:] = items[k - 1::n]


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if not os.access(supervisor.BINARY, os.X_OK):
        raise pytest.UsageError(f"{supervisor.BINARY} is not there: build first, or name the binary in LOCKKEEPER")
    sandbox.enter()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.failed_call = report.failed
        lab = item.funcargs.get("lab")
        if report.failed and lab:
            report.sections.append(("supervisor", lab.report()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    def on_alarm(signo, frame):
        faulthandler.dump_traceback()
        raise AssertionError(f"the test did not end within {TEST_LIMIT} s")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(TEST_LIMIT)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def base():
    directory = tempfile.mkdtemp(prefix="lk-", dir="/tmp")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def engine(base):
    os.mkdir(f"{base}/e")
    engine = Engine(f"{base}/e")
    engine.start()
    yield engine
    engine.clean()
    engine.stop()


@pytest.fixture(scope="session")
def registry(base):
    registry = Registry(base)
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture(scope="session")
def images(engine, registry):
    return Images(engine, registry)


@pytest.fixture
def lab(base, engine, images):
    lab = Lab(base, engine, images)
    yield lab
    lab.close()


@pytest.fixture
def web():
    server = WebServer()
    yield server
    server.close()
    assert not server.complaints
