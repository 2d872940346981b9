"""How many calls to the database things take: each costs some tenths of a millisecond, whatever it is for."""

from collections.abc import Iterator
from ipaddress import ip_address
from threading import Event
from uuid import uuid4

import pytest
from bson import ObjectId
from falcon.testing import Result, TestClient
from pymongo import MongoClient

from ipam.allocation.provisioning import SubnetSpec
from ipam.api.app import ApiOptions, create_app
from ipam.hooks.admission import AdmissionController
from ipam.models.cidr import bounds, parse_network
from ipam.models.job import Job, JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.wiring import Services, build_services
from tests.support.call_counter import Calls, NoDispatcher, web_with_worker


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def services(database: str, calls: Calls) -> Iterator[Services]:
    client: MongoClient = MongoClient(database, tz_aware=True, event_listeners=[calls])
    stores = Stores(client[f"calls-{uuid4().hex[:8]}"])
    stores.indexes.create()
    yield build_services(stores, Settings(), NoDispatcher(), AdmissionController())
    client.close()


@pytest.fixture
def subnet(services: Services) -> Subnet:
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    start, end = bounds(parse_network("10.0.0.0/22", ""))
    return services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=end))


def ask(services: Services, subnet: Subnet, jobs: int, count: int = 1) -> list[Job]:
    request = ReservationRequest(count=count)
    return [services.job_queue.accept(ObjectId(), subnet, request) for _ in range(jobs)]


@pytest.mark.parametrize("jobs", [1, 8, 200])
@pytest.mark.parametrize("kind", ["new", "released"])
def test_a_batch_on_one_subnet_costs_the_same_whatever_its_size(
    services: Services, calls: Calls, subnet: Subnet, jobs: int, kind: str
):
    if kind == "released":
        (job,) = ask(services, subnet, 1, subnet.size)
        services.job_runner.run(subnet.id)
        services.job_runner.run(services.releaser.release_reservation(job.reservation).target)
    asked = ask(services, subnet, jobs)
    reads, writes = calls.of(lambda: services.job_runner.run(subnet.id))
    assert (reads, writes) == (3, 2 if jobs <= 8 else 5), calls.made  # What follows the grants of a few is one.
    assert {services.stores.jobs.get(job.id).state for job in asked} == {JobState.SUCCEEDED}


@pytest.mark.parametrize("owner", ["subnet", "pool"])
def test_a_sync_request_takes_three_calls_in_its_web_process(
    database: str, services: Services, calls: Calls, subnet: Subnet, owner: str
):
    """What it is about, the job, and the metadata of what is around it; its end is announced with the result."""
    path = f"/subnets/{subnet.id}/reservations" if owner == "subnet" else f"/pools/{subnet.pool}/reservations"
    with MongoClient(database, tz_aware=True) as client:
        stores = Stores(client[services.stores.whole._database.name])  # noqa: SLF001
        front = web_with_worker(services.stores, stores)
        api, answers = TestClient(create_app(front, lambda: None, Event(), ApiOptions(["*"]))), []
        made = calls.of(lambda: answers.append(api.simulate_post(path, json={})))
    assert (answers[0].status_code, made) == (201, (2, 1)), calls.made


def test_an_async_request_takes_two_calls_and_is_answered_with_the_job_as_it_is_stored(
    services: Services, calls: Calls, subnet: Subnet
):
    api, answers = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"]))), []
    path, headers = f"/subnets/{subnet.id}/reservations", {"Prefer": "respond-async"}
    made = calls.of(lambda: answers.append(api.simulate_post(path, json={}, headers=headers)))
    assert (answers[0].status_code, made) == (202, (1, 1)), calls.made
    assert api.simulate_get(f"/jobs/{answers[0].json['id']}").json == answers[0].json


def test_an_async_request_that_is_sent_again_is_answered_with_what_has_become_of_it(
    services: Services, subnet: Subnet
):
    api = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"])))
    path, headers = f"/subnets/{subnet.id}/reservations", {"Prefer": "respond-async", "Idempotency-Key": "k"}
    first = api.simulate_post(path, json={}, headers=headers)
    assert api.simulate_post(path, json={}, headers=headers).json == first.json
    services.job_runner.run(subnet.id)
    again = api.simulate_post(path, json={}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 201)
    assert again.json["id"] == api.simulate_get(f"/jobs/{first.json['id']}").json["reservation"]


