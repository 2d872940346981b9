"""The pages that people open in a browser: the documentation of the API, and of each problem."""

import re
from threading import Event
from typing import Any

import pytest
from falcon.testing import TestClient

from ipam.api.app import ApiOptions, create_app
from ipam.api.http.problems import PROBLEMS
from ipam.wiring import Services

# What browsers send.
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def api(services: Services) -> Any:
    return TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"], need_token=True)))


@pytest.fixture
def open_api(services: Services) -> Any:
    return TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"])))


def test_browser_is_led_to_the_documentation_and_programs_are_not(open_api):
    led = open_api.simulate_get("/", headers=BROWSER)
    assert (led.status_code, led.headers["Location"]) == (303, "/docs")
    for accept in ("*/*", "application/json"):
        assert open_api.simulate_get("/", headers={"Accept": accept}).json["links"]["docs"] == "/docs"


def test_documentation_needs_nothing_from_elsewhere_and_no_token(api):
    page = api.simulate_get("/docs", headers=BROWSER)
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "<script>" not in page.text
    needed = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(needed) == 4
    for path in needed:
        answer = api.simulate_get(path)
        assert answer.status_code == 200, path
        assert answer.headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript", "application/json")
        kept = api.simulate_get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (kept.status_code, kept.content) == (304, b"")
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text)


@pytest.mark.parametrize("name", ["docs.html", "errors.md", "..%2Fapp.py", "swagger-ui"])
def test_only_files_of_pages_are_sent(open_api, name):
    assert open_api.simulate_get(f"/docs/{name}").status_code == 404


@pytest.mark.parametrize("slug", PROBLEMS)
def test_type_of_every_problem_leads_to_its_explanation(api, slug):
    text = api.simulate_get(f"/problems/{slug}")
    assert text.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert text.text.startswith(f"# `{slug}`\n\n{PROBLEMS[slug][0]}")
    page = api.simulate_get(f"/problems/{slug}", headers=BROWSER)
    assert page.headers["Content-Type"].startswith("text/html")
    assert f"<h1><code>{slug}</code></h1>" in page.text
    assert "](" not in page.text
    assert "`" not in page.text
    assert "<li>" not in page.text


def test_unknown_problem_is_a_problem(api):
    answer = api.simulate_get("/problems/unheard-of", headers=BROWSER)
    assert (answer.status_code, answer.json["type"]) == (404, "/problems/not-found")
    assert "exhausted" in answer.json["detail"]
