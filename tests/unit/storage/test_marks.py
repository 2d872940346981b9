"""How leases are found by what users wrote on them; without a server, for logic only."""

from dataclasses import replace

import pytest
from bson import ObjectId

from ipam.models.address_set import AddressSet
from ipam.models.lease import Lease
from ipam.models.reserved_addresses import lease_key
from ipam.storage.outbox import EventStore
from ipam.storage.query import Query
from ipam.storage.time_span import begun_within
from ipam.wiring import Services
from tests.support.steps import make_subnet, reserve
from tests.support.stored import leases_of


def a_lease(services: Services) -> Lease:
    return leases_of(services.stores, reserve(services, make_subnet(services)).reservation)[0]


def tag(services: Services, lease: Lease, *tags: str) -> Lease:
    return services.stores.leases.describe(lease.id, lambda old: replace(old, tags=tags))


def tagged(services: Services, tag: str) -> list[ObjectId]:
    """All leases with *tag*, page by page."""
    found, query = [], Query(facets=((f"tag={tag}",),), limit=1)
    while True:
        page = services.free_space.leases(query)
        found += [lease.id for lease in page.items]
        if not page.items or (cursor := page.cursor(1)) is None:
            return found
        query = replace(query, cursor=cursor)


def tidy(services: Services) -> None:
    services.stores.leases.recover(begun_within(-1))


def mark_of(plain, lease: Lease) -> dict | None:
    return plain["marks"].find_one({"_id": lease_key(lease.subnet, lease.address)})


def test_a_lease_is_found_by_what_it_has_now(services, plain):
    leases = [a_lease(services) for _ in range(3)]
    for lease in leases:
        tag(services, lease, "old", "both")
    tag(services, leases[1], "both", "new")
    for _ in range(2):
        assert tagged(services, "both") == [lease.id for lease in leases]
        assert tagged(services, "old") == [leases[0].id, leases[2].id]
        assert tagged(services, "new") == [leases[1].id]
        tidy(services)
    mark = mark_of(plain, leases[1])
    assert (mark["facets"], "changed_at" in mark) == (["tag=both", "tag=new"], False)


def test_mark_goes_with_the_last_word_on_its_lease(services, plain):
    lease = a_lease(services)
    tag(services, lease, "x")
    tag(services, lease)
    assert tagged(services, "x") == []
    tidy(services)
    assert mark_of(plain, lease) is None


def test_the_next_holder_is_not_found_by_what_was_written_on_the_lease_before(services, plain):
    subnet = make_subnet(services, 1)
    first = reserve(services, subnet)
    tag(services, leases_of(services.stores, first.reservation)[0], "x")
    services.releaser.release_reservation(first.reservation)
    (lease,) = leases_of(services.stores, reserve(services, subnet).reservation)
    assert tagged(services, "x") == []
    tidy(services)
    assert mark_of(plain, lease) is None


@pytest.mark.parametrize("is_there_before", [False, True])
def test_mark_that_is_tidied_finds_what_is_written_meanwhile(services, monkeypatch, is_there_before):
    """Whoever put the mark fell asleep over it, and it was taken for abandoned."""
    lease = a_lease(services)
    if is_there_before:
        tag(services, lease, "before")
    marks, naps = services.stores.leases._marks, [True]  # noqa: SLF001
    put = marks.put

    def sleep_over_it(*arguments) -> None:
        put(*arguments)
        if naps and naps.pop():
            tidy(services)

    monkeypatch.setattr(marks, "put", sleep_over_it)
    written = tag(services, lease, "x")
    assert tagged(services, "x") == [lease.id]
    tidy(services)
    assert tagged(services, "x") == [lease.id]
    assert services.stores.leases.get(lease.id).revision == written.revision


def test_mark_of_a_dead_process_tells_what_it_wrote_and_forgets_the_rest(services, plain, monkeypatch):
    written, unwritten = a_lease(services), a_lease(services)
    with monkeypatch.context() as crash:
        crash.setattr(EventStore, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tag(services, written, "x")
    services.stores.leases._marks.put(lease_key(unwritten.subnet, unwritten.address), ["tag=y"])  # noqa: SLF001
    tidy(services)
    told = [event["id"] for group in plain["events"].find({}) for event in group["events"]]
    assert f"lease-{written.id}-2" in told
    assert (services.stores.leases.get(written.id).outbox, mark_of(plain, unwritten)) == ((), None)
    assert tagged(services, "x") == [written.id]


def test_a_mark_that_is_put_again_while_it_is_tidied_stays(services, plain, monkeypatch):
    lease = a_lease(services)
    tag(services, lease, "x")
    marks = services.stores.leases._marks  # noqa: SLF001
    settle = marks.settle

    def settle_too_late(*arguments) -> None:
        marks.put(lease_key(lease.subnet, lease.address), ["tag=y"])
        settle(*arguments)

    monkeypatch.setattr(marks, "settle", settle_too_late)
    tidy(services)
    mark = mark_of(plain, lease)
    assert (mark["facets"], "changed_at" in mark) == (["tag=x", "tag=y"], True)


def test_mark_of_a_lease_that_is_written_on_often_stays_small(services, plain):
    lease = a_lease(services)
    for n in range(40):
        tag(services, lease, f"{n}")
        assert len(mark_of(plain, lease)["facets"]) <= 17
    assert tagged(services, "39") == [lease.id]


def test_marks_go_with_the_leases_of_a_deleted_subnet(services, plain):
    lease = a_lease(services)
    tag(services, lease, "x")
    services.stores.leases.forget(lease.subnet, AddressSet.of([lease.address]))
    assert mark_of(plain, lease) is None
