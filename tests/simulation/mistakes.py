"""Mistakes to be put into the code, one at a time: a simulation that does not see them sees nothing.

Each leaves out a condition of a write, turns round two steps, or moves a count. `make simulate-mistakes` shows
which of the fixed seeds is the first to see each.
"""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import click

from ipam.allocation import release, subnet_closing
from ipam.allocation.cascade_delete import CascadeDeleter
from ipam.allocation.entry_applier import EntryApplier
from ipam.allocation.granting import Granter
from ipam.allocation.job_queue import JobQueue
from ipam.allocation.job_runner import JobRunner
from ipam.allocation.planner import SubnetPlan
from ipam.allocation.provisioning import Provisioner
from ipam.allocation.recovery import Recovery
from ipam.allocation.release import Releaser
from ipam.allocation.roll_forward import RollForward
from ipam.events.relay import Relay
from ipam.models.ledger import Ledger
from ipam.storage import bulk_writes
from ipam.storage.connection import _translated
from ipam.storage.document_store import DocumentStore
from ipam.storage.idempotency import IdempotencyStore
from ipam.storage.jobs import JobStore
from ipam.storage.leases import LeaseStore
from ipam.storage.ledgers import LedgerStore
from ipam.storage.outbox import EventStore
from ipam.storage.pools import PoolStore
from ipam.storage.reservations import ReservationStore
from ipam.storage.subnets import SubnetStore
from ipam.storage.time_span import Span
from tests.simulation.history import run
from tests.simulation.seeds import SEEDS

# So far seeds are looked for when no fixed one sees a mistake: other commands make other stories.
_FURTHEST = 4000


@dataclass(frozen=True, slots=True)
class Mistake:
    """In the function *name* of *owner*, a class or module, stands *wrong* instead of *right*."""

    says: str
    owner: object
    name: str
    right: str
    wrong: str


