"""What follows from the declarations of fields."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any

import pytest
from bson import ObjectId

from ipam.api.http import request_schemas
from ipam.api.http.responses import pool_json, reservation_json
from ipam.errors import ValidationFailed
from ipam.models.address_set import AddressSet
from ipam.models.audit_context import AuditContext
from ipam.models.description import Description
from ipam.models.event import Event
from ipam.models.fields import Access, Field, declarations
from ipam.models.job import Job, JobKind, JobState
from ipam.models.lease import Lease
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation, ReservationState
from ipam.models.reserved_addresses import SubnetAddresses
from ipam.models.search_keys import KEEP_JOBS, expiry_keys, search_keys
from ipam.models.subnet import Strategy, Subnet, SubnetState
from ipam.storage.ledgers import Usage
from ipam.util.clock import utc_now

ID, OTHER = ObjectId(), ObjectId()
ADDRESS = ip_address("10.0.0.7")
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVENT = Event(
    id="e", type="t", paths=("/x",), revision=1, time=TIME, audit_context=AuditContext(actor="a"), data="{}"
)
COMMON: dict[str, Any] = {
    "id": ID,
    "name": "n",
    "tags": ("a", "b"),
    "metadata": {"rack": 12},
    "created_at": TIME,
    "updated_at": utc_now(),
    "revision": 3,
}
HELD = (SubnetAddresses(OTHER, AddressSet.of([ADDRESS])),)
# One of each, with no field at its default but those that their stores write apart.
EXAMPLES = (
    Pool(**COMMON),
    Subnet(
        **COMMON,
        pool=OTHER,
        start=ADDRESS,
        end=ip_address("10.0.0.9"),
        cidr="10.0.0.0/28",
        gateway=ADDRESS,
        exclusions=("10.0.0.8",),
        strategy=Strategy.RANDOM,
        cooldown=1,
        size=1 << 100,
        state=SubnetState.ACTIVE,
        fence=1,
    ),
    Reservation(**COMMON, pool=OTHER, subnets=(OTHER,), count=1, holdings=HELD, state=ReservationState.RELEASING),
    Lease(**COMMON, subnet=OTHER, pool=OTHER, reservation=OTHER, address=ADDRESS, entry=5),
    Job(
        id=ID,
        kind=JobKind.RELEASE,
        state=JobState.RUNNING,
        target=OTHER,
        pool=OTHER,
        subnet=OTHER,
        request={"count": 2},
        reservation=OTHER,
        claim=OTHER,
        claimed_until=TIME,
        decision=OTHER,
        attempts=2,
        failures=1,
        hooks=("h",),
        held=HELD,
        held_since=TIME,
        created_at=TIME,
        started_at=TIME,
        finished_at=TIME,
        revision=4,
        audit_context=AuditContext(actor="a"),
    ),
)
# Written into the documents of these, besides the document itself.
APART = {"outbox", "deleted_by", "at_once", "unfinished", "tidied", "done", "position", "reviewed", "refused"}
DERIVED = {"error", "is_counted", "used"}  # Made of other fields of its document, or read in another.


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.type_name)
def test_resource_is_read_as_it_was_stored(example):
    assert type(example).from_bson(example.to_bson()) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.type_name)
def test_every_field_of_a_resource_is_stored_or_known_to_be_written_apart(example):
    """The examples have no field at its default: one that is left out of the document would be lost above."""
    untouched = {
        field.name
        for field in fields(example)
        if getattr(example, field.name) in (field.default, None) or getattr(example, field.name) == ()
    }
    assert untouched <= APART | DERIVED


@pytest.mark.parametrize("resource", [Pool, Subnet, Reservation, Lease])
def test_writable_fields_of_a_resource_are_its_description(resource):
    assert declarations(resource).names[Access.WRITABLE] == set(Description.model_fields)


@pytest.mark.parametrize("example", EXAMPLES[:4], ids=lambda one: one.type_name)
def test_every_shown_field_is_written_by_users_fixed_or_computed(example):
    names = declarations(type(example)).names
    assert set(example.to_json()) == names[Access.WRITABLE] | names[Access.FIXED] | names[Access.COMPUTED]


def test_answers_add_to_a_resource_what_it_declares_as_joined():
    pool, _, reservation, *_ = EXAMPLES
    around = {OTHER: None}
    assert set(pool_json(pool, Usage())) - set(pool.to_json()) == set(Pool.joined)
    added = set(reservation_json(reservation, around)) - set(reservation.to_json())
    assert added | {"leases"} == set(Reservation.joined)


def test_fields_of_a_reservation_request_are_no_computed_fields_that_are_ignored():
    """A `count` is computed for a reservation and wanted by a request; `ttl` is refused, and not overlooked."""
    assert request_schemas.reservation_request({"count": 5}, "subnet").count == 5
    for name in ("ttl", "expires_at"):
        with pytest.raises(ValidationFailed, match="leave it out"):
            request_schemas.reservation_request({name: 60}, "subnet")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWithHostName(Lease):
    """A lease as a later version may have it."""

    host_name: Annotated[str, Field(Access.WRITABLE)] = ""


def test_new_field_of_a_lease_is_removed_when_its_address_goes_back_unless_it_says_otherwise():
    """So the next holder of the address never sees it."""
    assert LeaseWithHostName.dropped_keys() - Lease.dropped_keys() == {"host_name"}
    assert set(EXAMPLES[3].to_bson()) - Lease.dropped_keys() == {"_id", "subnet", "entry"}


def test_released_lease_and_reservation_keep_no_field_but_those_of_a_tombstone(services, plain):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    spec = request_schemas.subnet_spec({"cidr": "10.0.0.0/30"})
    subnet = services.provisioner.create_subnet(ObjectId(), pool.id, spec)
    body = {"count": 2, "name": "n", "tags": ["t"], "metadata": {"rack": 1}}
    job = services.job_queue.accept(ObjectId(), subnet, request_schemas.reservation_request(body, "subnet"))
    services.job_runner.run(subnet.id)
    (key, id_), *_ = [(bson["_id"], bson["lease"]) for bson in plain["leases"].find()]
    services.stores.leases.describe(id_, lambda lease: replace(lease, name="host-1", metadata={"mac": "x"}))
    services.releaser.release_reservation(job.reservation, None)
    lease, reservation = plain["leases"].find_one({"_id": key}), plain["reservations"].find_one()
    assert set(lease) <= {"_id", "outbox", "outbox_since", *Lease.tombstone}
    assert set(reservation) <= {"_id", "outbox_since", "keys", *Reservation.tombstone}


@pytest.mark.parametrize("key", [7, utc_now(), None, 1.5])
def test_time_and_number_are_no_search_keys_of_a_document_that_stays(key):
    """The purge finds expired documents by a number: one among the keys of a document in use would remove it."""
    with pytest.raises(TypeError, match="is no search key"):
        search_keys(ID, key)


def test_document_that_expires_has_no_other_search_key():
    (key,) = expiry_keys(TIME + KEEP_JOBS)
    assert isinstance(key, int)


def test_list_may_leave_out_what_is_long():
    reservation = EXAMPLES[2]
    listed = {name: value for name, value in reservation.to_bson().items() if name not in ("holdings", "outbox")}
    assert Reservation.from_bson(listed) == replace(reservation, holdings=())


def test_field_without_a_declaration_is_refused():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Undeclared(Pool):
        forgotten: str = ""

    with pytest.raises(ValueError, match="not enough values"):
        declarations(Undeclared)
