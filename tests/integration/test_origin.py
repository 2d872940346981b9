"""Which request it was, and who asked."""

import pytest

from tests.support.stack import Api, problem


def test_a_request_keeps_the_id_that_it_came_with(api: Api):
    answer = api.get("/pools", headers={"X-Request-Id": "a/b:7"})
    assert answer.headers["X-Request-Id"] == "a/b:7"


@pytest.mark.parametrize("given", [None, "", "has a space", "x" * 129, "\xe9"])
def test_a_request_without_an_id_that_can_be_used_gets_one_of_its_own(api: Api, given: str | None):
    headers = {} if given is None else {"X-Request-Id": given}
    first, second = (api.get("/pools", headers=headers).headers["X-Request-Id"] for _ in range(2))
    assert len(first) == 32
    assert first != second


@pytest.mark.parametrize(
    ("method", "path", "slug"),
    [
        ("GET", "/pools/none", "not-found"),
        ("GET", "/nowhere", "not-found"),
        ("PUT", "/pools", "method-not-allowed"),
        ("GET", "/pools?limt=3", "unknown-parameter"),
    ],
)
def test_every_problem_names_its_request(api: Api, method: str, path: str, slug: str):
    answer = api.request(method, path, headers={"X-Request-Id": "r-1"})
    assert problem(answer)[1] == slug
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == "r-1"


@pytest.mark.parametrize("actor", ["", "x" * 256, "tab\there", "\xe9"])
def test_an_actor_that_cannot_be_written_down_is_refused(api: Api, actor: str):
    answer = api.post("/pools", {"name": "of nobody"}, headers={"X-Actor": actor})
    assert problem(answer) == (400, "invalid-parameter")
    assert api.get("/pools?name=of+nobody").json()["pools"] == []


def test_an_actor_is_anything_that_can_be_printed(api: Api):
    answer = api.post("/pools", {}, headers={"X-Actor": "Alice (ops) <alice@example.org>"})
    assert answer.status_code == 201
