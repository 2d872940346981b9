"""Several reservations of a subnet go back at the same moment; without a server, for logic only."""

from dataclasses import replace
from itertools import product

import pytest
from bson import ObjectId

from ipam.allocation import release
from ipam.allocation.release import ReleaseChunk, chunks_of
from ipam.errors import NotFound, Stale
from ipam.models.audit_context import AuditContext
from ipam.models.job import Job, JobState
from ipam.models.reservation import Reservation
from ipam.models.subnet import Subnet
from ipam.storage.reservations import WantedRelease
from ipam.wiring import Services
from tests.support.steps import addresses, die_before_writing_to, make_subnet, reserve, used
from tests.support.stored import begin_release


def hidden(services: Services, subnet: Subnet, *counts: int, at_once: int = 100) -> list[ReleaseChunk]:
    """What is to be given back of reservations of so many addresses, whose releases were begun."""
    jobs = [reserve(services, subnet, count) for count in counts]
    return [part for job in jobs for part in chunks_of(begin_release(services.stores, job.reservation, at_once))]


def give_back(services: Services, wanted: list[ReleaseChunk]) -> list[int]:
    return services.releaser._give_back_together(wanted)  # noqa: SLF001


def assert_all_can_be_had(services: Services, subnet: Subnet) -> None:
    after = services.stores.ledgers.find(subnet.id)
    assert (after.used, after.releases) == (0, ())
    everything: Job = reserve(services, subnet, subnet.size)
    assert everything.state is JobState.SUCCEEDED
    assert len(addresses(services, everything)) == subnet.size


@pytest.mark.parametrize("at_once", [0, 100])
def test_coalesced_releases_are_one_write_of_the_ledger(services, at_once):
    subnet = make_subnet(services, 12)
    kept = reserve(services, subnet, 3)
    wanted = hidden(services, subnet, 1, 4, 2, at_once=at_once)
    before = services.stores.ledgers.find(subnet.id).version
    nobodys = replace(wanted[1], reservation=ObjectId())
    assert give_back(services, [*wanted, nobodys]) == [1, 4, 2, 0]
    assert services.stores.ledgers.find(subnet.id).version == before + 2  # That, and the striking out.
    assert (used(services, subnet), len(addresses(services, kept))) == (3, 3)
    services.releaser.release_reservation(kept.reservation)
    assert_all_can_be_had(services, subnet)


@pytest.mark.parametrize(
    ("before", "at_once"),
    [
        *product(["the second's leases", "blocks", "ledgers"], [0, 100]),
        ("reservations", 100),  # Which are buried later otherwise.
    ],
)
def test_coalesced_releases_of_a_dead_process_are_finished_by_others(services, monkeypatch, before, at_once):
    subnet = make_subnet(services, 12)
    wanted = hidden(services, subnet, 1, 4, 2, at_once=at_once)
    with monkeypatch.context() as crash:
        if before == "the second's leases":
            put_back = services.stores.leases.put_back

            def die_at_the_second(subnet_id, held) -> None:
                put_back(subnet_id, dict([next(iter(held.items()))]))
                raise KeyboardInterrupt

            crash.setattr(services.stores.leases, "put_back", die_at_the_second)
        else:
            die_before_writing_to(services, crash, before)
        with pytest.raises(KeyboardInterrupt):
            give_back(services, wanted)
    assert len(services.stores.ledgers.find(subnet.id).releases) == 3
    assert give_back(services, wanted[:1]) == [0]  # It finishes its own, which was on its way.
    assert len(services.stores.ledgers.find(subnet.id).releases) == 2
    services.job_runner.roll_forward.settle(services.stores.ledgers.find(subnet.id))
    assert_all_can_be_had(services, subnet)


def test_reservation_released_twice_at_once_goes_back_whole(services, monkeypatch):
    """Each of the two has come to another part."""
    monkeypatch.setattr(release, "RELEASED_AT_ONCE", 3)
    subnet = make_subnet(services, 12)
    parts = hidden(services, subnet, 8, at_once=0)
    assert [len(part.addresses) for part in parts] == [3, 3, 2]
    give_back(services, parts[:2])
    assert used(services, subnet) == 2
    give_back(services, parts)
    assert_all_can_be_had(services, subnet)


def test_coalesced_release_returns_to_each_caller_its_own_outcome(services):
    """One is there, two want the same, one has another revision, one is gone, and one never was."""
    subnet = make_subnet(services, 12)
    one, other, stale, gone = (reserve(services, subnet).reservation for _ in range(4))
    services.releaser.release_reservation(gone)
    reservations = services.stores.reservations
    outcomes = reservations.begin_releases(
        [
            WantedRelease(one),
            WantedRelease(other, frozenset({1})),
            WantedRelease(other),
            WantedRelease(stale, frozenset({7})),
            WantedRelease(gone),
            WantedRelease(ObjectId()),
        ]
    )
    assert [getattr(outcome, "id", type(outcome)) for outcome in outcomes] == [
        *(one, other, other),
        *(Stale, NotFound, NotFound),
    ]
    assert set(reservations.get_many([one, other, stale])) == {stale}


def test_reservation_changed_during_its_release_is_read_again(services, monkeypatch):
    subnet = make_subnet(services, 12)
    one, other = (reserve(services, subnet).reservation for _ in range(2))
    reservations = services.stores.reservations
    get_many = reservations.get_many

    def then_it_is_changed(ids) -> dict[ObjectId, Reservation]:
        found = get_many(ids)
        reservations.describe(other, lambda old: replace(old, name="new"))
        return found

    monkeypatch.setattr(reservations, "get_many", then_it_is_changed)
    outcomes = reservations.begin_releases([WantedRelease(one), WantedRelease(other, frozenset({1}))])
    assert (outcomes[0].id, type(outcomes[1])) == (one, Stale)
    (released,) = reservations.begin_releases([WantedRelease(other)])
    assert (released.id, released.name) == (other, "new")


def test_coalesced_releases_have_each_the_actor_of_its_request(services, plain):
    subnet = make_subnet(services, 12)
    who = {reserve(services, subnet).reservation: f"user {n}" for n in range(3)}
    services.stores.reservations.begin_releases(
        [WantedRelease(reservation, audit_context=AuditContext(actor=actor)) for reservation, actor in who.items()]
    )
    events = [event for group in plain["events"].find() for event in group["events"]]
    told = {event["paths"][0]: event["origin"]["actor"] for event in events if event["type"].endswith(".deleted")}
    assert told == {f"/reservations/{reservation}": actor for reservation, actor in who.items()}


def test_large_ones_go_back_alone(services, monkeypatch):
    """So that nobody waits for others longer than for his own."""
    subnet = make_subnet(services, 200)
    small, large = reserve(services, subnet, 61), reserve(services, subnet, 62)
    give_back, shared_with = services.releaser._give_back, []  # noqa: SLF001

    def watched(wanted, about) -> int:
        shared_with.append(about)
        return give_back(wanted, about)

    monkeypatch.setattr(services.releaser, "_give_back", watched)
    for job in (small, large):
        services.releaser.release_reservation(job.reservation)
    assert shared_with == [subnet.id, (subnet.id, large.reservation)]
    assert used(services, subnet) == 0
