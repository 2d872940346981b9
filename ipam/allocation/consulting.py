"""Asking consumers about changes before they are made: they allow, amend or refuse them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from bson import ObjectId

from ipam.allocation.requests import ReservationRequest
from ipam.errors import HookUnavailable, RejectedByHook, Stale, Transient, ValidationFailed, WriteConflict
from ipam.hooks import RESERVE, Hook, Unanswered
from ipam.models.audit_context import AuditContext, current_audit_context, set_audit_context
from ipam.models.descriptions import Described, described, is_described_alike, patched
from ipam.models.documents import Document, Job
from ipam.models.facts import paths_of, paths_of_job, shown
from ipam.models.store import DocumentStore, check_revision
from ipam.util.lossless_json import dumps, loads
from ipam.util.retry import retry_on_conflict

log = logging.getLogger(__name__)
Json = dict[str, Any]
D = TypeVar("D", bound=Document)
T = TypeVar("T", bound=Described)
R = TypeVar("R")

_REASON_MAX = 1000


class Asker(Protocol):
    """Carries questions to the consumers of a hook, and their answers back."""

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[bytes | Unanswered]:
        """The answer to each of *questions*, which are all asked at once; it takes about the hook's time at most.

        Raises nothing that a bus or a consumer could cause.
        """


@dataclass(frozen=True, slots=True)
class Sketch:
    """Something that is described, and the *rest* that is shown of it."""

    name: str
    tags: tuple[str, ...]
    metadata: Any
    rest: Json

    def to_json(self) -> Json:
        """As it is shown."""
        return {**self.rest, "name": self.name, "tags": list(self.tags), "metadata": self.metadata}

    @classmethod
    def from_json(cls, kept: Json) -> Sketch:
        """What `to_json` showed.

        Raises:
            ValidationFailed: If its name, tags or metadata break a rule.
        """
        own: Json = {name: kept[name] for name in ("name", "tags", "metadata") if name in kept}
        return cls(**described(own), rest={name: value for name, value in kept.items() if name not in own})


@dataclass(slots=True)
class _Case(Generic[T]):
    """A change that hooks are asked about; what they have said so far.

    Attributes:
        paths: Of what is changed, and of what it is in.
        after: What is described, as it would be; None for a deletion.
        show: Its JSON.
    """

    change: str
    paths: Collection[str]
    before: Json | None
    after: T | None
    show: Callable[[T], Json]
    audit_context: AuditContext
    amended_by: list[str] = field(default_factory=list)
    refused: RejectedByHook | HookUnavailable | None = None

    def question(self, hook: Hook) -> bytes:
        """What *hook* is asked."""
        asked = {
            "hook": hook.name,
            "change": self.change,
            "before": self.before,
            "after": None if self.after is None else self.show(self.after),
            "actor": self.audit_context.actor,
            "request_id": self.audit_context.request_id,
            "traceparent": self.audit_context.traceparent,
        }
        return dumps(asked).encode()

    def hear(self, hook: Hook, answer: Json) -> None:
        """Take what *hook* says.

        What it would amend, but not as may be, is not made without that: it has not allowed this.

        Raises:
            ValueError: If it neither allows it nor refuses it.
        """
        if answer.get("allow") is False:
            self.refuse(hook, str(answer.get("reason") or "it gave no reason"))
        elif answer.get("allow") is not True:
            message = 'it has neither "allow": true nor "allow": false'
            raise ValueError(message)
        elif self.after is not None and answer.get("patch") is not None:
            try:
                amended = patched(self.after, _object(answer["patch"], "its patch"))
            except (ValueError, RecursionError, ValidationFailed) as error:
                self.refuse(hook, f"its patch cannot be used: {error}")
                return
            if not is_described_alike(amended, self.after):
                self.after = amended
                self.amended_by.append(hook.name)

    def refuse(self, hook: Hook, reason: str) -> None:
        """Refuse the change for a *reason* of *hook*."""
        reason = reason[:_REASON_MAX]
        self.refused = RejectedByHook(
            f"The hook {hook.name} does not allow it: {reason}", hook=hook.name, reason=reason
        )

    def miss(self, hook: Hook, why: str) -> None:
        """Refuse the change for now: *hook* has to allow it and says nothing that can be used."""
        self.refused = _unavailable(hook.name, why)

    @property
    def amended_context(self) -> AuditContext:
        """Where the change comes from, and who has amended it."""
        return replace(self.audit_context, amended_by=", ".join(self.amended_by) or None)


class Consulting:
    """Asks the hooks that are declared, one after the other: each sees what those before it have amended.

    Args:
        places: So many changes may wait for hooks at once; beyond that they are not made, so that threads are left
            for other requests.
        most_beside: So many batches of requests for addresses are asked about while the worker does other work.
    """

    def __init__(
        self, hooks: Sequence[Hook] = (), asker: Asker | None = None, *, places: int = 1, most_beside: int = 0
    ) -> None:
        self._hooks = hooks
        self._asker = asker
        self._places = threading.BoundedSemaphore(places)
        self._free = threading.BoundedSemaphore(most_beside)
        self._beside: set[threading.Thread] = set()
        self._unanswered: Counter[str] = Counter()

    def hooks(self) -> list[Json]:
        """Return the hooks that are declared, and how often each gave no answer since this process began."""
        return [
            {
                "name": hook.name,
                "silence": "allow" if hook.silence_allows else "deny",
                "unanswered": self._unanswered[hook.name],
            }
            for hook in self._hooks
        ]

    def is_asked(self, change: str, paths: Collection[str]) -> bool:
        """Whether any hook wants to know of *change*, such as `pool.create`, to what has and is in *paths*."""
        return any(hook.is_asked(change, paths) for hook in self._hooks)

    def is_asked_about(self, job: Job) -> bool:
        """Return whether a hook is to be asked about a request for addresses, here or where it was accepted."""
        return bool(job.hooks) or self.is_asked(RESERVE, paths_of_job(job))

    def accepted(self, job: Job) -> Job:
        """Return *job*, a request for addresses, with the names of the hooks that want to know of it."""
        paths = paths_of_job(job)
        return replace(job, hooks=tuple(hook.name for hook in self._hooks if hook.is_asked(RESERVE, paths)))

    def create(self, document: D) -> D:
        """*document*, which is to be created, as hooks would have it.

        Raises:
            RejectedByHook: If one of them does not allow it.
            Transient: If one that has to allow it gives no answer, or too many changes wait for answers.
        """
        return self._amended("create", None, document)

    def update(self, before: D, after: D) -> D:
        """*after*, which is to take the place of *before*, as hooks would have it.

        Raises:
            RejectedByHook: If one of them does not allow it.
            Transient: If one that has to allow it gives no answer, or too many changes wait for answers.
        """
        return after if is_described_alike(before, after) else self._amended("update", before, after)

    def delete(
        self,
        store: DocumentStore[D],
        id_: ObjectId,
        revisions: frozenset[int] | None,
        carry_out: Callable[[frozenset[int] | None], R],
    ) -> R:
        """Ask whether what *store* has as *id_* may be deleted, and have that done by *carry_out*(revisions).

        These are the revision that hooks were asked about: if it is another one by then, they are asked again. They
        are *revisions* if no hook is to be asked.

        Raises:
            NotFound: If there is no such thing.
            Stale: If its revision is not among *revisions*, None accepting any.
            RejectedByHook: If a hook does not allow it.
            Transient: If one that has to allow it gives no answer, or too many changes wait for answers.
        """
        change = f"{store.kind}.delete"
        if not any(change in hook.changes for hook in self._hooks):
            return carry_out(revisions)

        def attempt() -> R:
            document = store.get(id_)
            check_revision(store.kind, document.revision, revisions)
            self._settle(_Case(change, paths_of(document), shown(document), None, shown, current_audit_context()))
            try:
                return carry_out(frozenset({document.revision}))
            except Stale as error:
                if revisions is not None:
                    raise
                message = f"The {store.kind} {id_} was changed while hooks were asked about it."
                raise WriteConflict(message) from error

        return retry_on_conflict(attempt)

    def reserve(self, jobs: Sequence[Job], then: Callable[[list[Job]], None]) -> None:
        """Ask about requests for addresses, all at once, then call *then* with each, as amended or refused.

        That is done beside what this process does next; here and now, if there is much of it already.
        """
        if not self._free.acquire(blocking=False):
            then(self._reserved(jobs))
            return

        def beside() -> None:
            try:
                then(self._reserved(jobs))
            except Exception:
                log.exception("%d jobs could not be asked about; they are tried again", len(jobs))
            finally:
                self._beside.discard(threading.current_thread())
                self._free.release()

        thread = threading.Thread(target=beside, name="consulting", daemon=True)
        self._beside.add(thread)
        thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait for what is being asked about, *timeout_s* seconds at most, so that nobody has to ask again."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._beside):
            thread.join(max(0.0, deadline - time.monotonic()))

    def rehearse(self, change: str, before: Json | None, after: Json | None) -> tuple[Json | None, str | None]:
        """What would come of a *change*, given as hooks are shown it; and which hooks would amend it.

        Raises:
            ValidationFailed: If what is described in it breaks a rule.
            RejectedByHook: If one of them would not allow it.
            HookUnavailable: If one that has to allow it gives no answer.
        """
        sketch = None if after is None else Sketch.from_json(after)
        paths = _paths_in(change, before or after or {})
        case = _Case(change, paths, before, sketch, Sketch.to_json, current_audit_context())
        self._settle(case)
        return None if case.after is None else case.after.to_json(), case.amended_context.amended_by

    def _reserved(self, jobs: Sequence[Job]) -> list[Job]:
        cases = [
            _Case(
                RESERVE,
                paths_of_job(job),
                None,
                ReservationRequest.from_json(job.request),
                _shown_of(job),
                job.audit_context,
            )
            for job in jobs
        ]
        self._ask_about(cases)
        for job, case in zip(jobs, cases, strict=True):
            self._refuse_if_unasked(job, case)
        return [
            replace(job, refused=case.refused.to_record())
            if case.refused
            else replace(
                job, request=case.after.to_json() if case.after else {}, audit_context=case.amended_context
            )
            for job, case in zip(jobs, cases, strict=True)
        ]

    def _refuse_if_unasked(self, job: Job, case: _Case[Any]) -> None:
        """Refuse for now what is to be asked of a hook that is not declared to this process."""
        declared = {hook.name for hook in self._hooks}
        missing = [name for name in job.hooks if name not in declared]
        if missing and case.refused is None:
            log.error(
                "job %s is to be asked about by the hook %s, which --hooks of this worker lacks", job.id, missing[0]
            )
            case.refused = _unavailable(missing[0], "the worker does not know of it, as the API does")

    def _amended(self, verb: str, before: D | None, after: D) -> D:
        change, paths = f"{type(after).__name__.lower()}.{verb}", paths_of(after)
        if not self.is_asked(change, paths):
            return after
        was = None if before is None else shown(before)
        case: _Case[D] = _Case(change, paths, was, after, shown, current_audit_context())
        self._settle(case)
        set_audit_context(case.amended_context)
        return case.after or after

    def _settle(self, case: _Case[Any]) -> None:
        if not self._places.acquire(blocking=False):
            raise Transient("As many changes as may wait for hooks do so already. Send the request again.")
        try:
            self._ask_about([case])
        finally:
            self._places.release()
        if case.refused is not None:
            raise case.refused

    def _ask_about(self, cases: Sequence[_Case[T]]) -> None:
        """Ask each hook about those of *cases* that it wants to know of and none before it has refused."""
        for hook in self._hooks:
            open_ = [case for case in cases if case.refused is None and hook.is_asked(case.change, case.paths)]
            if open_ and self._asker is not None:
                questions = [case.question(hook) for case in open_]
                answers = self._asker.ask(hook, questions)
                for case, answer in zip(open_, answers, strict=True):
                    self._hear(hook, case, answer)

    def _hear(self, hook: Hook, case: _Case[T], answer: bytes | Unanswered) -> None:
        if isinstance(answer, Unanswered):
            self._miss(hook, case, answer.why)
            return
        try:
            said = _object(loads(answer.decode()), "it")
            if "error" in said and "allow" not in said:
                self._miss(hook, case, f"its function failed with {said['error']}; its own log says more")
                return
            case.hear(hook, said)
        except (ValueError, RecursionError) as error:
            self._miss(hook, case, f"its answer cannot be used: {error}")

    def _miss(self, hook: Hook, case: _Case[T], why: str) -> None:
        self._unanswered[hook.name] += 1
        done = "it is made all the same" if hook.silence_allows else "it is refused"
        log.warning(
            "hook %s, asked about %s: %s; %s (%d times since this process began)",
            *(hook.name, case.change, why, done, self._unanswered[hook.name]),
        )
        if not hook.silence_allows:
            case.miss(hook, why)


def _unavailable(hook: str, why: str) -> HookUnavailable:
    message = f"The hook {hook} has to allow it and gave no answer: {why}. Send the request again."
    return HookUnavailable(message, hook=hook, reason=why)


def _shown_of(job: Job) -> Callable[[ReservationRequest], Json]:
    """How the reservation that *job* is to make is shown: as the request, with what is known of it already."""
    known = {"id": str(job.reservation), "pool": str(job.pool), "subnet": str(job.subnet) if job.subnet else None}
    return lambda request: {**known, **request.to_json()}


def _paths_in(change: str, known: Json) -> set[str]:
    """The paths of something that is *known*, and of what it is in, as far as its JSON says."""
    ids = [(change.partition(".")[0], known.get("id"))]
    ids += [(kind, known.get(kind)) for kind in ("pool", "subnet", "reservation")]
    return {f"/{kind}s/{id_}" for kind, id_ in ids if id_}


def _object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        message = f"{what} is no JSON object"
        raise ValueError(message)  # noqa: TRY004 (it came from outside: a value, and not a mistake of ours)
    return value
