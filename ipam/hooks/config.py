"""The configuration of hooks: a TOML file that declares which changes a consumer on the bus is asked about."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ipam.errors import InvalidSettings

CHANGES = (
    *("pool.create", "pool.update", "pool.delete"),
    *("subnet.create", "subnet.update", "subnet.delete"),
    *("reservation.create", "reservation.update", "reservation.delete"),
    *("lease.update", "lease.delete"),
)
RESERVE = "reservation.create"
TIMEOUT_MAX_S = 60.0
# Not below `ipam.`, where events go out: subscribers to all events would receive questions too, and a stream that
# keeps events would keep them.
_SUBJECT = "ipam-hooks.{name}"
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
_Subject = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=200)]

_Path = Annotated[str, StringConstraints(pattern=r"^/(pools|subnets|reservations|leases)/[0-9a-f]{24}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A consumer that is asked before certain changes are made.

    Attributes:
        name: What it is called in refusals, events and the log.
        changes: Those of `CHANGES` that it is asked about.
        subject: Where it is asked: the queue on RabbitMQ, the subject on NATS.
        timeout_s: How long its answer is waited for.
        silence_allows: Whether the change is made when it does not answer.
        within: It is only asked about what is, or is in, one of these paths; about everything if there are none.
        secret_file: Holds the secret that signs questions and answers, if anything does.
    """

    name: str
    changes: frozenset[str]
    subject: str
    timeout_s: float
    silence_allows: bool
    within: frozenset[str] = frozenset()
    secret_file: Path | None = None

    def is_asked(self, change: str, paths: Collection[str]) -> bool:
        """Return whether it wants to know of *change*, to something that has and is in *paths*."""
        return change in self.changes and (not self.within or not self.within.isdisjoint(paths))


@dataclass(frozen=True, slots=True)
class Silence:
    """The *reason* why there is no answer that can be used."""

    reason: str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Name
    changes: Annotated[list[str], Field(min_length=1)]
    subject: _Subject | None = None
    timeout_s: Annotated[float, Field(gt=0, le=TIMEOUT_MAX_S)] = 2.0
    silence: Literal["allow", "deny"]
    within: list[_Path] = []
    secret_file: Annotated[str, Field(min_length=1)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    hook: Annotated[list[_Entry], Field(min_length=1)]


def read_hooks(path: str) -> tuple[Hook, ...]:
    """Return the hooks that the TOML file at *path* declares, in its order, which is that in which they are asked.

    Raises:
        InvalidSettings: If it cannot be read, or with a line for every fault in it.
    """
    try:
        written = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"--hooks={path}: {error}") from None
    lines: list[str] = []
    file = None
    try:
        file = _File.model_validate(written)
    except ValidationError as error:
        lines = _faults(error)
    entries = [entry for entry in _list_of(written.get("hook")) if isinstance(entry, dict)]
    lines += [line for number, entry in enumerate(entries, 1) for line in _wrong_changes(number, entry)]
    named = Counter(str(entry["name"]) for entry in entries if "name" in entry)
    doubled = [name for name, count in named.items() if count > 1]
    lines += [f"several hooks are called {name!r}; give each its own name" for name in doubled]
    if file is None or lines:
        raise InvalidSettings("\n".join(f"--hooks={path}: {line}" for line in lines))
    return tuple(_hook(entry, Path(path).parent) for entry in file.hook)


def _hook(entry: _Entry, folder: Path) -> Hook:
    return Hook(
        name=entry.name,
        changes=frozenset(change for pattern in entry.changes for change in _matching(pattern)),
        subject=entry.subject or _SUBJECT.format(name=entry.name),
        timeout_s=entry.timeout_s,
        silence_allows=entry.silence == "allow",
        within=frozenset(entry.within),
        secret_file=folder / entry.secret_file if entry.secret_file else None,
    )


def _matching(pattern: str) -> list[str]:
    """Return the changes that *pattern* stands for: itself, `*` all of them, `subnet.*` those of a kind."""
    kind, _, verb = pattern.partition(".")
    return [
        change for change in CHANGES if pattern in ("*", change) or (verb == "*" and change.startswith(f"{kind}."))
    ]


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wrong_changes(number: int, entry: dict[str, Any]) -> list[str]:
    """Return what is wrong with the changes of an *entry* as it was written, which may have other faults too."""
    return [
        f"hook {number} ({entry.get('name', 'no name')}), changes: {pattern!r} is none; there are "
        f"{', '.join(CHANGES)}, and with a * for all, or for all of a kind"
        for pattern in _list_of(entry.get("changes"))
        if isinstance(pattern, str) and not _matching(pattern)
    ]


def _faults(error: ValidationError) -> list[str]:
    """Return what is wrong, a line each, the hooks being counted from 1 as people do."""
    lines = []
    for fault in error.errors():
        table, number, *rest = (*fault["loc"], None)
        if not isinstance(number, int):
            lines.append(f"{table}: {_said(fault['msg'])}; a hook is a table [[hook]]")
            continue
        where = ", ".join([f"hook {number + 1}", *(str(part) for part in rest if part is not None)])
        lines.append(f"{where}: {_said(fault['msg'])}{_meant(fault['type'], rest[0])}")
    return lines


def _meant(kind: str, name: Any) -> str:
    """Return what a field that there is not was probably meant to be."""
    alike = get_close_matches(str(name), _Entry.model_fields, 1) if kind == "extra_forbidden" else []
    return f"; did you mean {alike[0]}?" if alike else ""


def _said(message: str) -> str:
    return message[:1].lower() + message[1:]