MISTAKES = (
    Mistake("a job is decided for any claim", JobStore, "decide", '"claim": token, "state"', '"state"'),
    Mistake(
        "a job can be cancelled that another has claimed",
        JobStore, "cancel", ', "decision": None, "claim": token}', "}",
    ),
    Mistake(
        "who cancels a job does not write its ledger",
        JobQueue, "_forestall", "self._stores.ledgers.write(ledger)", "pass",
    ),
    Mistake(
        "a job that has its addresses is cancelled",
        JobQueue, "_forestall", "if job.id in ledger.granted:", "if False:",
    ),
    Mistake(
        "jobs are read before the ledger of their subnet",
        JobRunner, "_carry_out_some",
        "    ledger = self.stores.ledgers.find(target)\n",
        "    waiting, more = self.stores.jobs.waiting(target, BATCH_JOBS, self.claim_timeout_s)\n"
        "    ledger = self.stores.ledgers.find(target)\n",
    ),
    Mistake(
        "what another has claimed is granted addresses without a claim",
        JobRunner, "_is_new", "        and job.claim is None\n", "",
    ),
    Mistake(
        "what has its addresses is granted others without a claim",
        JobRunner, "_carry_out_some", " if job.id not in ledger.granted]", "]",
    ),
    Mistake(
        "hooks are not asked about what is granted without a claim",
        JobRunner, "_is_new",
        "        and (job.reviewed or not self.admission.is_asked_about(job))\n", "",
    ),
    Mistake(
        "a ledger is written over what is not known",
        LedgerStore, "write", ', "version": ledger.version}', "}",
    ),
    Mistake(
        "a release is counted again", LedgerStore, "striking_out",
        ', "$and": there}', "}",
    ),
    Mistake("a grant does not count as used", SubnetPlan, "take", " + len(pick.addresses)", ""),
    Mistake("what is on its way out is handed out", Ledger, "entries", "*self.grants, ", "*(), "),
    Mistake(
        "a freed lease is taken by a grant that is no younger than its last one",
        LeaseStore, "taking", ', "entry": {"$lt": lease["entry"]}}', "}",
    ),
    Mistake(
        "a lease is put back whoever holds it", LeaseStore, "put_back", '{"reservation": reservation}', "{}"
    ),
    Mistake(
        "leases of a deleted subnet are forgotten at once",
        LeaseStore, "retire",
        "self._free(({}, key) for key in _keys(subnet, addresses))", "self.forget(subnet, addresses)",
    ),
    Mistake(
        "a block is written over what is not known",
        bulk_writes, "_succession", ', "version": document["version"] - 1}', "}",
    ),
    Mistake(
        "a block is changed for what does not stand in the ledger any more",
        EntryApplier, "_end", " if grant in ledger.grants", "",
    ),
    Mistake(
        "a block is cleared for what does not stand in the ledger any more",
        EntryApplier, "_end", " if release in ledger.releases", "",
    ),
    Mistake(
        "grants are struck out before their blocks are written",
        EntryApplier, "ending",
        "[stores.blocks.succession(changed), ",
        "[stores.ledgers.striking_out(subnet, grants, ()), stores.blocks.succession(changed), ",
    ),
    Mistake(
        "a release is struck out before its blocks are written",
        EntryApplier, "ending",
        "[stores.blocks.succession(changed), ",
        "[stores.ledgers.striking_out(subnet, (), releases), stores.blocks.succession(changed), ",
    ),
    Mistake(
        "blocks are looked at after a release into them was entered, and changed as if before",
        Releaser, "_begin",
        "    seen = self._entry_applier.see(ledger.id, [release.addresses for release in releases])\n"
        "    self._stores.ledgers.write(reduce(enter_release, releases, ledger))\n",
        "    self._stores.ledgers.write(reduce(enter_release, releases, ledger))\n"
        "    seen = self._entry_applier.see(ledger.id, [release.addresses for release in releases])\n",
    ),
    Mistake(
        "a release goes on behind where it has come to",
        Releaser, "_step", "return part.end, given_back", "return part.end + RELEASED_AT_ONCE, given_back",
    ),
    Mistake(
        "a reservation gives back what it was given, whoever has it now",
        LeaseStore, "still_held",
        'if (bson["_id"], holder := bson.get("reservation")) in asked:',
        'for holder in [one for key, one in asked if key == bson["_id"]]:',
    ),
    Mistake(
        "leases of a second subnet have the ids of those of the first",
        RollForward, "_handing_out", "ranks.update(", "dict(",
    ),
    Mistake(
        "a release is struck out before it is said that it is over",
        EntryApplier, "put_back", "[burial, *ending]", "[*ending, burial]",
    ),
    Mistake(
        "what a reservation gave back while it went is not known",
        ReservationStore, "_hold", "if old.state is ReservationState.RELEASING:", "if old.state is not None:",
    ),
    Mistake("a block stays marked as full", release, "enter_release", "full=full, ", ""),
    Mistake(
        "what a worker has in hand is withdrawn and the worker not told",
        RollForward, "settle", "self._stores.jobs.disown([grant.job])\n", "pass\n",
    ),
    Mistake(
        "grants are struck out before their leases are written",
        RollForward, "finish",
        "    handed_out = self._hand_out_if_many(due, jobs, seen)\n",
        "    for ledger, grants in due:\n"
        "        self._stores.writer.write([self._stores.ledgers.striking_out(ledger.id, grants, ())])\n"
        "    handed_out = self._hand_out_if_many(due, jobs, seen)\n",
    ),
    Mistake(
        "a reservation is stored before its leases",
        RollForward, "finish",
        "[*handed_out, told, stored, ", "[stored, *handed_out, told, ",
    ),
    Mistake(
        "addresses are given back while their reservation is on its way",
        Releaser, "_finish_pending", "if self._roll_forward.finish_grants_of(ledger, reservation) or", "if",
    ),
    Mistake(
        "a deleted subnet's range goes first",
        CascadeDeleter, "_sweep_subnet",
        "    while (ledger",
        "    self._stores.pools.drop_range(subnet.pool, id_)\n    while (ledger",
    ),
    Mistake(
        "a creation that came too late drops the range of what is not swept",
        Provisioner, "finish_creation", "self._cascade_deleter.drop_if_deleted(", "self._stores.pools.drop_range(",
    ),
    Mistake(
        "what is left of a block is forgotten when a part of it was swept",
        CascadeDeleter, "_take_back_some", "block.taken - part", "block.taken - block.taken",
    ),
    Mistake(
        "blocks of a deleted subnet are freed before its leases are taken from their holders",
        CascadeDeleter, "_take_back_some",
        "        self._stores.leases.retire(id_, AddressSet(parts))\n        self._stores.writer.write(freed)\n",
        "        self._stores.writer.write(freed)\n        self._stores.leases.retire(id_, AddressSet(parts))\n",
    ),
    Mistake(
        "a batch that is withdrawn takes back what was to be spared",
        Granter, "withdraw", " and grant.job not in spare", "",
    ),
    Mistake(
        "a deletion is over after its first part",
        CascadeDeleter, "go_on",
        "self._stores.jobs.give_turn(replace(job, done=job.done + done), token)",
        "self._stores.jobs.finish(job.id)",
    ),
    Mistake("a range is held in a pool that is hidden", PoolStore, "hold_range", "**self.visible, ", ""),
    Mistake("ranges may cross", PoolStore, "hold_range", ', "ranges": {"$not": crossing}}', "}"),
    Mistake(
        "a subnet that is on its way out is shown",
        SubnetStore, "activate", ', "state": SubnetState.CREATING.value}', "}",
    ),
    Mistake(
        "a reservation without subnets stays",
        ReservationStore, "_hold", "if wanted.count:", "if True:",
    ),
    Mistake(
        "a reservation whose leases all went back stays",
        ReservationStore, "_hold", "if wanted.count:", "if wanted.subnets:",
    ),
    Mistake(
        "what a dead process did is never told",
        EventStore, "recover", "self.add_and_clear(", "str(",
    ),
    Mistake(
        "a subnet that was never shown is told of",
        SubnetStore, "drop_unborn",
        'utc_now()},\n            "$unset": {"outbox": 1},', 'utc_now(), "outbox_since": utc_now()},',
    ),
    Mistake(
        "a reservation is told of after it can be seen",
        RollForward, "finish",
        "told, stored, ", "stored, told, ",
    ),
    Mistake(
        "an outbox is emptied of what was put there since",
        EventStore, "clear", '{"_id": outbox.key, **unchanged}', '{"_id": outbox.key}',
    ),
    Mistake("only the last change is told", DocumentStore, "_tell_of", "*document.outbox, ", "*(), "),
    Mistake("what is in the log is put there again", Relay, "step", " if id_ not in known", ""),
    Mistake(
        "the end of the log is looked for when it is known what is in it",
        Relay, "step",
        "    known = self._log.known(events)\n",
        "    known = self._log.known(events)\n    last = self._log.last()\n",
    ),
    Mistake(
        "what was added is removed before it is in the log",
        Relay, "step",
        "    known = self._log.known(events)\n",
        "    self._log.settle(added, last, last)\n    known = self._log.known(events)\n",
    ),
    Mistake(
        "outboxes are emptied before their events are in the log",
        Relay, "step",
        "    known = self._log.known(events)\n",
        "    self._events.clear(one.outbox for one in added)\n    self._log.settle(added, last, last)\n"
        "    known = self._log.known(events)\n",
    ),
    Mistake("the last answer under a key is kept", IdempotencyStore, "finish", ', "answer": None}', "}"),
    Mistake(
        "a job that cannot be finished holds up the others",
        JobRunner, "_resume", "_try([job], partial(self._finish, job))", "self._finish(job)",
    ),
    Mistake(
        "a job that another has claimed is granted addresses after a lost race",
        Granter, "grant_of_subnet",
        "self._stores.jobs.claimed([job.id for job in jobs if job.id not in granted], token)",
        "[job for job in jobs if job.id not in granted]",
    ),
    Mistake("what a hook has refused is carried out", Granter, "_plan", " or job.refused is not None", ""),
    Mistake("hooks are not asked", JobRunner, "_review", "if not job.reviewed and", "if False and"),
    Mistake("what hooks have amended is lost", JobStore, "save_reviews", "**request_to_bson(job.request), ", ""),
    Mistake("who has amended is lost", JobStore, "save_reviews", ', "origin": job.audit_context.to_json()}', "}"),
    Mistake(
        "what a hook has refused can be created all the same",
        PoolStore, "refuse", "insert_missing(self._collection, [{**tombstone, **_dead()}])", "pass",
    ),
    Mistake(
        "what was created is refused",
        Provisioner, "create_pool",
        "        if made is None:\n            raise\n        return made\n", "        raise\n",
    ),
    Mistake(
        "what was begun in the future is left alone",
        Span, "sides", '{"$lte": self.first}, {"$gte": self.end}', '{"$lte": self.first}, {"$lt": self.first}',
    ),
    Mistake(
        "what was claimed in the future is left alone",
        Span, "outside", '{"$not": {"$gt": self.first, "$lt": self.end}}', '{"$lte": self.first}',
    ),
    Mistake(
        "a refusal does not wait for what comes back",
        Granter, "_grant", "if refused and any", "if () and any",
    ),
    Mistake(
        "a subnet is hidden and its ledger stays open",
        subnet_closing, "_close_and_hide", "stores.ledgers.close(id_, only_empty=only_empty)", "pass",
    ),
    Mistake(
        "a ledger that is closed has its former version",
        LedgerStore, "close", ', "$inc": {"version": 1}}', "}",
    ),
    Mistake(
        "a ledger is opened again without a fence",
        subnet_closing, "reopen", "stores.subnets.put_fence(id_)", "stores.subnets.is_active(id_)",
    ),
    Mistake("a subnet is hidden though there is a fence", SubnetStore, "hide", ', "fence": subnet.fence}', "}"),
    Mistake(
        "the fence is put before the ledger is read",
        subnet_closing, "reopen",
        "    ledger = stores.ledgers.find(id_)\n"
        "    if ledger is not None and not ledger.is_open and stores.subnets.put_fence(id_):\n",
        "    is_shown = stores.subnets.put_fence(id_)\n"
        "    ledger = stores.ledgers.find(id_)\n"
        "    if ledger is not None and not ledger.is_open and is_shown:\n",
    ),
    Mistake(
        "a ledger is opened that was closed again", LedgerStore, "open", ', "version": ledger.version}', "}"
    ),
    Mistake(
        "a ledger is opened before its subnet is shown",
        Provisioner, "finish_creation",
        "    self._stores.ledgers.insert(ledger)\n",
        "    self._stores.ledgers.insert(ledger)\n    self._stores.ledgers.open(ledger)\n",
    ),
    Mistake(
        "a ledger that was closed for nothing stays closed",
        Recovery, "_finish_ledger", "reopen(self.stores, ledger.id)", "pass",
    ),
    Mistake(
        "the ledger of a creation that slept stays",
        Recovery, "_finish_ledger", "self.stores.ledgers.retire(ledger.id)", "pass",
    ),
    Mistake(
        "what is closed gives addresses", LedgerStore, "of_pool", "if one.state in states", "if True",
    ),
    Mistake(
        "what is on its way in a ledger is not looked for",
        Ledger, "succeeded_by", "default=self.unfinished)", "default=None) and None",
    ),
    Mistake(
        "jobs of a subnet whose ledger is closed for a moment are refused", subnet_closing, "open_ledger",
        "if stores.subnets.is_active(subnet):", "if False:",
    ),
)  # fmt: skip