def test_a_reservation_is_shown_with_what_is_around_it_in_three_calls(
    services: Services, calls: Calls, subnet: Subnet
):
    (job,) = ask(services, subnet, 1)
    services.job_runner.run(subnet.id)
    api = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"])))
    api.simulate_patch(f"/pools/{subnet.pool}", json={"metadata": {"of": "pool"}})
    api.simulate_patch(f"/subnets/{subnet.id}", json={"metadata": {"of": "subnet"}})
    answers: list[Result] = []
    made = calls.of(lambda: answers.append(api.simulate_get(f"/reservations/{job.reservation}")))
    shown = answers[0].json
    assert (shown["pool_metadata"], shown["subnet_metadata"]) == ({"of": "pool"}, {"of": "subnet"})
    assert made == (3, 0), calls.made


@pytest.mark.parametrize("count", [1, 1000])
def test_a_release_costs_the_same_up_to_256_addresses_and_then_a_write_for_each_256(
    services: Services, calls: Calls, subnet: Subnet, count: int
):
    (job,) = ask(services, subnet, 1, count)
    services.job_runner.run(subnet.id)
    chunks = -(-count // 256)
    reads, writes = calls.of(lambda: services.releaser.release_reservation(job.reservation))
    assert (reads, writes) == (4, 4 + chunks), calls.made


def test_leases_are_read_by_their_keys_whatever_they_are_listed_by(
    services: Services, calls: Calls, subnet: Subnet
):
    """Any other condition alone, or one below `$and`, would go through all leases that there ever were."""
    pool = services.stores.pools.get(subnet.pool)
    neighbours = [
        services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=address, end=address + 1))
        for address in (ip_address("10.1.0.0"), ip_address("10.1.255.255"), ip_address("2001:db8::"))
    ]
    jobs = [ask(services, one, 1, 2)[0] for one in (subnet, *neighbours)]
    for one in (subnet, *neighbours):
        services.job_runner.run(one.id)
    api = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"])))
    expected = [lease["address"] for lease in api.simulate_get(f"/leases?pool={pool.id}").json["leases"]]
    assert len(expected) == 8
    first = api.simulate_get(f"/reservations/{jobs[0].reservation}/leases").json["leases"][0]
    api.simulate_patch(f"/leases/{first['id']}", json={"name": "a", "tags": ["b", "c"], "metadata": {"d": 1}})
    routes = {
        f"/leases?pool={pool.id}": expected,
        f"/leases?subnet={neighbours[1].id}": ["10.1.255.255", "10.2.0.0"],
        f"/subnets/{neighbours[2].id}/leases?": ["2001:db8::", "2001:db8::1"],
        f"/reservations/{jobs[0].reservation}/leases?": ["10.0.0.1", "10.0.0.2"],
        f"/leases?reservation={jobs[1].reservation}": ["10.1.0.0", "10.1.0.1"],
        f"/leases?pool={pool.id}&reservation={jobs[1].reservation}": ["10.1.0.0", "10.1.0.1"],
        f"/leases?address=10.1.0.1&pool={pool.id}": ["10.1.0.1"],
        f"/leases?name=a&tag=b&tag=c&metadata.d=1&pool={pool.id}": [first["address"]],
        f"/leases?name=&subnet={subnet.id}": ["10.0.0.2"],
    }
    for route, addresses in routes.items():
        for limit in (1, 2, 1000):
            found: list[str] = []
            following: str | None = f"{route}&limit={limit}"
            calls.filters.clear()
            while following:
                page = api.simulate_get(following).json
                found += [lease["address"] for lease in page["leases"]]
                following = page.get("next")
            assert found == addresses, route
            for collection, wanted in calls.filters:
                if collection == "leases":
                    assert "$and" not in wanted, route
                    assert isinstance(wanted["_id"], bytes) or list(wanted["_id"]) == ["$in"], route
