"""Servers and stacks that the tests share; what is shared is never stopped by a test."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ipam.embedded.processes import mongo_uri
from tests.support import servers
from tests.support.seed import SEED
from tests.support.stack import Api, Stack

# The same examples in each run; `--hypothesis-profile=default` looks for new ones.
settings.register_profile("gate", derandomize=True, deadline=None, database=None)
settings.load_profile("gate")


# In the background of a shell SIGINT is ignored, and so it would be by all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"seed of the fault tests: IPAM_TEST_SEED={SEED}"


def pytest_collection_finish() -> None:
    gc.freeze()  # What was imported stays; not looking at it makes the collections below cheap.


@pytest.fixture(autouse=True)
def _garbage() -> Iterator[None]:
    """A socket that a test left open is that test's failure, not that of whichever runs when it is collected."""
    yield
    gc.collect()
    gc.freeze()  # What outlives the test is not gone through again after each of the others.


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a database server."""
    process = servers.database(tmp_path_factory.mktemp("database"))
    process.start()
    yield mongo_uri(process.part.port)
    process.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = servers.redis(tmp_path_factory.mktemp("redis"))
    process.start()
    yield f"redis://127.0.0.1:{process.part.port}/0"
    process.stop()


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = servers.rabbitmq(tmp_path_factory.mktemp("rabbitmq"))
    process.start()
    yield process.url
    process.stop()


def _stack(database: str, broker: str, folder: Path) -> Iterator[Stack]:
    running = Stack(database, broker, folder)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def redis_stack(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of ipam with Redis."""
    yield from _stack(database, redis_url, tmp_path_factory.mktemp("stack-redis"))


@pytest.fixture(scope="session")
def rabbitmq_stack(database: str, rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of ipam with RabbitMQ."""
    yield from _stack(database, rabbitmq_url, tmp_path_factory.mktemp("stack-rabbitmq"))


@pytest.fixture(params=["redis", "rabbitmq"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """All of ipam, once with each broker, for what may depend on it."""
    return request.getfixturevalue(f"{request.param}_stack")


@pytest.fixture
def api(redis_stack: Stack) -> Api:
    return redis_stack.api
