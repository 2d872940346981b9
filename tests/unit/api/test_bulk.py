"""Several requests for addresses in one POST; without a server, for logic only."""

import json

import falcon
import falcon.testing
import pytest
from bson import ObjectId

from ipam.allocation.job_queue import STORED_AT_ONCE
from ipam.api.http import bulk
from ipam.api.http.bulk import ItemResult, item_id, render_bulk
from ipam.errors import Exhausted
from ipam.models.reservation_request import ReservationRequest
from tests.support.steps import make_subnet


def test_ids_are_the_same_for_the_same_list_and_ascend_with_their_places():
    one, other = ObjectId(), ObjectId()
    ids = [item_id(place, one) for place in range(1000)]
    assert ids == [item_id(place, one) for place in range(1000)]
    assert ids == sorted(ids)
    assert not {*ids} & {item_id(place, other) for place in range(1000)}
    assert {id_.generation_time for id_ in ids} == {one.generation_time}


@pytest.mark.parametrize(("most", "shown"), [(10**6, 3), (250, 1), (10, 0)])
def test_bulk_answer_links_to_outcomes_that_do_not_fit(monkeypatch, most, shown):
    monkeypatch.setattr(bulk, "ANSWER_MAX_BYTES", most)
    all_ = [ItemResult(201, "reservation", {"name": "x" * 150}, f"/reservations/{place}") for place in range(3)]
    refused = ItemResult.refused(Exhausted("None is free."))
    req, resp = falcon.Request(falcon.testing.create_environ()), falcon.Response()
    req.context.plain = True
    render_bulk(req, resp, [*all_, refused])
    said = json.loads(resp.data)["outcomes"]
    assert [one["location"] for one in said[:3]] == [one.location for one in all_]
    assert ["reservation" in one for one in said[:3]] == [place < shown for place in range(3)]
    assert said[3]["problem"]["detail"] == "None is free."  # It is nowhere else.


def test_requests_of_a_list_are_stored_some_at_a_time_and_are_begun_in_order(services, dispatcher):
    subnet = make_subnet(services)
    list_ = ObjectId()
    wanted = {item_id(place, list_): ReservationRequest(count=1) for place in range(2 * STORED_AT_ONCE + 1)}
    jobs = services.job_queue.accept_all(subnet, wanted)
    assert [job.id for job in jobs] == list(wanted)
    assert dispatcher.dispatched == [subnet.id] * 3
    services.job_queue.accept_all(subnet, wanted)
    waiting, _ = services.stores.jobs.waiting(subnet.id, 10 * STORED_AT_ONCE, 60.0)
    assert [(job.id, job.reservation) for job in waiting] == [(job.id, job.reservation) for job in jobs]
