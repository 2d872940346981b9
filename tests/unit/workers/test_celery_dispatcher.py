"""Waking workers: against fakeredis, which speaks Redis on a port of this process."""

import gc
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import billiard.pool
import pytest
from bson import ObjectId
from fakeredis import TcpFakeServer
from kombu import Message
from kombu.compression import encoders, get_decoder, get_encoder, register
from kombu.utils.functional import lazy
from redis import Redis

from ipam.discovery.endpoints import StaticEndpoint
from ipam.embedded.processes import free_port
from ipam.errors import Transient
from ipam.events.compression import refuse_compressed
from ipam.models.job import Job
from ipam.settings import Settings
from ipam.workers.celery_app import RECOVER, create_celery, run_worker
from ipam.workers.celery_dispatcher import CeleryDispatcher
from ipam.workers.result_codec import ForeignMessage, ResultCodec
from ipam.workers.result_listener import ResultListener
from tests.support.servers import wait_until


@pytest.fixture
def redis_port() -> Iterator[int]:
    with a_redis() as port:
        yield port


@contextmanager
def a_redis() -> Iterator[int]:
    port = free_port()
    server = TcpFakeServer(("127.0.0.1", port))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield port
    server.shutdown()
    server.server_close()


ANNOUNCEMENTS = ResultCodec(lambda: b"of this database")


def dispatcher(port: int) -> CeleryDispatcher:
    app = create_celery(Settings(database="here"), StaticEndpoint(f"redis://127.0.0.1:{port}/0", ""))
    return CeleryDispatcher(app, ANNOUNCEMENTS)


def test_a_message_goes_to_the_queue_of_the_database(redis_port):
    one = dispatcher(redis_port)
    one.check()
    one.dispatch(ObjectId())
    one._app.close()  # noqa: SLF001
    with Redis(port=redis_port) as client:
        assert client.llen("ipam.here") == 1


def test_a_message_goes_to_where_the_broker_is_by_now(redis_port):
    with a_redis() as moved_to:
        one = dispatcher(redis_port)
        one.dispatch(ObjectId())
        one._app.conf.broker_url = f"redis://127.0.0.1:{moved_to}/0"  # noqa: SLF001
        one.dispatch(ObjectId())
        one._app.close()  # noqa: SLF001
        for port in (redis_port, moved_to):
            with Redis(port=port) as client:
                assert client.llen("ipam.here") == 1


def test_a_message_leaves_nothing_behind_in_the_process(redis_port, monkeypatch):
    """Neither producers that wait for their use, nor clients of Redis."""
    made: list[Redis] = []
    make = Redis.__init__
    monkeypatch.setattr(
        Redis, "__init__", lambda self, *args, **named: made.append(self) or make(self, *args, **named)
    )
    one = dispatcher(redis_port)

    def left() -> tuple[int, int]:
        for _ in range(20):
            one.dispatch(ObjectId())
            one.publish_results({ObjectId(): None})
        return sum(type(found) is lazy for found in gc.get_objects()), len(made)

    left()
    assert left() == left()
    one._app.close()  # noqa: SLF001


def test_an_announcement_is_heard_wherever_the_broker_is_by_now(redis_port):
    """Also by who began to listen while there was none, and though the one before is still there."""
    app = create_celery(Settings(database="here"), StaticEndpoint(f"redis://127.0.0.1:{free_port()}/0", ""))
    heard: dict[ObjectId, Job | None] = {}
    is_heard: list[bool] = []
    jobs: set[ObjectId] = set()
    hearing = ResultListener(app, ANNOUNCEMENTS, heard.update, is_heard.append)
    hearing.start()
    wait_until(lambda: is_heard, 20, "a broker that is away")
    assert not any(is_heard)
    with a_redis() as moved_to:
        for port in (redis_port, moved_to):
            app.conf.broker_url = f"redis://127.0.0.1:{port}/0"
            job, worker = ObjectId(), dispatcher(port)
            stranger = CeleryDispatcher(worker._app, ResultCodec(lambda: b"of another one"))  # noqa: SLF001
            jobs.add(job)

            def announced(
                job: ObjectId = job, worker: CeleryDispatcher = worker, stranger: CeleryDispatcher = stranger
            ) -> bool:
                stranger.publish_results({ObjectId(): None})
                worker.publish_results({job: None})
                return job in heard

            wait_until(announced, 20, "the announcement")
            worker._app.close()  # noqa: SLF001
        hearing.stop()
        assert heard.keys() == jobs
        assert not is_heard[-1]
        for port in (redis_port, moved_to):
            with Redis(port=port) as client:
                assert not client.keys("*here.ended*")
    app.close()


def test_a_process_of_a_worker_that_is_to_end_waits_for_moments_only(monkeypatch):
    """By a variable of billiard's, which it must have."""
    monkeypatch.setattr(billiard.pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    run_worker(SimpleNamespace(worker_main=lambda _: None), Settings(), lambda: None)
    waits = billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT
    assert waits * billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL <= 3


def test_recovery_has_a_queue_of_its_own_that_workers_listen_to():
    """Behind a backlog of jobs its message would expire before anybody heard it."""
    app = create_celery(Settings(database="here"), StaticEndpoint("redis://", ""))
    assert set(app.amqp.queues.consume_from) == {"ipam.here", "ipam.here.recovery"}
    assert app.amqp.router.route({}, RECOVER)["queue"].name == "ipam.here.recovery"
    assert {queue.routing_key for queue in app.amqp.queues.values()} == {"ipam.here", "ipam.here.recovery"}
    app.close()


def test_a_broker_that_is_away_fails_the_check_and_not_the_request():
    one = dispatcher(free_port())
    one.dispatch(ObjectId())
    with pytest.raises(Transient):
        one.check()


def test_an_announcement_is_of_a_process_with_the_same_database():
    job = ObjectId()
    message = ANNOUNCEMENTS.write({job: None}).encode()
    assert ANNOUNCEMENTS.read(message) == {job: None}
    signature, _, text = message.partition(b" ")
    forged = [
        ResultCodec(lambda: b"of another one").write({job: None}).encode(),
        signature + b" " + text.replace(str(job).encode(), str(ObjectId()).encode()),
        b"0" * len(signature) + b" " + text,
        text,
        b"",
        b"\xff\x00",
        message + b" " * 17_000_000,
    ]
    for one in forged:
        with pytest.raises(ForeignMessage):
            ANNOUNCEMENTS.read(one)


def test_a_compressed_message_is_not_unpacked():
    before = {name: get_decoder(name) for name in encoders()}
    bomb = zlib.compress(bytes(10_000_000))
    try:
        refuse_compressed()
        message = Message(bomb, headers={"compression": "application/x-gzip"}, content_encoding="binary")
        assert (message.body, message.errors) == (b"", [])
    finally:
        for name, decoder in before.items():
            register(get_encoder(name)[0], decoder, name)
