"""Closing the ledger of a subnet before the subnet is hidden, and opening it again if the subnet stays.

They are two documents. In between nothing is taken from the subnet and nothing goes back to it. When a process dies
there, recovery opens the ledger again. A process that has only slept there must not hide the subnet after that: so
before the ledger is opened the subnet gets a fence, and the process finds another one than it has read.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

from bson import ObjectId

from ipam.errors import Transient, WriteConflict
from ipam.models.document import check_revision
from ipam.models.ledger import Ledger
from ipam.storage.stores import Stores
from ipam.util.retry import retry_on_conflict


def open_ledger(stores: Stores, subnet: ObjectId, ledger: Ledger | None) -> Ledger | None:
    """Return *ledger*, which was read for *subnet*, if it is open; None if there is no such subnet any more.

    Raises:
        WriteConflict: If it is closed and the subnet not hidden: one of both will change.
    """
    if ledger is not None and ledger.is_open:
        return ledger
    if stores.subnets.is_active(subnet):
        raise WriteConflict(f"The ledger of subnet {subnet} is closed for a moment.")
    return None


def hide_subnet(stores: Stores, id_: ObjectId, revisions: frozenset[int] | None, *, only_empty: bool) -> None:
    """Close the ledger of a subnet and hide the subnet, so that nothing more is taken from it.

    Raises:
        NotFound: If there is no such subnet.
        Stale: If it has another revision than the caller accepts.
        NotEmpty: If *only_empty* and addresses of it are taken.
    """
    try:
        retry_on_conflict(partial(_close_and_hide, stores, id_, revisions, only_empty=only_empty))
    except Exception:
        with suppress(Transient):
            reopen(stores, id_)
        raise


def _close_and_hide(stores: Stores, id_: ObjectId, revisions: frozenset[int] | None, *, only_empty: bool) -> None:
    subnet = stores.subnets.read(id_)
    check_revision(stores.subnets.kind, subnet.revision, revisions)
    stores.ledgers.close(id_, only_empty=only_empty)
    stores.subnets.hide(replace(subnet, used=stores.ledgers.used([id_])[id_]))


def reopen(stores: Stores, id_: ObjectId) -> None:
    """Open the ledger of a subnet that was closed and is not going to be hidden; nothing happens if it was hidden.

    The ledger is read before the fence is put. So a process that closes it meanwhile, and hides the subnet, is not
    undone: it has read the subnet before the fence, and fails to hide it, or it has closed the ledger since it was
    read, and that has another version.
    """
    ledger = stores.ledgers.find(id_)
    if ledger is not None and not ledger.is_open and stores.subnets.put_fence(id_):
        stores.ledgers.open(ledger)
