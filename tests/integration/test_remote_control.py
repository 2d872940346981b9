"""What whoever reaches the broker may have a worker do by Celery's remote control."""

import signal
from collections.abc import Callable, Iterator

import pytest
from celery.app.control import Control

from ipam.discovery.endpoints import StaticEndpoint
from ipam.settings import Settings
from ipam.workers.celery_app import create_celery
from tests.support import servers
from tests.support.servers import Process, wait_until
from tests.support.stack import Stack

# Each changes what a worker does, ends it, or has it write down what is in its memory.
COMMANDS = {
    "pool_grow": {"n": 5},
    "pool_shrink": {"n": 1},
    "add_consumer": {"queue": "another"},
    "rate_limit": {"task_name": "ipam.carry_out", "rate_limit": "1/h"},
    "time_limit": {"task_name": "ipam.carry_out", "hard": 0.001},
    "memdump": {},
    "shutdown": {},
}


@pytest.fixture
def steered(database, tmp_path) -> Iterator[Callable[[str], tuple[Process, Control]]]:
    """Starts a worker, with remote control or without, and returns it with what steers the workers of its broker.

    That has no others, which would answer, too.
    """
    stacks: list[Stack] = []
    broker = servers.redis(tmp_path)
    broker.start()
    redis_url = f"redis://127.0.0.1:{broker.part.port}/0"
    app = create_celery(Settings(), StaticEndpoint(redis_url, "--broker"))

    def start(remote_control: str) -> tuple[Process, Control]:
        stacks.append(Stack(database, redis_url, tmp_path, IPAM_REMOTE_CONTROL=remote_control))
        (worker,) = stacks[0].workers
        worker.start()
        wait_until(lambda: bool(app.control.ping(timeout=0.5)), 30, "the worker to answer")
        return worker, app.control

    yield start
    for stack in stacks:
        stack.stop()
    app.close()
    broker.stop()


def test_a_worker_shows_how_it_is_doing_and_does_nothing_else_that_it_is_told(steered):
    worker, control = steered("false")
    for command, arguments in COMMANDS.items():
        control.broadcast(command, arguments=arguments)
    (stats,) = control.inspect(timeout=20, limit=1).stats().values()  # Which it takes up after all of these.
    assert len(stats["pool"]["processes"]) == 2
    (queues,) = control.inspect(timeout=20, limit=1).active_queues().values()
    assert not [queue for queue in queues if queue["name"] == "another"]
    assert all(f"{command} was asked for over the broker and is refused" in worker.said() for command in COMMANDS)
    assert "Traceback" not in worker.said()
    assert worker.stop() == 0


def test_a_worker_that_is_ended_over_the_broker_says_so_by_its_exit_status(steered):
    worker, control = steered("true")
    control.broadcast("shutdown")
    wait_until(lambda: not worker.is_alive(), 20, "the worker to end")
    assert worker.stopped() not in (0, -signal.SIGTERM)
