"""Where parts are, when a file says so."""

import logging

import pytest

from ipam.discovery import endpoints
from ipam.discovery.endpoints import FileEndpoint, StaticEndpoint
from ipam.settings import Settings
from ipam.wiring import broker_endpoint, bus_endpoint, mongo_endpoint
from tests.support.servers import replace, wait_until


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(endpoints, "_READ_EVERY_S", 0.01)


def test_a_file_is_read_again_and_one_that_cannot_be_used_is_told_once(tmp_path, caplog):
    file, heard = tmp_path / "broker", []
    file.write_text("redis://:first@there/0\n")
    settings = Settings.read({}, {"IPAM_BROKER_FILE": str(file)})
    endpoint = broker_endpoint(settings)
    assert endpoint.find() == "redis://:first@there/0"
    endpoint.follow(heard.append)
    replace(file, "http://:wrong@there/0\n")
    wait_until(lambda: len(caplog.records) == 1, 10, "the fault to be told")
    replace(file, "redis://:second@there/0\n")
    wait_until(lambda: heard == ["redis://:second@there/0"], 10, "the file to be read again")
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told.startswith(f"--broker-file='{file}': must start with one of")
    assert "what was there before stays in use" in told
    assert not any(secret in caplog.text for secret in ("first", "second", "wrong"))


def test_endpoint_that_was_not_found_yet_is_told_at_once(tmp_path):
    heard = []
    FileEndpoint(lambda: "here", "--bus-file").follow(heard.append)
    wait_until(lambda: heard == ["here"], 10, "the place")


def test_a_flag_wins_over_a_file_that_a_variable_names(tmp_path):
    file = tmp_path / "secret"
    file.write_text("redis://there")
    settings = Settings.read({"broker": "redis://here", "bus_file": str(file)}, {"IPAM_BROKER_FILE": str(file)})
    assert broker_endpoint(settings) == StaticEndpoint("redis://here", "--broker")
    assert isinstance(bus_endpoint(settings), FileEndpoint)
    assert mongo_endpoint(settings) == StaticEndpoint("127.0.0.1:27017", "--mongo")
