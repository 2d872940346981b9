"""What clients of RackHD IPAM 1.0 do: whole objects, versioned media types, bare locations, bodies on DELETE."""

import json
from typing import Any

import pytest

from tests.support.stack import Api


class OldClient:
    """Sends and reads as the Go client of RackHD IPAM 1.0 does."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def send(self, method: str, path: str, kind: str, resource: dict[str, Any]) -> str:
        body = json.dumps({"id": "", "name": "", "tags": None, "metadata": None, **resource}) + "\n"
        content_type = f"application/vnd.ipam.{kind}+json; version=1.0.0"
        answer = self._api.request(method, path, data=body, headers={"Content-Type": content_type, "Accept": None})
        assert 200 <= answer.status_code <= 300, answer.text
        return answer.headers["Location"]

    def receive(self, path: str, kind: str) -> dict[str, Any]:
        # It names a type on GET, and not always a whole one.
        answer = self._api.get(path, headers={"Content-Type": '+json; version=""', "Accept": None})
        assert answer.headers["Content-Type"] == f"application/vnd.ipam.{kind}+json; version=1.0.0"
        return answer.json()


@pytest.fixture
def old(api: Api) -> OldClient:
    return OldClient(api)


def test_a_pool_is_created_shown_updated_and_deleted(old: OldClient, api: Api):
    metadata = "any JSON at all"
    location = old.send("POST", "/pools", "pool", {"name": "Pool1", "metadata": metadata})
    assert location.startswith("/pools/")
    pool = old.receive(location, "pool")
    assert (pool["name"], pool["tags"], pool["metadata"]) == ("Pool1", [], metadata)
    assert pool["id"] in [one["id"] for one in old.receive("/pools", "pools")["pools"]]
    whole = {"id": pool["id"], "name": "Pool2", "tags": None, "metadata": {"a": 1}}
    assert old.send("PATCH", location, "pool", whole) == location
    assert old.receive(location, "pool")["name"] == "Pool2"
    assert old.send("DELETE", location, "pool", whole) == "/pools"
    assert api.get(location).status_code == 404


def test_a_subnet_is_created_and_updated_with_its_pool_in_the_body(old: OldClient, api: Api):
    pool = api.pool()
    wanted = {"name": "Subnet1", "pool": pool["id"], "start": "192.168.1.10", "end": "192.168.1.11"}
    location = old.send("POST", f"/pools/{pool['id']}/subnets", "subnet", wanted)
    subnet = old.receive(location, "subnet")
    assert (subnet["pool"], subnet["start"], subnet["end"], subnet["size"]) == (
        pool["id"], "192.168.1.10", "192.168.1.11", 2,
    )  # fmt: skip
    only_new_name = {"name": "Subnet2", "pool": "", "start": "", "end": ""}
    assert old.send("PATCH", location, "subnet", only_new_name) == location
    assert old.receive(location, "subnet")["name"] == "Subnet2"
    assert old.receive(f"/pools/{pool['id']}/subnets", "subnets")["subnets"][0]["id"] == subnet["id"]
    assert old.send("DELETE", location, "subnet", wanted) == "/subnets"


def test_a_reservation_without_count_is_for_one_address(old: OldClient, api: Api):
    subnet = api.subnet(start="192.168.1.10", end="192.168.1.11")
    path = f"/subnets/{subnet['id']}/reservations"
    location = old.send("POST", path, "reservation", {"name": "Reservation1", "subnet": subnet["id"]})
    reservation = old.receive(location, "reservation")
    assert (reservation["subnet"], reservation["count"]) == (subnet["id"], 1)
    leases = old.receive(f"{location}/leases", "leases")["leases"]
    assert [(one["reservation"], one["address"]) for one in leases] == [(reservation["id"], "192.168.1.10")]
    lease = f"/leases/{leases[0]['id']}"
    changed = {**leases[0], "name": "Lease1", "tags": ["x"]}
    assert old.send("PUT", lease, "lease", changed) == lease
    assert old.receive(lease, "lease")["name"] == "Lease1"
    assert old.receive(path, "reservations")["reservations"][0]["id"] == reservation["id"]
    assert old.send("DELETE", location, "reservation", {}) == "/reservations"


def test_deleting_a_pool_takes_everything_inside_with_it(old: OldClient, api: Api):
    pool = api.pool()
    subnet = api.subnet(pool, cidr="10.0.0.0/28")
    reservation = api.reserve(subnet, count=3)
    assert api.delete(f"/pools/{pool['id']}?cascade=false").status_code == 409
    assert api.delete(f"/subnets/{subnet['id']}?cascade=false").status_code == 409
    assert old.send("DELETE", f"/pools/{pool['id']}", "pool", pool) == "/pools"
    gone = [f"/pools/{pool['id']}", f"/subnets/{subnet['id']}", f"/reservations/{reservation['id']}"]
    gone += [f"/leases/{lease['id']}" for lease in reservation["leases"]]
    assert [api.get(path).status_code for path in gone] == [404] * 6


def test_a_trailing_slash_is_no_other_resource(old: OldClient):
    assert "pools" in old.receive("/pools/", "pools")


def test_an_id_cannot_be_changed(api: Api):
    pool = api.pool()
    answer = api.patch(f"/pools/{pool['id']}", {"id": "0" * 24})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/id"
