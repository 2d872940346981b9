"""What users and workers do, one step at a time."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation.provisioning import SubnetSpec
from ipam.models.job import NOT_CLAIMED, Job
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.search_keys import OPEN
from ipam.models.subnet import Subnet
from ipam.storage.bulk_writes import Writes
from ipam.wiring import Services
from tests.support.stored import leases_of


def make_subnet(services: Services, count: int = 4) -> Subnet:
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    start = ip_address("10.0.0.1")
    return services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + count - 1))


def reserve(services: Services, subnet: Subnet, count: int = 1) -> Job:
    request = ReservationRequest(count=count)
    job = services.job_queue.accept(ObjectId(), subnet, request)
    services.job_runner.run(subnet.id)
    return services.stores.jobs.get(job.id)


def carry_out(services: Services, target: ObjectId) -> None:
    """As workers do that get a message for whatever is free to be claimed."""
    while services.stores.jobs.waiting(target, 1, 60.0)[0]:
        services.job_runner.run(target)


def before_each_write(services: Services, monkeypatch: pytest.MonkeyPatch, look: Callable[[Writes], None]) -> None:
    """Have *look* called with each of the writes that follow each other, before it is made; it may raise."""
    write = services.stores.writer.write

    def one_by_one(steps: Iterable[Writes]) -> bool:
        return all(look(step) or write([step]) for step in steps if step)

    monkeypatch.setattr(services.stores.writer, "write", one_by_one)


def die_before_writing_to(services: Services, monkeypatch: pytest.MonkeyPatch, collection: str) -> None:
    """Have whoever is to write to *collection*, as one of several writes, die before that."""

    def die_if_it_is(step: Writes) -> None:
        if step.collection == collection:
            raise KeyboardInterrupt

    before_each_write(services, monkeypatch, die_if_it_is)


def addresses(services: Services, job: Job) -> list[str]:
    return [str(lease.address) for lease in leases_of(services.stores, job.reservation)]


def used(services: Services, subnet: Subnet) -> int:
    return services.stores.ledgers.find(subnet.id).used


def let_claims_run_out(services: Services) -> None:
    """As if some time had passed: nor are jobs new after that."""
    services.stores.jobs._collection.update_many(  # noqa: SLF001
        {"keys": OPEN}, {"$set": {"claimed_until": NOT_CLAIMED, "created_at": NOT_CLAIMED}}
    )


def hours_pass(services: Services) -> None:
    """Whatever is not renewed from here on looks as if it had stopped long ago."""
    stores = services.stores
    let_claims_run_out(services)
    for store in (stores.pools, stores.subnets, stores.ledgers, stores.reservations):
        store._collection.update_many(  # noqa: SLF001
            {"unfinished": {"$exists": True}}, {"$set": {"unfinished": NOT_CLAIMED}}
        )
    ledgers = stores.ledgers._collection  # noqa: SLF001
    for bson in ledgers.find():
        grants = [{**grant, "at": NOT_CLAIMED} for grant in bson["grants"]]
        ledgers.update_one({"_id": bson["_id"]}, {"$set": {"grants": grants}})
