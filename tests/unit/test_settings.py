"""Settings and the command line."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from ipam.cli.main import cli
from ipam.errors import InvalidSettings
from ipam.settings import Settings
from ipam.util.urls import without_password


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_default():
    environment = {"IPAM_PORT": "9000", "IPAM_HOST": "0.0.0.0"}  # noqa: S104
    settings = Settings.read({"port": "9001"}, environment)
    assert (settings.port, settings.host, settings.threads) == (9001, "0.0.0.0", 128)  # noqa: S104


def test_settings_tell_all_faults_at_once_each_with_its_source():
    with pytest.raises(InvalidSettings) as caught:
        Settings.read({"port": "many"}, {"IPAM_BROKER": "http://x", "IPAM_THREADS": "0"})
    lines = caught.value.detail.splitlines()
    assert len(lines) == 3
    assert any(line.startswith("--port='many'") for line in lines)
    assert any(line.startswith("IPAM_BROKER='http://x': must start with one of redis://") for line in lines)


def test_a_secret_may_stand_in_a_file(tmp_path):
    (tmp_path / "mongo").write_text("mongodb://me:secret@there/\n")
    name = str(tmp_path / "mongo")
    assert Settings.read({}, {"IPAM_MONGO_FILE": name}).mongo == "mongodb://me:secret@there/"
    assert Settings.read({"mongo_file": name}, {"IPAM_MONGO": "here"}).mongo == "mongodb://me:secret@there/"
    assert Settings.read({"mongo": "here"}, {"IPAM_MONGO_FILE": name}).mongo == "here"


def test_settings_file_fault_is_told_without_its_content(tmp_path):
    (tmp_path / "broker").write_text("http://me:secret@there")
    (tmp_path / "empty").write_text("\n")
    for flags, environment, fault in (
        ({"broker_file": str(tmp_path / "broker")}, {}, "--broker-file='http://***@there': must start with"),
        ({"broker_file": str(tmp_path / "empty")}, {}, "the file is empty"),
        ({"broker_file": str(tmp_path / "none")}, {}, "No such file"),
        ({}, {"IPAM_BUS": "redis://x", "IPAM_BUS_FILE": "y"}, "IPAM_BUS is given as well"),
    ):
        with pytest.raises(InvalidSettings) as caught:
            Settings.read(flags, environment)
        assert fault in caught.value.detail
        assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "address",
    [
        ("consul", "there:here"),
        ("consul", "https://there:99999"),
        ("broker", "redis://there:here/0"),
        ("broker", "amqp://there:5672//;amqp://there:0//"),
        ("bus", "nats://there:4222,nats://there:here"),
    ],
)
def test_a_port_that_cannot_be_one_is_told_at_the_start(address):
    with pytest.raises(InvalidSettings, match="must be a number from 1 to 65535"):
        Settings.read(dict([address]), {})


@pytest.mark.parametrize(
    "address",
    [
        ("consul", "there"),
        ("consul", "http://[::1]:8500"),
        ("broker", "amqp://me:se,c;ret@one:5672//;amqp://two//"),
        ("bus", "nats://one:4222,two:4222"),
    ],
)
def test_addresses_of_one_or_several_servers_are_taken(address):
    assert Settings.read(dict([address]), {})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("amqp://me:secret@there:5672//", "amqp://***@there:5672//"),
        ("amqp://me:sec/ret@there", "amqp://***@there"),
        ("amqp://me:sec@ret@there", "amqp://***@there"),
        ("me:secret@there", "***@there"),
        ("nats://secret@there", "nats://***@there"),
        ("redis://there/0?password=secret&ssl_keyfile=x", "redis://there/0?password=***&ssl_keyfile=***"),
        ("a:1,b:2", "a:1,b:2"),
    ],
)
def test_no_secret_is_shown_whatever_the_scheme(value, shown):
    assert without_password(value) == shown


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("127.0.0.9", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104
        ("192.0.2.1", True),
        ("example.net", True),
    ],
)
def test_strangers_are_let_in_only_by_those_who_say_so(host, refused):
    if refused:
        with pytest.raises(InvalidSettings, match="--insecure"):
            Settings(host=host).refuse_open("host")
    else:
        Settings(host=host).refuse_open("host")
    Settings(host=host, insecure=True).refuse_open("host")


@pytest.mark.parametrize(
    "arguments", [["--broker", "http://me:secret@x"], ["--mongo", "mongodb://me:secret@[x/?w=1"]]
)
def test_a_fault_does_not_show_a_password(arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "ipam", "serve", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "secret" not in ended.stderr
    assert ended.stderr.startswith(f"ipam: {arguments[0]}")


@pytest.mark.parametrize("arguments", [["--port", "many"], ["--mongo", "mongodb://"], ["--mongo", "a:b:c"]])
def test_a_command_that_cannot_start_says_why_in_lines_and_not_in_a_traceback(arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "ipam", "serve", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("ipam: --")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["serve", "worker", "beat", "relay", "flower", "init-db", "up"])
def test_every_command_has_help(command):
    ended = CliRunner().invoke(cli, [command, "--help"])
    assert (ended.exit_code, "IPAM_" in ended.output) == (0, True)
