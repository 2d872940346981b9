"""The folder of `ipam up` is its owner's."""

import os
from pathlib import Path

import pytest

from ipam.embedded.data_dir import private_folder, write_secret
from ipam.errors import InvalidSettings


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_data_folder_that_others_could_read_is_closed(tmp_path):
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


def test_data_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="cannot be used"):
        private_folder(tmp_path / "file" / "data")


def test_a_folder_that_others_can_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o770)
    with pytest.raises(InvalidSettings, match="other users can write to"):
        private_folder(tmp_path)
    assert mode(tmp_path) == 0o770


@pytest.mark.parametrize(
    "name", ["database.password", "redis.conf", "ipam.log.1", "lock", "database", "database/WiredTiger"]
)
def test_a_link_where_ipam_would_write_is_refused(tmp_path, name):
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / name).parent.mkdir(parents=True)
    (data / name).symlink_to(outside)
    with pytest.raises(InvalidSettings, match=f"{name} is a link"):
        private_folder(data)
    assert not outside.exists()


def test_a_secret_is_its_owners_from_the_beginning_and_takes_the_place_of_a_link(tmp_path):
    outside, secret = tmp_path / "outside", tmp_path / "secret"
    outside.write_text("of somebody")
    secret.symlink_to(outside)
    for text in ("first", "second"):
        write_secret(secret, text)
        assert (secret.read_text(), mode(secret), secret.is_symlink()) == (text, 0o600, False)
    assert outside.read_text() == "of somebody"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "secret"]
