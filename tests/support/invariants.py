"""The guarantees, checked from outside, over HTTP."""

from collections import Counter
from typing import Any

from tests.support.servers import wait_until
from tests.support.stack import Api


def assert_ledger_is_true(api: Api, subnet_id: str) -> list[dict[str, Any]]:
    """Guarantees 1, 2 and 4 for a subnet at rest; returns its leases."""
    subnet = api.get(f"/subnets/{subnet_id}").json()
    leases = api.pages(f"/subnets/{subnet_id}/leases", "leases")
    reservations = api.pages(f"/subnets/{subnet_id}/reservations", "reservations")
    doubled = [address for address, n in Counter(lease["address"] for lease in leases).items() if n > 1]
    assert doubled == []
    assert subnet["used"] == len(leases)
    assert subnet["free"] == subnet["size"] - subnet["used"]
    held = Counter(lease["reservation"] for lease in leases)
    assert held == Counter({one["id"]: one["count"] for one in reservations if one["count"]})
    return leases


def assert_log_is_true(api: Api) -> list[dict[str, Any]]:
    """Guarantee 5, when all is quiet: no event twice, no gap, each resource's in order; returns the events."""
    wait_until(lambda: _untold(api) == [], 30, "the log to have all reservations")
    events = api.pages("/events?limit=200", "events")
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert [id_ for id_, n in Counter(event["id"] for event in events).items() if n > 1] == []
    last: dict[str, int] = {}
    for event in events:
        assert event["data"]["revision"] > last.get(event["subject"], 0), event
        last[event["subject"]] = event["data"]["revision"]
    return events


def _untold(api: Api) -> list[str]:
    """The revisions of reservations that the log does not know."""
    known = {event["id"] for event in api.pages("/events?type=ipam.reservation.*", "events")}
    there = api.pages("/reservations", "reservations")
    ids = [f"reservation-{one['id']}-{n}" for one in there for n in range(1, one["revision"] + 1)]
    return [id_ for id_ in ids if id_ not in known]


def assert_hands_out_all(api: Api, subnet_id: str) -> None:
    """Guarantee 4: reserving until 409 leaves exactly `size` addresses taken, each once."""
    subnet = api.get(f"/subnets/{subnet_id}").json()
    for count in (256, 16, 1):
        while subnet["free"] >= count:
            taken = api.post(f"/subnets/{subnet_id}/reservations", {"count": count})
            assert taken.status_code == 201, taken.text
            subnet = api.get(f"/subnets/{subnet_id}").json()
    assert api.post(f"/subnets/{subnet_id}/reservations", {}).status_code == 409
    assert len(assert_ledger_is_true(api, subnet_id)) == subnet["size"]
