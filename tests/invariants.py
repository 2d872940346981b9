"""The guarantees, checked from outside, over HTTP."""

from collections import Counter
from typing import Any

from tests.stack import Api


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