@contextmanager
def made(mistake: Mistake) -> Iterator[None]:
    """Within it the code has the mistake."""
    member = inspect.getattr_static(mistake.owner, mistake.name)
    is_property = isinstance(member, property)
    function = inspect.unwrap(member.fget if is_property else member)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(mistake.right) == 1, f"{mistake.says}: {mistake.right!r} is not in\n{source}"
    code = source.replace(mistake.right, mistake.wrong)
    names: dict[str, object] = {}
    exec(  # noqa: S102 (our own code, with a mistake in it)
        compile(code, f"<{mistake.says}>", "exec"),  # With the annotations of this file: as text.
        function.__globals__,
        names,
    )
    changed: object = names[mistake.name]
    if function is not member and not is_property:
        changed = _translated(changed)  # As `speaks_mongo` did.
    with ExitStack() as patches:
        for owner in _owners(mistake, member):
            patches.enter_context(patch.object(owner, mistake.name, changed))
        yield


def _owners(mistake: Mistake, member: object) -> list[object]:
    """Whatever has *member*: of a function of a module also those that have imported it."""
    modules = (module for name, module in sys.modules.items() if name.startswith("ipam."))
    return [mistake.owner, *(one for one in modules if getattr(one, mistake.name, None) is member)]


def seen(number: int) -> tuple[int, str]:
    """The first seed that sees the mistake called *number*, fixed ones first, and what it sees; 0 if none does."""
    with made(MISTAKES[number]):
        for seed in (*SEEDS, *range(201, _FURTHEST)):
            outcome = run(seed)
            if outcome.faults:
                return seed, outcome.faults[0]
    return 0, ""


def main() -> None:
    """Print what is seen of each mistake; the exit code is 1 if one is not seen by a fixed seed."""
    missed = 0
    with multiprocessing.Pool(os.cpu_count(), initializer=logging.disable) as processes:
        for mistake, (seed, fault) in zip(MISTAKES, processes.imap(seen, range(len(MISTAKES))), strict=True):
            fixed = seed in SEEDS
            click.echo(f"{mistake.says}\n    " + (f"seed {seed}: {fault}" if seed else "NOT SEEN"))
            if seed and not fixed:
                click.echo("    which is NOT AMONG THE FIXED ONES: add it to seeds.py")
            missed += not fixed
    click.echo(f"{len(MISTAKES) - missed} of {len(MISTAKES)} mistakes were seen")
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main()
