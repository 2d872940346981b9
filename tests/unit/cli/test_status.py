"""`ipam status`: what it prints, and how it exits; without an API."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from ipam.cli import status as command
from ipam.cli.http_api import ApiUnavailable
from ipam.cli.status import status

PARTS = {
    "database": {"status": "ok"},
    "workers": {"status": "ok", "names": ["ipam@one", "ipam@two"]},
    "relay": {"status": "late", "behind_s": 31.5, "detail": "the relay does not keep up"},
    "queue": {"status": "ok", "open": 7, "oldest_s": 0.4},
}
REPORT = {"status": "degraded", "version": "2.0", "parts": PARTS, "hooks": [{"name": "cmdb", "unanswered": 3}]}


def pool(name: str, used: int, size: int) -> dict[str, Any]:
    return {"id": f"id-{name}", "name": name, "used": used, "size": size}


POOLS = [
    pool("half", 5, 10),
    pool("empty", 0, 0),
    pool("full\x1b[31m", 4, 4),
    *(pool(str(n), n, 100) for n in range(12)),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What the API was asked, and with which token."""
    seen: list[tuple[str, str | None]] = []

    def get(_url: str, path: str, token: str | None, _parameters: Any) -> dict[str, Any]:
        seen.append((path, token))
        return REPORT if path == "/status" else {"pools": POOLS}

    monkeypatch.setattr(command, "get", get)
    return seen


def test_status_shows_each_part_and_the_fullest_pools_and_exits_with_1_when_degraded(asked, tmp_path):
    file = tmp_path / "token"
    file.write_text("ipam_x_y\n")
    ran = CliRunner().invoke(status, ["--url", "http://there", "--token-file", str(file)])
    assert ran.exit_code == 1
    lines = ran.output.splitlines()
    assert lines[:5] == [
        "ipam 2.0 at http://there: degraded",
        "  database   ok",
        "  workers    ok        names ipam@one ipam@two",
        "  relay      late      the relay does not keep up",
        "  queue      ok        open 7, oldest_s 0.4",
    ]
    assert lines[5] == "  hook       cmdb: no answer 3 times"
    assert lines[6].startswith("  pool       100.0 % 4 of 4 id-full")
    assert "\x1b" not in ran.output
    assert len(lines) == 6 + 10
    assert asked == [("/status", "ipam_x_y"), ("/pools", "ipam_x_y")]


def test_status_as_json_has_the_report_and_the_pools(asked):
    ran = CliRunner().invoke(status, ["--json"])
    told = json.loads(ran.output)
    assert (told["parts"], len(told["pools"])) == (PARTS, 10)
    assert asked[0] == ("/status", None)


def test_status_exits_with_2_when_the_api_does_not_answer(monkeypatch):
    def away(*_: Any) -> Any:
        raise ApiUnavailable("http://there does not answer (ConnectionError).")

    monkeypatch.setattr(command, "get", away)
    ran = CliRunner().invoke(status, [])
    assert (ran.exit_code, ran.output) == (2, "ipam: http://there does not answer (ConnectionError).\n")
