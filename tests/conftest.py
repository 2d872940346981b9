"""Servers and stacks that the tests share; what is shared is never stopped by a test."""

from collections.abc import Iterator

import pytest

from ipam.embedded.parts import mongo_uri
from tests import servers
from tests.seed import SEED
from tests.stack import Api, Stack


def pytest_report_header() -> str:
    return f"to repeat the faults of this run: IPAM_TEST_SEED={SEED}"


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


@pytest.fixture(scope="session", params=["redis", "rabbitmq"])
def stack(
    request: pytest.FixtureRequest, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """All of ipam, once with each broker."""
    broker = request.getfixturevalue(f"{request.param}_url")
    running = Stack(database, broker, tmp_path_factory.mktemp(f"stack-{request.param}"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def redis_stack(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of ipam with Redis, for what does not depend on the broker."""
    running = Stack(database, redis_url, tmp_path_factory.mktemp("stack"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def api(redis_stack: Stack) -> Api:
    return redis_stack.api
