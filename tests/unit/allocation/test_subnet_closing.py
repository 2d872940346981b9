"""The ledger of a subnet is closed before the subnet is hidden, and opened again if it stays."""

from dataclasses import replace

import pytest
from bson import ObjectId

from ipam.allocation.subnet_closing import hide_subnet, reopen
from ipam.errors import NotEmpty, NotFound, Stale, WriteConflict
from ipam.models.job import JobState
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import SubnetState
from ipam.wiring import Services
from tests.support.steps import hours_pass, make_subnet, reserve


def is_open(services: Services, id_: ObjectId) -> bool:
    return services.stores.ledgers.find(id_).is_open


def close(services: Services, id_: ObjectId) -> None:
    """Close a ledger as a process does that dies before it hides the subnet."""
    services.stores.ledgers.close(id_, only_empty=False)


def test_a_deletion_that_is_refused_leaves_the_ledger_open(services):
    subnet = make_subnet(services)
    reserve(services, subnet)
    with pytest.raises(Stale):
        hide_subnet(services.stores, subnet.id, frozenset({7}), only_empty=False)
    with pytest.raises(NotEmpty):
        hide_subnet(services.stores, subnet.id, None, only_empty=True)
    assert is_open(services, subnet.id)
    assert reserve(services, subnet).state is JobState.SUCCEEDED


def test_a_deletion_that_is_stale_when_the_ledger_is_closed_opens_it_again(services, monkeypatch):
    subnet = make_subnet(services)
    close_ledger = services.stores.ledgers.close

    def while_another_writes(id_, *, only_empty):
        services.stores.subnets.describe(id_, lambda old: replace(old, name="changed"))
        close_ledger(id_, only_empty=only_empty)

    monkeypatch.setattr(services.stores.ledgers, "close", while_another_writes)
    with pytest.raises(Stale):
        hide_subnet(services.stores, subnet.id, frozenset({1}), only_empty=False)
    assert is_open(services, subnet.id)


def test_jobs_wait_for_a_ledger_that_is_closed_for_a_moment(services):
    subnet = make_subnet(services)
    close(services, subnet.id)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.QUEUED
    services.recovery.run()  # It was closed just now.
    assert not is_open(services, subnet.id)
    hours_pass(services)
    services.recovery.run()
    assert is_open(services, subnet.id)
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED


def test_a_job_can_be_cancelled_while_its_ledger_is_closed(services):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    close(services, subnet.id)
    services.job_queue.cancel(job.id)
    assert services.stores.jobs.get(job.id).state is JobState.CANCELLED


def test_a_deletion_that_slept_until_the_ledger_was_opened_hides_nothing(services):
    subnet = make_subnet(services)
    read = services.stores.subnets.read(subnet.id)
    close(services, subnet.id)
    reopen(services.stores, subnet.id)
    with pytest.raises(WriteConflict):
        services.stores.subnets.hide(replace(read, used=0))
    assert services.stores.subnets.get(subnet.id).state is SubnetState.ACTIVE


def test_a_ledger_is_not_opened_that_another_process_has_closed_since(services):
    subnet = make_subnet(services)
    close(services, subnet.id)
    read = services.stores.ledgers.find(subnet.id)
    hide_subnet(services.stores, subnet.id, None, only_empty=False)
    services.stores.ledgers.open(read)
    reopen(services.stores, subnet.id)
    assert not is_open(services, subnet.id)


def test_the_pool_of_a_closed_ledger_gives_what_is_elsewhere(services):
    subnet = make_subnet(services)
    close(services, subnet.id)
    pool = services.stores.pools.get(subnet.pool)
    job = services.job_queue.accept(ObjectId(), pool, ReservationRequest())
    services.job_runner.run(pool.id)
    assert services.stores.jobs.get(job.id).error["slug"] == "exhausted"
    assert services.stores.ledgers.usage([pool.id])[pool.id].size == 0


def test_the_ledger_of_a_subnet_that_was_deleted_is_kept_closed_and_goes_with_the_tombstone(services):
    subnet = make_subnet(services)
    reserve(services, subnet, 3)
    services.cascade_deleter.delete_subnet(subnet.id)
    kept = services.stores.ledgers.find(subnet.id)
    assert (kept.is_open, kept.unfinished, kept.used) == (False, None, 0)
    services.recovery._forget_subnet(subnet.id)  # noqa: SLF001
    assert services.stores.ledgers.find(subnet.id) is None
    with pytest.raises(NotFound):
        services.stores.subnets.get(subnet.id)
