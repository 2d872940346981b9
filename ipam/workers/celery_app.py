"""The Celery application."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

import billiard.pool
from celery import Celery
from celery.signals import worker_init, worker_process_init, worker_process_shutdown, worker_ready
from celery.worker import WorkController, state
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from ipam.discovery.endpoints import Endpoint
from ipam.errors import Transient
from ipam.settings import Settings
from ipam.util.gc_tuning import freeze_gc
from ipam.workers.redis_transport import use_redis_transport
from ipam.workers.remote_control import only_show

CARRY_OUT = "ipam.carry_out"
RECOVER = "ipam.recover"
# That a message has come and was handled; what became of a job, the job says.
_SAY_SOMETHING_OF_EACH_MESSAGE = ("celery.worker.strategy", "celery.app.trace")
# In steps of 0.1 s, as billiard counts.
_READ_WITHIN_TENTHS_S = 20
# Longer than what a worker has fetched already takes, or recovery would never run where there is much to do.
_RECOVERY_WAITS_S = 60.0


def create_celery(settings: Settings, endpoint: Endpoint) -> Celery:
    """Return the Celery application that *settings* describe, without its tasks, on the broker at *endpoint*.

    There is no result backend: how a job stands is read from its document, which is there before its message.
    """
    use_redis_transport()
    url = endpoint.find()
    app = Celery("ipam", broker=_with_another(url), set_as_current=False)
    # Named after the database: two installations may share a broker.
    jobs = f"ipam.{settings.database}"
    recovery = f"{jobs}.recovery"
    app.conf.update(
        task_default_queue=jobs,
        # Recovery has a queue of its own: behind a backlog of jobs its message would be the last to be heard.
        task_queues=[Queue(jobs, routing_key=jobs), Queue(recovery, routing_key=recovery)],
        task_routes={RECOVER: {"queue": recovery}},
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # Tasks may be run twice without harm, so a message counts as handled only when its work is done.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=4,
        worker_concurrency=settings.concurrency,
        worker_hijack_root_logger=False,
        # Task events are not sent from the start: Flower asks for them when it watches.
        worker_send_task_events=False,
        # A broker that restarts is waited for as long as it takes.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_pool_limit=settings.threads,
        broker_transport_options=_transport_options(url, settings),
        broker_failover_strategy=_WhereItIs(app),
        beat_scheduler="ipam.workers.scheduler:SteadyScheduler",
        ipam_database=settings.database,
        beat_max_loop_interval=settings.recovery_interval_s,
        beat_schedule={
            "recover": {
                "task": RECOVER,
                "schedule": timedelta(seconds=settings.recovery_interval_s),
                # Workers that were away for an hour need one look around, not 1,800.
                "options": {"expires": max(_RECOVERY_WAITS_S, settings.recovery_interval_s)},
            }
        },
    )
    return app


def results_exchange(app: Celery) -> Exchange:
    """Return the exchange to which workers of *app* publish job results; it keeps nothing."""
    return Exchange(f"{app.conf.task_default_queue}.ended", type="fanout", delivery_mode="transient")


def create_failover_celery(settings: Settings, endpoint: Endpoint) -> Celery:
    """Create an application that follows its broker; a process that is forked from this one does not."""
    app = create_celery(settings, endpoint)
    follow_broker(app, endpoint)
    return app


def worker_name() -> str:
    """Return what the worker of this machine is called among all of them."""
    return f"celery@{socket.gethostname()}"


def ping_workers(app: Celery, timeout_s: float, only: str | None = None) -> list[str]:
    """Return the names of the workers of *app*, or of *only* one, that answer over the broker within *timeout_s*.

    Raises:
        Transient: If the broker cannot be asked.
    """
    connection = app.connection_for_write()
    errors: tuple[type[BaseException], ...] = (OperationalError, OSError)
    errors += connection.connection_errors
    try:
        with connection:
            connection.ensure_connection(max_retries=1)
            answers = app.control.ping([only] if only else None, timeout_s, connection=connection)
    except errors as error:
        raise Transient("The broker did not answer.") from error
    return sorted(name for answer in answers or () for name in answer)


def run_worker(app: Celery, settings: Settings, finish: Callable[[], None]) -> int:
    """Be a worker of *app* until told to stop; each of its processes calls *finish* at its end.

    Returns the status to exit with: 0 if it was told to stop by a signal, another one if it could not go on, or was
    told so over the broker: then its supervisor starts it again.
    """
    if not settings.remote_control:
        only_show()
    started: list[WorkController] = []
    worker_init.connect(lambda sender, **_: started.append(sender), weak=False)
    for is_ready in (worker_process_init, worker_ready):  # One of its processes, and the one that feeds these.
        is_ready.connect(freeze_gc)
    worker_process_shutdown.connect(lambda **_: finish(), weak=False)
    # A process that is to end waits until its results are read, one of which the worker's own process may have
    # forgotten already: then it would wait for half a minute, and be killed before that.
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = _READ_WITHIN_TENTHS_S
    if settings.log_level != "debug":
        for name in _SAY_SOMETHING_OF_EACH_MESSAGE:
            logging.getLogger(name).setLevel(logging.WARNING)
    app.worker_main(["worker", f"--loglevel={settings.log_level}", "--without-mingle", "--without-gossip"])
    status = next((worker.exitcode or 0 for worker in started), 0)
    return status if state.should_stop is not None else status or 1


def follow_broker(app: Celery, endpoint: Endpoint) -> None:
    """From now on, whatever *app* connects to its broker, or has to connect again, finds it where *endpoint* says.

    A connection that holds is left alone: the broker that it leads to is at work.
    """
    endpoint.follow(lambda url: app.conf.update(broker_url=_with_another(url)))


class _WhereItIs:
    """Yields where the broker of *app* may be, one address after the other, as it is known when it is tried."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __call__(self, _known_before: Iterable[str]) -> Iterator[str]:
        while True:
            yield from self._app.conf.broker_url.split(";")

    def __json__(self) -> str:
        """Return what a worker shows of it, among how it is connected."""
        return "as known when it is tried"


def _with_another(url: str) -> str:
    """Return the URLs in *url*; a single one twice, for Celery fails over only if there are several."""
    return url if ";" in url else f"{url};{url}"


def _transport_options(url: str, settings: Settings) -> dict[str, float]:
    if not url.startswith("redis"):
        # RabbitMQ under an alarm reads nothing any more; that must not hold a web request's thread either.
        return {"write_timeout": 10.0}
    # A hung Redis must not hold a web request's thread, and a message that a dead worker had taken comes back
    # about when its job's claim runs out, though recovery does not depend on it.
    return {
        "visibility_timeout": max(60.0, 2 * settings.claim_timeout_s),
        "socket_connect_timeout": 2.0,
        "socket_timeout": 10.0,
    }
