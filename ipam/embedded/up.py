"""Starting everything in order, saying when it is ready, stopping all of it."""

from __future__ import annotations

import fcntl
import logging
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import click

from ipam.embedded.data_dir import private_folder, write_secret
from ipam.embedded.processes import (
    USER,
    ProcessSpec,
    database_part,
    free_port,
    ipam_parts,
    mongo_uri,
    redis_part,
    redis_url,
)
from ipam.embedded.server_env import variables
from ipam.embedded.supervisor import Supervisor
from ipam.embedded.watchdog import Watchdog
from ipam.errors import AccessDenied, InvalidSettings, Transient
from ipam.models.audit_context import AuditContext, use_audit_context
from ipam.models.token import Role, issue
from ipam.settings import Settings
from ipam.storage.connection import connect, create_only_user
from ipam.storage.stores import Stores
from ipam.util.printable import LineFormatter
from ipam.wiring import open_stores

log = logging.getLogger(__name__)
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.1
_LOOK_TIMEOUT_S = 5.0
_LOG_NAME = "ipam.log"
_LOG_MAX_BYTES = 10 * 1024 * 1024
_LOGS_KEPT = 4
_PASSWORD_NAME = "database.password"  # noqa: S105 (a file's name)
_TOKEN_NAME = "admin.token"  # noqa: S105 (likewise)
_ACTOR = "ipam up"


def run(settings: Settings, folder: str) -> None:
    """Run all processes with their data in *folder*, until Ctrl-C or SIGTERM.

    Raises:
        InvalidSettings: If the folder or a port is taken, a package is missing, or the database is unreadable here.
        Transient: If the database that is to be used does not answer.
    """
    data = Path(folder).absolute()
    private_folder(data)
    if (why := _why_not(settings.host, settings.port)) is not None:
        raise InvalidSettings(
            f"--port: {settings.host}:{settings.port} cannot be listened on ({why}); choose another"
        )
    settings = _with_free_flower_port(settings)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with _locked(data), closing(open_log(data)) as written, ExitStack() as leaving:
        supervisor = Supervisor(written.write)
        try:
            _start_all(supervisor, settings, data, stopped, leaving)
            supervisor.watch(stopped)
        finally:
            click.echo("ipam: stopping ...")
            supervisor.stop()
    click.echo(f"ipam: stopped; the data is in {folder}")


def _start_all(
    supervisor: Supervisor, settings: Settings, data: Path, stopped: threading.Event, leaving: ExitStack
) -> None:
    redis_password = secrets.token_urlsafe(32)
    redis = redis_part(data, redis_password)
    broker = redis_url(redis.port or 0, redis_password)
    if settings.consul is None and "mongo" in settings.model_fields_set:
        mongo = settings.mongo
        click.echo(f"ipam: the database is that at {_that_answers(settings)}")
        _start(supervisor, [redis], stopped)
    else:
        database = database_part(data, auth=True)
        mongo = mongo_uri(database.port or 0, _password_of_database(supervisor, data))
        _start(supervisor, [database, redis], stopped)
        _watch_database(supervisor, mongo, settings.database, data, stopped)
    _check_schema(mongo, settings.database)
    token = _first_token(mongo, settings.database, data) if settings.auth == "token" else None
    servers = variables(settings, mongo, broker, leaving)
    _start(supervisor, ipam_parts(settings, servers), stopped)
    if stopped.is_set():
        return
    click.echo(f"ipam: ready on http://{settings.host}:{settings.port}")
    click.echo(f"ipam: Flower on http://{settings.flower_address}:{settings.flower_port}")
    click.echo(f"ipam: the data and {_LOG_NAME} are in {data}; Ctrl-C stops everything")
    if token is not None:
        click.echo(f"ipam: a token for an administrator is in {token}; to see that it works:")
        url = f"http://{settings.host}:{settings.port}/tokens/self"
        click.echo(f'ipam:   curl -H "Authorization: Bearer $(cat {token})" {url}')


def _first_token(mongo: str, database: str, data: Path) -> Path | None:
    """Return the file with the first token, which is created if there is no administrator's; None if it is gone."""
    kept = data / _TOKEN_NAME
    stores = Stores(connect(mongo, database, _LOOK_TIMEOUT_S))
    with closing(stores.whole):
        if not stores.tokens.has_admin():
            with use_audit_context(AuditContext(actor=_ACTOR)):
                token, text = issue(name="first", role=Role.ADMIN, created_by=_ACTOR)
                stores.tokens.insert(token)
            write_secret(kept, f"{text}\n")
    return kept if kept.exists() else None


def _check_schema(mongo: str, database: str) -> None:
    """Refuse a database of another version here, where its user sees it; each process does so too.

    Raises:
        InvalidSettings: If it was written by another version.
    """
    stores = Stores(connect(mongo, database, _LOOK_TIMEOUT_S))
    with closing(stores.whole), suppress(Transient):
        stores.schema.check()


