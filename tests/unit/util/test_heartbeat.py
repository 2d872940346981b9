"""Whether a process without a port is at work."""

import os
import time

import pytest

from ipam.util.heartbeat import Heartbeat


def test_a_heartbeat_is_as_old_as_its_last_beat(tmp_path, monkeypatch):
    heart, other = Heartbeat("relay", "ipam", tmp_path), Heartbeat("beat", "ipam", tmp_path)
    assert heart.age_s() is None
    heart.beat()
    assert 0 <= heart.age_s() < 60
    assert other.age_s() is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 500)
    assert heart.age_s() == pytest.approx(500, abs=1)
    heart.beat()
    assert heart.age_s() < 1


def test_a_heartbeat_of_before_the_machine_was_started_is_none(tmp_path, monkeypatch):
    heart = Heartbeat("relay", "ipam", tmp_path)
    heart.beat()
    monkeypatch.setattr(time, "monotonic", lambda: 0.5)
    assert heart.age_s() is None


def test_a_heartbeat_neither_follows_a_link_nor_stops_a_process(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("kept")
    heart = Heartbeat("relay", "ipam", tmp_path)
    (tmp_path / f"ipam-relay-ipam-{os.geteuid()}.heartbeat").symlink_to(secret)
    heart.beat()
    assert secret.read_text() == "kept"
    assert heart.age_s() is None
    Heartbeat("relay", "ipam", tmp_path / "nowhere").beat()


def test_heartbeat_file_with_other_content_has_no_age(tmp_path):
    heart = Heartbeat("relay", "ipam", tmp_path)
    (tmp_path / f"ipam-relay-ipam-{os.geteuid()}.heartbeat").write_text("soon")
    assert heart.age_s() is None
