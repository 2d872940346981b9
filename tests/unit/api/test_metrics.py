"""/metrics; without a server."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from bson import ObjectId
from falcon.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ipam import __version__
from ipam.api.app import ApiOptions, create_app
from ipam.api.resources.metrics import FIGURES
from ipam.errors import Transient
from ipam.models.reservation_request import ReservationRequest
from ipam.models.token import Role, issue
from ipam.wiring import Services
from tests.support.steps import make_subnet, reserve

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture
def api(services: Services) -> TestClient:
    return TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"], metrics_pools=2)))


def samples(api: TestClient, **headers: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The value of each sample by its name and labels."""
    answer = api.simulate_get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples
    }


def of(found: dict[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_route_and_not_by_path(api):
    for n in range(3):
        assert api.simulate_get(f"/pools/{n:024x}").status_code == 404
    api.simulate_post("/pools", json={})
    api.simulate_get("/nowhere/at/all")
    found = samples(api)
    assert of(found, "ipam_http_requests_total", route="/pools/{id_}", method="GET", status="404") == 3
    assert of(found, "ipam_http_requests_total", route="/pools", method="POST", status="201") == 1
    assert of(found, "ipam_http_requests_total", route="none", method="GET", status="404") == 1
    assert of(found, "ipam_http_request_duration_seconds_count", route="/pools/{id_}", method="GET") == 3
    assert of(found, "ipam_http_request_duration_seconds_bucket", route="/pools", method="POST", le="+Inf") == 1


def test_parts_jobs_and_version_are_told(api, services):
    subnet = make_subnet(services)
    services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    found = samples(api)
    assert of(found, "ipam_part_up", part="database") == 1
    assert of(found, "ipam_part_up", part="relay") == 0  # None is at work.
    assert of(found, "ipam_jobs_open") == 1
    assert of(found, "ipam_build_info", version=__version__) == 1
    assert of(found, "ipam_recovery_last_run_timestamp_seconds") is None  # It never ran.


def test_recovery_is_told_with_the_time_of_its_last_run(services):
    services.monitor.recovered(2.0)
    api = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"])))
    found = samples(api)
    assert of(found, "ipam_recovery_last_run_timestamp_seconds") > 1.7e9
    assert of(found, "ipam_part_up", part="recovery") == 1


def test_pools_are_told_of_up_to_the_number_that_is_set(api, services):
    subnet, *_ = [make_subnet(services, 4) for _ in range(3)]
    reserve(services, subnet, 3)
    found = samples(api)
    sizes = {labels: value for (name, labels), value in found.items() if name == "ipam_pool_addresses"}
    assert len(sizes) == 2
    assert set(sizes.values()) == {4.0}
    used = {
        dict(labels)["pool_id"]: value
        for (name, labels), value in found.items()
        if name == "ipam_pool_used_addresses"
    }
    assert used[str(subnet.pool)] == 3.0


def test_metrics_are_shown_while_the_database_is_away(api, services, monkeypatch):
    def away(*_: Any) -> Any:
        raise Transient("The database did not answer.")

    make_subnet(services)
    with monkeypatch.context() as outage:
        for store, method in (("positions", "write"), ("pools", "page"), ("jobs", "open")):
            outage.setattr(getattr(services.stores, store), method, away)
        app = create_app(services, away, Event(), ApiOptions(["*"], metrics_pools=2))
        found = samples(TestClient(app))
    assert "ipam_pool_addresses" not in {name for name, _ in found}
    assert "ipam_pool_addresses" in {name for name, _ in samples(TestClient(app))}  # And not a minute later.
    assert of(found, "ipam_part_up", part="database") == 0
    assert of(found, "ipam_part_up", part="broker") == 0
    assert of(found, "ipam_jobs_open") is None


def test_openmetrics_is_sent_where_it_is_asked_for(api):
    answer = api.simulate_get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert api.simulate_get("/metrics?x=1").status_code == 400


@pytest.mark.parametrize("file", ["prometheus-alerts.yml", "grafana-dashboard.json"])
def test_alerts_and_dashboard_use_metrics_that_there_are(api, services, file):
    """All that they name is shown, or is as soon as there is a relay, a bus and a run of recovery."""
    make_subnet(services)
    api.simulate_get("/pools")
    there = {name for name, _ in samples(api)} | {figure.name for figure in FIGURES}
    expressions = list(_expressions(yaml.safe_load((DEPLOY / file).read_text())))
    named = {name for one in expressions for name in re.findall(r"\bipam_\w+", one)}
    assert len(expressions) >= 6
    assert named <= there
    assert {"ipam_part_up", "ipam_jobs_oldest_age_seconds", "ipam_pool_used_addresses"} <= named


def _expressions(value: Any) -> Iterator[str]:
    """Each PromQL expression in a file."""
    if isinstance(value, dict):
        yield from (one for name, one in value.items() if name == "expr")
        yield from (found for one in value.values() for found in _expressions(one))
    elif isinstance(value, list):
        yield from (found for one in value for found in _expressions(one))


@pytest.mark.long
def test_promtool_accepts_the_alerts():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; Debian has it in the package prometheus")
    subprocess.run([promtool, "check", "rules", DEPLOY / "prometheus-alerts.yml"], timeout=60, check=True)


@pytest.mark.parametrize("is_open", [True, False])
def test_metrics_need_a_token_unless_they_are_open(services, is_open):
    options = ApiOptions(["*"], need_token=True, open_metrics=is_open)
    api = TestClient(create_app(services, lambda: None, Event(), options))
    assert (api.simulate_get("/metrics").status_code == 200) is is_open
    token, text = issue(name="prometheus", role=Role.VIEWER)
    services.stores.tokens.insert(token)
    assert samples(api, Authorization=f"Bearer {text}")
