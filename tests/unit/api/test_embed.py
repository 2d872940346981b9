"""A reservation with its leases; without a server, for logic only."""

import threading

import pytest
from falcon.testing import TestClient

from ipam.api.app import ApiOptions, create_app
from tests.support.steps import make_subnet, reserve

COUNT = 10


@pytest.fixture
def client(services):
    return TestClient(create_app(services, lambda: None, threading.Event(), ApiOptions(["*"])))


@pytest.mark.parametrize(("bytes_each", "at_once"), [(0, COUNT), (90, COUNT), (200, 6)])
def test_leases_are_embedded_whole_unless_users_wrote_too_much_on_them(
    services, client, monkeypatch, bytes_each, at_once
):
    for module in ("sizes", "leases"):
        monkeypatch.setattr(f"ipam.storage.{module}.PAGE_MAX_BYTES", 1400)
    job = reserve(services, make_subnet(services, COUNT), COUNT)
    path = f"/reservations/{job.reservation}"
    for lease in client.simulate_get(f"{path}/leases").json["leases"]:
        body = {"metadata": "x" * bytes_each}
        assert client.simulate_patch(f"/leases/{lease['id']}", json=body).status_code == 200
    page = client.simulate_get(path, params={"embed": "leases"}).json
    assert len(page["leases"]) == at_once
    assert_all_are_there(client, page)


@pytest.mark.parametrize("most", [COUNT, COUNT - 1])
def test_embedded_leases_are_those_of_the_first_page(services, client, monkeypatch, most):
    monkeypatch.setattr("ipam.api.resources.reservations.LIMIT_MAX", most)
    job = reserve(services, make_subnet(services, COUNT), COUNT)
    page = client.simulate_get(f"/reservations/{job.reservation}", params={"embed": "leases"}).json
    assert len(page["leases"]) == most
    assert_all_are_there(client, page)


def assert_all_are_there(client, page):
    addresses = [lease["address"] for lease in page["leases"]]
    while "next" in page:
        page = client.simulate_get(page["next"]).json
        addresses += [lease["address"] for lease in page["leases"]]
    assert addresses == [f"10.0.0.{n}" for n in range(1, COUNT + 1)]
