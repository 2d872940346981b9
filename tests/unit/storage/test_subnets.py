"""How subnets are found by what users wrote on them and by address; without a server, for logic only."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation.provisioning import SubnetSpec
from ipam.models.addresses import to_place
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet
from ipam.storage import ledgers, pools
from ipam.storage.query import Query
from ipam.storage.subnets import holding
from ipam.wiring import Services

WANTED = Query(limit=2)


@pytest.fixture
def pool(services: Services) -> Pool:
    return services.provisioner.create_pool(Pool(id=ObjectId()))


def put(services: Services, pool: Pool, first: str, last: str, *tags: str) -> Subnet:
    draft = SubnetSpec(start=ip_address(first), end=ip_address(last), tags=tags)
    return services.provisioner.create_subnet(ObjectId(), pool.id, draft)


def tag(services: Services, subnet: Subnet, *tags: str) -> Subnet:
    return services.stores.subnets.describe(subnet.id, lambda old: replace(old, tags=tags))


def tagged(tag: str) -> Query:
    return replace(WANTED, facets=((f"tag={tag}",),))


def around(address: str) -> Query:
    return WANTED.where(**holding(to_place(ip_address(address))))


def pages(services: Services, query: Query) -> Iterator[ObjectId]:
    while True:
        page = services.stores.subnets.page(query)
        yield from (subnet.id for subnet in page.items)
        if (cursor := page.cursor(len(page.items)) if page.items else None) is None:
            return
        query = replace(query, cursor=cursor)


def facets(plain, subnet: Subnet) -> list[str]:
    return plain["subnets"].find_one({"_id": subnet.id})["facets"]


def test_subnets_by_facet_are_found_page_by_page(services, pool):
    other = services.provisioner.create_pool(Pool(id=ObjectId()))
    mine = [put(services, pool, f"10.0.{n}.0", f"10.0.{n}.200", "even" if n % 2 == 0 else "odd") for n in range(7)]
    others = [put(services, other, f"10.0.{n}.100", f"10.0.{n}.120", "even") for n in range(3)]
    even = [subnet.id for subnet in [*mine[::2], *others]]
    assert list(pages(services, tagged("even"))) == even
    assert list(pages(services, tagged("even").where(pool=other.id))) == even[4:]
    assert list(pages(services, WANTED.where(pool=pool.id))) == [subnet.id for subnet in mine]
    assert list(pages(services, WANTED)) == [subnet.id for subnet in [*mine, *others]]
    assert list(pages(services, around("10.0.2.110"))) == [mine[2].id, others[2].id]
    assert list(pages(services, around("10.0.2.110").where(pool=pool.id))) == [mine[2].id]
    assert [*pages(services, around("10.0.2.201")), *pages(services, tagged("no"))] == []
    assert [ledger.id for ledger in services.stores.ledgers.of_pool(pool.id)] == [subnet.id for subnet in mine]


def test_subnets_of_many_pools_are_counted_some_at_a_time(services, monkeypatch):
    monkeypatch.setattr(pools, "READ_CHUNK", 2)
    monkeypatch.setattr(ledgers, "READ_CHUNK", 2)
    many = [services.provisioner.create_pool(Pool(id=ObjectId())) for _ in range(5)]
    for n, pool in enumerate(many):
        for place in range(n):
            put(services, pool, f"10.0.{place}.1", f"10.0.{place}.3")
    usage = services.stores.ledgers.usage(pool.id for pool in many)
    assert [(usage[pool.id].subnets, usage[pool.id].size) for pool in many] == [(n, 3 * n) for n in range(5)]


@pytest.mark.parametrize(
    ("first", "last"), [("10.0.0.3", "10.0.5.77"), ("::", "ffff:" * 7 + "ffff"), ("2001::7", "2001::7")]
)
def test_a_subnet_is_found_by_each_of_its_addresses_and_no_other(services, pool, first, last):
    subnet = put(services, pool, first, last)
    for inside in (subnet.start, subnet.end, type(subnet.start)((int(subnet.start) + int(subnet.end)) // 2)):
        assert [one.id for one in services.stores.subnets.containing(inside)] == [subnet.id]
    for number in (int(subnet.start) - 1, int(subnet.end) + 1):
        if 0 <= number < 1 << subnet.start.max_prefixlen:
            assert services.stores.subnets.containing(type(subnet.start)(number)) == []


def test_subnet_is_found_as_it_was_stored_whichever_process_shows_it(services, plain, pool, monkeypatch):
    """The same request, sent twice, and a hook has amended it once; who was first has died since."""
    id_, start = ObjectId(), ip_address("10.0.0.1")
    draft = SubnetSpec(start=start, end=start)
    with monkeypatch.context() as crash:
        crash.setattr(services.provisioner, "finish_creation", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            services.provisioner.create_subnet(id_, pool.id, replace(draft, tags=("amended",)))
    made = services.provisioner.create_subnet(id_, pool.id, draft)
    assert facets(plain, made) == ["tag=amended"]


def test_subnet_is_found_only_by_what_was_written_last(services, pool):
    subnet = put(services, pool, "10.0.0.1", "10.0.0.9", "a")
    tag(services, subnet, "b", "c")
    tag(services, subnet, "b")
    assert [list(pages(services, tagged(one))) for one in "abc"] == [[], [subnet.id], []]


def test_a_deleted_subnet_is_in_no_index_but_that_of_its_expiry(services, plain, pool):
    subnet = put(services, pool, "10.0.0.1", "10.0.0.9", "a")
    services.cascade_deleter.delete_subnet(subnet.id)
    tombstone = plain["subnets"].find_one({"_id": subnet.id})
    assert {"facets", "prefixes", "unfinished", "deleted_at"} & tombstone.keys() == {"deleted_at"}


def test_subnets_are_shown_with_what_is_taken_of_them(services, pool):
    """One by one and in a list; what is read to be used otherwise says that it does not know."""
    subnets = [put(services, pool, f"10.0.{n}.1", f"10.0.{n}.9") for n in range(3)]
    for count, subnet in enumerate(subnets):
        for _ in range(count):
            services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
        services.job_runner.run(subnet.id)
    stores = services.stores
    shown = [one.to_json() for one in stores.subnets.page(Query()).items]
    assert shown == [stores.subnets.get(subnet.id).to_json() for subnet in subnets]
    assert [(one["used"], one["free"]) for one in shown] == [(0, 9), (1, 8), (2, 7)]
    bare = stores.subnets.read(subnets[1].id)
    assert (bare.used, bare.free, bare.utilization) == (None, None, None)
