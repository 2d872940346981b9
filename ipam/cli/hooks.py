"""`ipam hook`: being a consumer that is asked, and asking one."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import click

from ipam.cli.options import BUS, CONSUL, with_settings
from ipam.cli.retry_notice import RetryNotice
from ipam.errors import HookUnavailable, InvalidSettings, RejectedByHook, Transient, ValidationFailed
from ipam.hooks.admission import AdmissionController
from ipam.hooks.client import HookClient
from ipam.hooks.config import CHANGES, Hook, Silence
from ipam.hooks.consumer import Consumer, Function
from ipam.hooks.signing import Secret
from ipam.settings import Settings
from ipam.util.lossless_json import dumps, loads
from ipam.util.printable import printable
from ipam.util.urls import without_password
from ipam.wiring import build_hook_client, declared_hooks

_AGAIN_AFTER_S = 1.0


def load_function(_context: click.Context, _parameter: click.Parameter, spelled: str) -> Function:
    """Return the function that MODULE:FUNCTION spells; modules are looked for in the current folder too.

    Raises:
        click.BadParameter: If there is none.
    """
    module, _, name = spelled.partition(":")
    if not module or not name:
        raise click.BadParameter(f"{spelled!r} is not MODULE:FUNCTION, such as inventory:require_mac")
    sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise  # It is there, and what it imports is not.
        raise click.BadParameter(f"there is no module {module!r} here or among those installed") from None
    if not callable(function):
        raise click.BadParameter(f"the module {module!r} has no function {name!r}")
    found: Function = function
    return found


def serve_hook(
    settings: Settings, function: Function, subject: str, at_once: int, secret_file: Path | None
) -> None:
    """Answer with *function* until Ctrl-C or SIGTERM; a bus that goes away is waited for.

    Raises:
        InvalidSettings: If no bus is given that can be asked on, or *secret_file* holds no secret.
    """
    bus = settings.bus
    if bus is None or bus.startswith("redis"):
        raise InvalidSettings("--bus: say where ipam asks, an amqp:// (RabbitMQ) or nats:// URL")
    if secret_file is not None:
        Secret.read(secret_file, "--secret-file")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    consumer, notice = Consumer(bus, subject, function, at_once, secret_file), RetryNotice()

    def is_ready() -> None:
        notice.clear()
        click.echo(f"ipam: answering {subject} on {without_password(bus)}")

    while not stopped.is_set():
        try:
            consumer.serve(stopped, is_ready)
        except Transient as away:
            notice.show(away.detail)
            stopped.wait(_AGAIN_AFTER_S)


class _Shown:
    """A client that shows the answers."""

    def __init__(self, client: HookClient) -> None:
        self._client = client

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[bytes | Silence]:
        """Ask as `HookClient` describes, and print the answers."""
        began = time.monotonic()
        answers = self._client.ask(hook, questions)
        for answer in answers:
            said = f"({answer.reason})" if isinstance(answer, Silence) else answer.decode(errors="replace")
            click.echo(f"{hook.subject}: {printable(said)}  [{time.monotonic() - began:.3f} s]")
        return answers


def test_hooks(settings: Settings, file: TextIO) -> None:
    """Ask the declared hooks about the change in *file*, and show their answers and what would come of it.

    Raises:
        InvalidSettings: If no hooks are declared, or none for such a change, or the file holds none.
    """
    hooks = declared_hooks(settings)
    if not hooks:
        raise InvalidSettings("--hooks: say which file declares them")
    change = _read_change(file)
    admission = AdmissionController(hooks, _Shown(build_hook_client(settings)))
    if not any(change["change"] in hook.changes for hook in hooks):
        raise InvalidSettings(f"--hooks={settings.hooks}: no hook is asked about {change['change']}")
    try:
        after, amended_by = admission.dry_run(change["change"], change.get("before"), change.get("after"))
    except ValidationFailed as error:
        raise InvalidSettings(f'{file.name}, "after": {error.detail}') from None
    except (RejectedByHook, HookUnavailable) as refused:
        click.echo(f"refused: {printable(refused.detail)}")
        sys.exit(1)
    amended = f"allowed, amended by {amended_by}: {dumps(after)}"
    click.echo(printable(amended) if amended_by else "allowed as it is")


def _read_change(file: TextIO) -> dict[str, Any]:
    try:
        change = loads(file.read())
    except ValueError as error:
        raise InvalidSettings(f"{file.name}: is not JSON: {error}") from None
    if not isinstance(change, dict) or change.get("change") not in CHANGES:
        raise InvalidSettings(f'{file.name}: must be an object with "change", one of {", ".join(CHANGES)}')
    wrong = [name for name in ("before", "after") if not isinstance(change.get(name), dict | None)]
    if wrong:
        raise InvalidSettings(f'{file.name}: "{wrong[0]}" must be an object, or null')
    if change.get("after") is None and not change["change"].endswith(".delete"):
        raise InvalidSettings(f'{file.name}: has no "after": what there would be after the change')
    return change


@click.group()
def hook() -> None:
    """Consumers that ipam asks before it makes a change."""


@hook.command("serve")
@click.argument("function", metavar="MODULE:FUNCTION", callback=load_function)
@click.option(
    "--subject", required=True, help="Where it is asked: ipam-hooks.<name> if its hook declares nothing else."
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 1024),
    default=64,
    show_default=True,
    help="Questions that are answered together.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="File of the secret that questions must be signed by, and answers are: the secret_file of the hook.",
)
@with_settings("bus", "bus_file")
def hook_serve(
    settings: Settings, function: Function, subject: str, at_once: int, secret_file: Path | None
) -> None:
    """Answer what ipam asks with a Python function, until Ctrl-C; several may run and share the work.

    The function gets the change as a dictionary, and returns {"allow": False, "reason": "..."} to refuse it,
    {"allow": True, "patch": {...}} to amend it, or None to allow it as it is.
    """
    serve_hook(settings, function, subject, at_once, secret_file)


@hook.command("test")
@click.argument("file", metavar="FILE", type=click.File(encoding="utf-8"))
@with_settings("hooks", *BUS, *CONSUL)
def hook_test(settings: Settings, file: TextIO) -> None:
    """Ask the declared hooks about the change in FILE, in JSON, as ipam would, and show what they answer.

    Nothing is changed. FILE has what hooks are shown: {"change": "reservation.create", "after": {...}}, and
    "before" where something was there before. Exits with 1 if the change would be refused.
    """
    test_hooks(settings, file)
