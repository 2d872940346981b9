"""The deployment files run commands and settings that exist. There is no Docker engine to try them on."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ipam.cli.main import cli
from ipam.discovery.service import Service
from ipam.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "ipam"}


def is_valid(command: list[str]) -> bool:
    """Whether click takes the command and its flags."""
    found = cli.commands.get(command[0])
    if found is None:
        return False
    found.make_context("ipam", command[1:], resilient_parsing=True)
    known = {flag for parameter in found.params for flag in parameter.opts}
    return {word for word in command[1:] if word.startswith("--")} <= known


def test_the_procfile_runs_all_processes():
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert list(lines) == ["web", "worker", "beat", "relay", "flower"]
    assert all(command.startswith("ipam ") and is_valid(command.split()[1:]) for command in lines.values())


def test_compose_runs_commands_that_exist_with_settings_that_exist():
    assert set(OURS) == {"init-db", "web", "worker", "beat", "relay", "flower"}
    for service in OURS.values():
        assert is_valid(service["command"])
        assert {name.removeprefix("IPAM_").lower() for name in service["environment"]} <= set(Settings.model_fields)


def test_compose_starts_servers_before_those_that_need_them_and_checks_their_health():
    for service in OURS.values():
        for name, wait in service["depends_on"].items():
            if wait["condition"] == "service_healthy":
                assert "test" in COMPOSE["services"][name]["healthcheck"]
    assert set(OURS["init-db"]["depends_on"]) == {"mongodb", "rabbitmq", "redis"}
    assert set(OURS["web"]["depends_on"]) == {"init-db"}


def test_the_consul_of_compose_knows_where_the_servers_are():
    known = json.loads(COMPOSE["configs"]["services"]["content"])["services"]
    assert {service["name"] for service in known} == {"mongodb", "rabbitmq"} <= set(COMPOSE["services"])
    assert COMPOSE["services"]["consul"]["profiles"] == ["consul"]
    for service in OURS.values():
        uri = re.sub(r"\$\{[^}]*\}", "secret", service["environment"]["IPAM_CONSUL_MONGO"])
        assert Service.parse(uri, "", ("mongodb",)).name == "mongodb"


def test_no_password_is_baked_in():
    text = (ROOT / "docker-compose.yml").read_text()
    secrets = re.findall(r"(?:PASS|PASSWORD): (.*)", text) + re.findall(r"ipam:(.*?)@", text)
    assert len(secrets) >= 4
    assert all(re.search(r"\$\{\w+:\?", secret) for secret in secrets)
    with_defaults = {name for name, default in re.findall(r"\$\{(\w+):-([^}]*)", text) if default}
    images = {"PYTHON_IMAGE", "MONGO_IMAGE", "RABBITMQ_IMAGE", "REDIS_IMAGE", "CONSUL_IMAGE"}
    assert with_defaults == {*images, "IPAM_AUTH"}


def test_each_image_can_be_named_by_its_digest():
    for service in COMPOSE["services"].values():
        assert re.fullmatch(r"ipam|\$\{[A-Z]+_IMAGE:-[a-z/:.0-9]+\}", service["image"])
    assert all("PYTHON_IMAGE" in service["build"]["args"] for service in OURS.values())
    stages = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stages == ["${PYTHON_IMAGE}"] * 2


def test_container_has_no_capability_and_no_root_user():
    for service in COMPOSE["services"].values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service["cap_drop"] == ["ALL"]
    for service in OURS.values():
        assert service["read_only"]
    for name in set(COMPOSE["services"]) - set(OURS):
        assert COMPOSE["services"][name]["user"] not in ("root", "0")
    user = COMPOSE["configs"]["mongodb-user"]["content"]
    assert 'roles: ["readWrite"]' in user
    assert all(service["environment"]["IPAM_MONGO"].endswith("?authSource=ipam") for service in OURS.values())


def test_the_image_is_run_as_an_ordinary_user_by_a_command_that_exists():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    stages = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    assert len(stages) == 2
    last = lines[stages[-1] :]
    assert "USER ipam" in last
    assert is_valid(yaml.safe_load(last[-1].removeprefix("CMD ")))


def locked(file: str) -> dict[str, tuple[set[str], int]]:
    """The versions and the number of hashes of each package in a lock file."""
    found: dict[str, tuple[set[str], int]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / file).read_text()):
        if pinned := re.match(r"([\w.-]+)==(\S+)", entry):
            name, version = pinned.groups()
            versions, hashes = found.get(name, (set(), 0))
            found[name] = versions | {version}, hashes + entry.count("--hash=sha256:")
    return found


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("requirements/runtime.txt", ()),
        ("requirements/embedded.txt", ("embedded",)),
        ("requirements/dev.txt", ("embedded", "dev")),
    ],
)
def test_the_lock_files_hold_what_is_asked_for_at_allowed_versions_with_hashes(file: str, extras: tuple[str, ...]):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert declared["dependency-groups"]["build"] == declared["build-system"]["requires"]
    project = declared["project"]
    wanted = [*project["dependencies"], *declared["build-system"]["requires"]]
    wanted += [line for extra in extras for line in project["optional-dependencies"][extra]]
    versions = locked(file)
    for requirement in map(Requirement, wanted):
        found, hashes = versions[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version, prereleases=True) for version in found), requirement
        assert hashes
    tested = locked("requirements/dev.txt")
    assert all(tested[name] == entry for name, entry in versions.items()), "run `make lock`"


def test_what_is_not_ours_in_pages_is_what_was_fetched():
    lines = (ROOT / "requirements" / "vendored.sha256").read_text().splitlines()
    noted = {name: checksum for checksum, name in (line.split() for line in lines if not line.startswith("#"))}
    files = (ROOT / "ipam" / "api" / "pages" / "swagger-ui").iterdir()
    assert {str(file.relative_to(ROOT)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files} == noted
    version = re.search(r"^SWAGGER_UI \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert lines[0].startswith(f"# swagger-ui-dist {version},")


def test_installations_check_hashes():
    installs = re.findall(r"pip (install .*)", (ROOT / "Dockerfile").read_text())
    installs += re.findall(r"\$\(INSTALL\) (.*)", (ROOT / "Makefile").read_text())
    assert len(installs) == 7
    for arguments in installs:
        by_hash = "--require-hashes" in arguments
        itself = "--no-deps --no-build-isolation" in arguments
        assert by_hash or itself or ".[bench]" in arguments
