"""Admission control: hooks allow, amend or refuse changes before they are made."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bson import ObjectId

from ipam.errors import Stale, Transient, WriteConflict
from ipam.hooks.client import HookClient
from ipam.hooks.config import RESERVE, Hook, Silence
from ipam.hooks.review import AdmissionReview, DryRunObject, UnusableAnswer
from ipam.models.audit_context import current_audit_context, set_audit_context
from ipam.models.description import is_described_alike
from ipam.models.document import Document, check_revision
from ipam.models.event_factory import paths_of, paths_of_job
from ipam.models.job import Job
from ipam.models.reservation_request import ReservationRequest
from ipam.storage.document_store import DocumentStore
from ipam.util.retry import retry_on_conflict

log = logging.getLogger(__name__)
Json = dict[str, Any]
D = TypeVar("D", bound=Document)
R = TypeVar("R")


class AdmissionController:
    """Asks the declared hooks in order; each sees what those before it have amended.

    Args:
        hooks: The declared hooks.
        client: Asks them.
        max_waiting: How many changes may wait for hooks at once; others are not made, so that threads are left for
            other requests.
        max_background: How many batches of reservation requests are reviewed while the worker does other work.
    """

    def __init__(
        self,
        hooks: Sequence[Hook] = (),
        client: HookClient | None = None,
        *,
        max_waiting: int = 1,
        max_background: int = 0,
    ) -> None:
        self._hooks = hooks
        self._client = client
        self._places = threading.BoundedSemaphore(max_waiting)
        self._background_places = threading.BoundedSemaphore(max_background)
        self._background: set[threading.Thread] = set()
        self._silences: Counter[str] = Counter()

    def hooks(self) -> list[Json]:
        """Return the declared hooks, each with the number of its silences since this process began."""
        return [
            {
                "name": hook.name,
                "silence": "allow" if hook.silence_allows else "deny",
                "unanswered": self._silences[hook.name],
            }
            for hook in self._hooks
        ]

    def is_asked(self, change: str, paths: Collection[str]) -> bool:
        """Return whether a hook is asked about *change*, such as `pool.create`, to what has or is in *paths*."""
        return any(hook.is_asked(change, paths) for hook in self._hooks)

    def is_asked_about(self, job: Job) -> bool:
        """Return whether a hook is asked about a reservation request, by its declaration here or at the API."""
        return bool(job.hooks) or self.is_asked(RESERVE, paths_of_job(job))

    def with_hooks(self, job: Job) -> Job:
        """Return *job*, a reservation request, with the names of the hooks that are asked about it."""
        paths = paths_of_job(job)
        return replace(job, hooks=tuple(hook.name for hook in self._hooks if hook.is_asked(RESERVE, paths)))

    def review_creation(self, document: D) -> D:
        """Return *document*, which is to be created, as hooks have amended it.

        Raises:
            RejectedByHook: If one of them does not allow it.
            Transient: If one that has to allow it gives no answer, or too many changes wait for answers.
        """
        return self._reviewed("create", None, document)

    def review_update(self, before: D, after: D) -> D:
        """Return *after*, which is to replace *before*, as hooks have amended it.

        Raises:
            RejectedByHook: If one of them does not allow it.
            Transient: If one that has to allow it gives no answer, or too many changes wait for answers.
        """
        return after if is_described_alike(before, after) else self._reviewed("update", before, after)

    def review_deletion(
        self,
        store: DocumentStore[D],
        id_: ObjectId,
        revisions: frozenset[int] | None,
        delete: Callable[[frozenset[int] | None], R],
    ) -> R:
        """Have the deletion of a document reviewed, then call *delete* with the revision that was reviewed.

        If the document has another revision by then, it is reviewed again. If no hook is asked, *delete* gets
        *revisions*.

        Raises:
            NotFound: If there is no such document.
            Stale: If its revision is not among *revisions*, None accepting any.
            RejectedByHook: If a hook does not allow it.
            Transient: If one that has to allow it gives no answer, or too many changes wait for answers.
        """
        change = f"{store.kind}.delete"
        if not any(change in hook.changes for hook in self._hooks):
            return delete(revisions)

        def attempt() -> R:
            document = store.get(id_)
            check_revision(store.kind, document.revision, revisions)
            context = current_audit_context()
            self._review(
                AdmissionReview(change, paths_of(document), document.to_json(), None, Document.to_json, context)
            )
            try:
                return delete(frozenset({document.revision}))
            except Stale as error:
                if revisions is not None:
                    raise
                message = f"The {store.kind} {id_} was changed while hooks were asked about it."
                raise WriteConflict(message) from error

        return retry_on_conflict(attempt)

    def review_requests(self, jobs: Sequence[Job], then: Callable[[list[Job]], None]) -> None:
        """Have reservation requests reviewed, all at once, then call *then* with each, amended or refused.

        This happens in the background; if much is reviewed there already, before this method returns.
        """
        if not self._background_places.acquire(blocking=False):
            then(self._reviewed_requests(jobs))
            return

        def review() -> None:
            try:
                then(self._reviewed_requests(jobs))
            except Exception:
                log.exception("the review of %d jobs by hooks failed; it is tried again", len(jobs))
            finally:
                self._background.discard(threading.current_thread())
                self._background_places.release()

        thread = threading.Thread(target=review, name="admission", daemon=True)
        self._background.add(thread)
        thread.start()

    def drain(self, timeout_s: float) -> None:
        """Wait until what is reviewed in the background is over, *timeout_s* seconds at most."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._background):
            thread.join(max(0.0, deadline - time.monotonic()))

    def dry_run(self, change: str, before: Json | None, after: Json | None) -> tuple[Json | None, str | None]:
        """Have a *change* reviewed, given as hooks are shown it; return its outcome and which hooks amended it.

        Raises:
            ValidationFailed: If a name, tags or metadata in it break a rule.
            RejectedByHook: If a hook would not allow it.
            HookUnavailable: If one that has to allow it gives no answer.
        """
        would_be = None if after is None else DryRunObject.from_json(after)
        paths = _paths_in(change, before or after or {})
        review = AdmissionReview(change, paths, before, would_be, DryRunObject.to_json, current_audit_context())
        self._review(review)
        return None if review.after is None else review.after.to_json(), review.amended_context.amended_by

    def _reviewed(self, verb: str, before: D | None, after: D) -> D:
        change, paths = f"{type(after).__name__.lower()}.{verb}", paths_of(after)
        if not self.is_asked(change, paths):
            return after
        was = None if before is None else before.to_json()
        review: AdmissionReview[D] = AdmissionReview(
            change, paths, was, after, Document.to_json, current_audit_context()
        )
        self._review(review)
        set_audit_context(review.amended_context)
        return review.after or after

    def _review(self, review: AdmissionReview[Any]) -> None:
        if not self._places.acquire(blocking=False):
            raise Transient("As many changes as may wait for hooks do so already. Send the request again.")
        try:
            self._ask([review])
        finally:
            self._places.release()
        if review.refusal is not None:
            raise review.refusal

    def _reviewed_requests(self, jobs: Sequence[Job]) -> list[Job]:
        reviews = [_review_of(job) for job in jobs]
        self._ask(reviews)
        for job, review in zip(jobs, reviews, strict=True):
            self._refuse_if_hooks_are_missing(job, review)
        return [
            replace(job, refused=review.refusal.to_record())
            if review.refusal
            else replace(
                job, request=review.after.to_json() if review.after else {}, audit_context=review.amended_context
            )
            for job, review in zip(jobs, reviews, strict=True)
        ]

    def _refuse_if_hooks_are_missing(self, job: Job, review: AdmissionReview[Any]) -> None:
        """Refuse for now what a hook has to be asked about that is not declared to this process."""
        declared = {hook.name for hook in self._hooks}
        missing = [name for name in job.hooks if name not in declared]
        if missing and review.refusal is None:
            log.error("job %s needs the hook %s, which --hooks of this worker does not declare", job.id, missing[0])
            review.refuse_for_now(missing[0], "the worker does not know of it, as the API does")

    def _ask(self, reviews: Sequence[AdmissionReview[Any]]) -> None:
        """Ask each hook about those changes that it is declared for and no hook before it has refused."""
        for hook in self._hooks:
            open_ = [one for one in reviews if one.refusal is None and hook.is_asked(one.change, one.paths)]
            if open_ and self._client is not None:
                answers = self._client.ask(hook, [review.question(hook) for review in open_])
                for review, answer in zip(open_, answers, strict=True):
                    self._take(hook, review, answer)

    def _take(self, hook: Hook, review: AdmissionReview[Any], answer: bytes | Silence) -> None:
        if isinstance(answer, Silence):
            self._take_silence(hook, review, answer.reason)
            return
        try:
            review.take(hook, answer)
        except UnusableAnswer as error:
            self._take_silence(hook, review, str(error))

    def _take_silence(self, hook: Hook, review: AdmissionReview[Any], reason: str) -> None:
        self._silences[hook.name] += 1
        done = "it is made all the same" if hook.silence_allows else "it is refused"
        log.warning(
            "hook %s, asked about %s: %s; %s (%d times since this process began)",
            *(hook.name, review.change, reason, done, self._silences[hook.name]),
        )
        if not hook.silence_allows:
            review.refuse_for_now(hook.name, reason)


def _review_of(job: Job) -> AdmissionReview[ReservationRequest]:
    """Return the review of a reservation request, which is shown with the ids that are known of it."""
    known = {"id": str(job.reservation), "pool": str(job.pool), "subnet": str(job.subnet) if job.subnet else None}
    return AdmissionReview(
        RESERVE,
        paths_of_job(job),
        None,
        ReservationRequest.from_json(job.request),
        lambda request: {**known, **request.to_json()},
        job.audit_context,
    )


def _paths_in(change: str, known: Json) -> set[str]:
    """Return the paths of a resource, and of those that it is in, as far as its JSON has their ids."""
    ids = [(change.partition(".")[0], known.get("id"))]
    ids += [(kind, known.get(kind)) for kind in ("pool", "subnet", "reservation")]
    return {f"/{kind}s/{id_}" for kind, id_ in ids if id_}