def _watch_database(
    supervisor: Supervisor, mongo: str, database: str, data: Path, stopped: threading.Event
) -> None:
    """Have the database that was started here looked after, beside everything else."""
    stores = Stores(connect(mongo, database, _LOOK_TIMEOUT_S))
    watchdog = Watchdog(
        stores, data, lambda: supervisor.kill("database"), lambda line: click.echo(f"ipam: {line}", err=True)
    )
    threading.Thread(target=watchdog.run, args=(stopped,), name="watchdog", daemon=True).start()


def _that_answers(settings: Settings) -> str:
    """Return the servers of the database that *settings* name.

    Raises:
        Transient: If it does not answer.
    """
    stores = open_stores(settings, settings.mongo_timeout_s, follow=False)
    with closing(stores.whole):
        try:
            stores.whole.ping()
        except AccessDenied as error:
            message = f"--mongo: {stores.whole.servers} does not let ipam in ({error.said})"
            raise Transient(f"{message}; check the user and the password.") from None
        except Transient:
            message = f"--mongo: {stores.whole.servers} does not answer; check that MongoDB runs there."
            raise Transient(message) from None
        return stores.whole.servers


def _password_of_database(supervisor: Supervisor, data: Path) -> str:
    """Return the password of the database's only user, which is created before authentication is turned on.

    Until it has a user, the database lets everybody in: so it runs for a moment on a port that is not announced.
    """
    kept = data / _PASSWORD_NAME
    if not kept.exists():
        password = secrets.token_urlsafe(32)
        part = database_part(data, auth=False)
        supervisor.start([part])
        create_only_user(mongo_uri(part.port or 0), USER, password, _READY_TIMEOUT_S)
        supervisor.stop_last()
        write_secret(kept, f"{password}\n")
    return kept.read_text(encoding="utf-8").strip()


class Log(RotatingFileHandler):
    """The output of all processes, in a few files of bounded size."""

    _lost = 0
    _is_told = False

    def write(self, name: str, line: str) -> None:
        """Add a *line* of the process *name*."""
        self.handle(logging.makeLogRecord({"name": name, "msg": line}))

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*; the first one after others were lost is preceded by how many."""
        if lost := self._lost:
            self._lost = 0
            super().emit(logging.makeLogRecord({"name": "ipam", "msg": f"{lost} lines could not be written"}))
            if self._lost:  # Nor could that one.
                self._lost += lost
                return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (as logging has it)
        """Count what could not be written, and say so once: each line would be a traceback on the terminal."""
        del record
        self._lost += 1
        if not self._is_told:
            self._is_told = True
            click.echo(
                f"ipam: {self.baseFilename} cannot be written ({sys.exc_info()[1]}); lines are lost", err=True
            )


def open_log(data: Path) -> Log:
    """Return the log under *data*."""
    written = Log(data / _LOG_NAME, maxBytes=_LOG_MAX_BYTES, backupCount=_LOGS_KEPT, encoding="utf-8")
    written.setFormatter(LineFormatter("%(name)-8s | %(message)s"))
    return written


def _start(supervisor: Supervisor, parts: list[ProcessSpec], stopped: threading.Event) -> None:
    """Start *parts* side by side, wait until those with a port listen, and say so, a line each."""
    supervisor.start(parts)
    for part in parts:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while part.port and not _listens(part) and not stopped.is_set():
            if not supervisor.running(part.name):
                raise InvalidSettings(f"{part.name} ended at once; {_LOG_NAME} in the data folder says why")
            if time.monotonic() > deadline:
                raise InvalidSettings(f"{part.name} was not ready in {_READY_TIMEOUT_S:.0f} s; see {_LOG_NAME}")
            time.sleep(_POLL_S)
        if not stopped.is_set():
            port = f" on port {part.port}" if part.port else ""
            click.echo(f"ipam: {part.name} started{port}" + (f" ({part.program})" if part.program else ""))


def _listens(part: ProcessSpec) -> bool:
    try:
        socket.create_connection(("127.0.0.1", part.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


def _with_free_flower_port(settings: Settings) -> Settings:
    """Return *settings*, with another port for Flower if theirs is taken: that is no reason not to start."""
    why = _why_not(settings.flower_address, settings.flower_port)
    if why is None:
        return settings
    port = free_port()
    taken = f"{settings.flower_address}:{settings.flower_port} cannot be listened on ({why})"
    click.echo(f"ipam: --flower-port: {taken}; Flower takes port {port}", err=True)
    return settings.model_copy(update={"flower_port": port})


def _why_not(host: str, port: int) -> str | None:
    """Return why *port* of *host* cannot be listened on; None if it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the data folder for this process alone."""
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidSettings(f"--data: {data} is in use by another `ipam up`") from None
        yield
