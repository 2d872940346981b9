"""What a POST is answered once its addresses are held, whatever cannot be read then; without a server."""

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from falcon.testing import Result, TestClient

from ipam.allocation import job_queue
from ipam.api.app import ApiOptions, create_app
from ipam.api.resources import reservations
from ipam.errors import HookUnavailable, NotFound, RetriesExhausted, Transient
from ipam.models.subnet import Subnet
from ipam.storage.stores import Stores
from ipam.util.lossless_json import dumps
from ipam.wiring import Services
from tests.support.call_counter import web_with_worker
from tests.support.steps import make_subnet

KEY = {"Idempotency-Key": "k"}


@pytest.fixture
def services(stores: Stores, plain: Any) -> Services:
    """A web process whose jobs are carried out at once, on another connection."""
    return web_with_worker(stores, Stores(plain))


@pytest.fixture
def subnet(services: Services) -> Subnet:
    return make_subnet(services, 300)


@pytest.fixture
def post(services: Services, subnet: Subnet) -> Callable[..., Result]:
    """Send a POST for addresses of the subnet, under a key."""
    api = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"])))
    path = f"/subnets/{subnet.id}/reservations"
    return lambda body: api.simulate_post(path, json=body, headers=KEY)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    return fail


def used(services: Services, subnet: Subnet) -> int:
    return services.stores.ledgers.find(subnet.id).used


@pytest.mark.parametrize("error", [Transient("away"), NotFound("gone"), RuntimeError("a fault of ours")])
def test_a_success_that_cannot_be_shown_is_answered_with_its_job(services, subnet, post, monkeypatch, error):
    with monkeypatch.context() as away:
        away.setattr(reservations, "result_of", lambda _: None)  # As with many addresses: they must be read.
        away.setattr(services.stores.reservations, "get", failing(error))
        answer = post({"count": 2})
        listed = post({"reservations": [{"count": 3}, {"count": 0}]})
    assert (answer.status_code, answer.json["state"]) == (202, "succeeded")
    assert answer.headers["Location"] == f"/jobs/{answer.json['id']}"
    assert listed.status_code == 422  # The same key.
    again = post({"count": 2})  # Not what was kept under the key, for nothing was.
    assert (again.status_code, again.json["id"]) == (201, answer.json["reservation"])
    assert used(services, subnet) == 2


def test_a_success_inside_of_a_list_that_cannot_be_shown_is_its_job(services, subnet, post, monkeypatch):
    body = {"reservations": [{"count": 3}, {"count": 0}, {"count": 400}]}
    with monkeypatch.context() as away:
        away.setattr(reservations, "result_of", lambda _: None)
        away.setattr(services.stores.reservations, "get", failing(Transient("away")))
        answer = post(body)
    assert [one["status"] for one in answer.json["outcomes"]] == [202, 422, 409]
    assert answer.json["outcomes"][0]["job"]["state"] == "succeeded"
    again = post(body)
    assert [one["status"] for one in again.json["outcomes"]] == [201, 422, 409]
    assert used(services, subnet) == 3


def test_a_job_that_cannot_be_read_is_answered_as_it_was_accepted(services, subnet, post, monkeypatch):
    with monkeypatch.context() as away:
        away.setattr(services.job_waiter, "wait", lambda *_args, **_kwargs: {})
        away.setattr(services.stores.jobs, "get_many", failing(Transient("away")))
        answer = post({})
    assert (answer.status_code, answer.json["state"]) == (202, "queued")
    assert post({}).status_code == 201
    assert used(services, subnet) == 1


def test_metadata_that_cannot_be_read_while_a_worker_is_at_the_job_is_read_later(
    services, subnet, post, monkeypatch
):
    read, calls = services.stores.pools.metadata_of, []

    def metadata_of(ids: Any) -> Any:
        calls.append(ids)
        if len(calls) == 1:
            raise Transient("away")
        return read(ids)

    monkeypatch.setattr(services.stores.pools, "metadata_of", metadata_of)
    assert post({}).status_code == 201


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(services, subnet, post, monkeypatch):
    with monkeypatch.context() as away:
        away.setattr(services.stores.idempotency, "finish", failing(Transient("away")))
        answer = post({})
    assert answer.status_code == 201
    assert post({}).json["id"] == answer.json["id"]
    assert used(services, subnet) == 1


def test_list_accepted_in_part_is_carried_out_in_part(services, subnet, post, monkeypatch):
    monkeypatch.setattr(job_queue, "STORED_AT_ONCE", 2)
    insert, stored = services.stores.jobs.insert, []

    def insert_two(*jobs: Any) -> None:
        if stored:
            raise Transient("away")
        stored.extend(jobs)
        insert(*jobs)

    body = {"reservations": [{"name": name} for name in "abc"]}
    with monkeypatch.context() as away:
        away.setattr(services.stores.jobs, "insert", insert_two)
        answer = post(body)
    outcomes = answer.json["outcomes"]
    assert [one["status"] for one in outcomes] == [201, 201, 503]
    assert outcomes[2]["problem"]["type"] == "/problems/unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    again = post(body).json["outcomes"]
    assert [one["status"] for one in again] == [201] * 3
    assert [one["location"] for one in again[:2]] == [one["location"] for one in outcomes[:2]]
    assert used(services, subnet) == 3


@pytest.mark.parametrize(
    ("error", "status"),
    [(HookUnavailable("silent", hook="h", reason="r"), 503), (RetriesExhausted("ten times"), 500)],
)
def test_idempotency_key_of_a_passing_failure_is_tried_anew(post, plain, error, status):
    first = post({"count": 301})  # There are not so many; what is looked at is another reason to fail.
    assert first.status_code == 409
    (job,) = plain["jobs"].find({})
    plain["idempotency"].update_one({"_id": "k"}, {"$set": {"answer": None}})
    plain["jobs"].update_one({"_id": job["_id"]}, {"$set": {"error": dumps(error.to_record())}})
    answer = post({"count": 301})
    assert answer.status_code == status
    assert plain["idempotency"].find_one({"_id": "k"})["answer"] is None
    assert post({"count": 301}).status_code == 409  # By a job of its own; and that is the final answer.
    assert plain["jobs"].count_documents({}) == 2
    assert post({"count": 301}).status_code == 409
    assert plain["jobs"].count_documents({}) == 2
