"""Tokens over the wire: made on the command line, used like RackHD's clients do, revoked."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.servers import wait_until
from tests.support.stack import Api, Stack, created, problem


@pytest.fixture(scope="module")
def stack(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation that needs tokens, with two web processes on its port."""
    folder = tmp_path_factory.mktemp("tokens")
    running = Stack(database, redis_url, folder, IPAM_AUTH="token", IPAM_PROCESSES="2")
    running.start()
    yield running
    running.stop()


def ipam(stack: Stack, *arguments: str) -> str:
    """What a command of ipam prints."""
    command = [sys.executable, "-m", "ipam", *arguments]
    environment = {**stack.environment, "PATH": ""}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    return ran.stdout


def api_with(stack: Stack, token: str) -> Api:
    return Api(stack.api.url, token)


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Iterator[Api]:
    api = api_with(stack, ipam(stack, "token", "create", "--name", "ops", "--role", "admin").strip())
    yield api
    api.close()


def test_token_of_each_role_does_its_work_and_changes_have_its_name(stack: Stack, admin: Api):
    assert problem(stack.api.get("/pools")) == (401, "unauthorized")
    made = created(admin.post("/tokens", {"name": "provisioner", "role": "allocator"}))
    subnet = admin.subnet(cidr="10.0.0.0/28")
    provisioner = api_with(stack, made["token"])
    assert provisioner.reserve(subnet)["count"] == 1
    refused = provisioner.post("/pools")
    assert (problem(refused), refused.json()["role"]) == ((403, "forbidden"), "operator")
    path = f"/events?subject=/subnets/{subnet['id']}&type=ipam.reservation.created&wait=10"
    (event,) = provisioner.get(path).json()["events"]
    assert event["actor"] == f"provisioner ({made['id']})"
    provisioner.close()


def test_client_that_knows_only_users_and_passwords_sends_the_token_as_password(stack: Stack, admin: Api):
    """As those of RackHD IPAM: base URL and credentials in one, and paths behind it."""
    base = stack.api.url.replace("http://", f"http://rackhd:{admin.token}@")
    body = {"id": "", "name": "old", "tags": None, "metadata": "any"}
    answer = requests.post(f"{base}/pools", json=body, timeout=20)
    assert answer.status_code == 201
    assert requests.get(f"{base}{answer.headers['Location']}", timeout=20).json()["name"] == "old"
    assert requests.delete(f"{base}{answer.headers['Location']}", json=body, timeout=20).status_code == 204


def test_revoked_token_is_refused_by_every_web_process_within_seconds(stack: Stack, admin: Api):
    text = ipam(stack, "token", "create", "--name", "short", "--expires-in-days", "1").strip()
    public = text.split("_")[1]
    assert [api_with(stack, text).get("/pools").status_code for _ in range(8)] == [200] * 8
    assert f"{public} viewer    active" in ipam(stack, "token", "list")
    ipam(stack, "token", "delete", public)

    def is_refused() -> bool:
        answers = [requests.get(f"{stack.api.url}/pools", headers=headers, timeout=20) for _ in range(8)]
        return {answer.status_code for answer in answers} == {401}

    headers = {"Authorization": f"Bearer {text}"}
    wait_until(is_refused, 30, "the token to be refused")
    assert problem(admin.get(f"/tokens/{public}")) == (404, "not-found")


def test_metrics_are_the_sum_of_all_web_processes(stack: Stack, admin: Api):
    def counted() -> float:
        lines = admin.get("/metrics").text.splitlines()
        wanted = 'ipam_http_requests_total{method="PUT",route="/pools",status="405"} '
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    answers = [requests.put(f"{stack.api.url}/pools", headers=bearer(admin), timeout=20) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {405}
    assert [counted() for _ in range(6)] == [20.0] * 6
    assert problem(stack.api.get("/metrics")) == (401, "unauthorized")


def bearer(api: Api) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.token}"}


def test_events_tail_reads_its_token_from_a_file(stack: Stack, admin: Api, tmp_path: Path):
    admin.pool(name="to be seen")
    file = tmp_path / "token"
    file.write_text(f"{admin.token}\n")
    command = [sys.executable, "-u", "-m", "ipam", "events", "tail", "--url", stack.api.url, "--after", "0"]
    with subprocess.Popen([*command, "--token-file", str(file)], stdout=subprocess.PIPE, text=True) as tail:
        assert "ipam." in tail.stdout.readline()
        tail.terminate()
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "A token is needed" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create"], "--name"),
        (["create", "--name", ""], "1 to 255 characters"),
        (["create", "--name", "x", "--role", "root"], "viewer"),
        (["create", "--name", "x", "--allowed-from", "here"], "give an address or a CIDR"),
        (["delete", "nobody"], "12 letters and digits"),
        (["delete", "abcdefghijkl"], "There is no token abcdefghijkl"),
    ],
)
def test_token_command_says_what_is_wrong_in_a_line(stack: Stack, arguments: list[str], said: str):
    command = [sys.executable, "-m", "ipam", "token", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=stack.environment)
    assert ran.returncode != 0
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
