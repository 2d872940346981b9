"""Settings and the command line."""

import subprocess
import sys

import pytest

from ipam.errors import InvalidSettings
from ipam.settings import Settings


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_default():
    environment = {"IPAM_PORT": "9000", "IPAM_HOST": "0.0.0.0"}  # noqa: S104
    settings = Settings.read({"port": "9001"}, environment)
    assert (settings.port, settings.host, settings.threads) == (9001, "0.0.0.0", 96)  # noqa: S104


def test_all_faults_are_told_at_once_each_with_where_it_came_from():
    with pytest.raises(InvalidSettings) as caught:
        Settings.read({"port": "many"}, {"IPAM_BROKER": "http://x", "IPAM_THREADS": "0"})
    lines = caught.value.detail.splitlines()
    assert len(lines) == 3
    assert any(line.startswith("--port='many'") for line in lines)
    assert any(line.startswith("IPAM_BROKER='http://x': must start with one of redis://") for line in lines)


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
    ended = subprocess.run(
        [sys.executable, "-m", "ipam", command, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "IPAM_" in ended.stdout
