"""The folder of `ipam up` is its owner's."""

import os
from pathlib import Path

import pytest

from ipam.embedded.access import private_folder
from ipam.errors import InvalidSettings


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_others_could_read_they_cannot_any_more(tmp_path):
    (tmp_path / "data" / "database").mkdir(parents=True)
    old, outside = tmp_path / "data" / "database" / "file", tmp_path / "outside"
    old.touch()
    outside.touch()
    foreign = tmp_path / "data" / "of-somebody-who-shares-it"
    foreign.touch()
    (tmp_path / "data" / "link").symlink_to(outside)
    private_folder(tmp_path / "data")
    new = tmp_path / "data" / "new"
    new.touch()
    assert [mode(path) for path in (tmp_path / "data", old.parent, old, new)] == [0o700, 0o700, 0o600, 0o600]
    assert (mode(outside), mode(foreign)) == (0o644, 0o644)


def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InvalidSettings, match="belongs to another user"):
        private_folder(tmp_path)
    assert mode(tmp_path) == 0o700  # As it was.


def test_what_cannot_be_a_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="cannot be used"):
        private_folder(tmp_path / "file" / "data")
