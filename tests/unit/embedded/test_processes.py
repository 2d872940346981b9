"""Which database `ipam up` starts."""

from pathlib import Path

import pytest

from ipam.embedded.processes import database_part
from ipam.errors import InvalidSettings


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with SecantusDB in it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    install(folder, "secantusd-py")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def install(programs: Path, name: str) -> Path:
    program = programs / name
    program.touch(0o755)
    return program


def test_mongod_is_taken_where_there_is_one(programs, data):
    mongod = install(programs, "mongod")
    open_, closed = database_part(data, auth=False), database_part(data, auth=True)
    assert (closed.command[0], closed.program) == (str(mongod), str(mongod))
    files = Path(closed.command[closed.command.index("--dbpath") + 1])
    assert files.is_dir()
    assert files.parent == data
    assert closed.command[closed.command.index("--bind_ip") + 1] == "127.0.0.1"
    assert closed.command[closed.command.index("--port") + 1] == str(closed.port)
    assert ("--auth" in open_.command, "--auth" in closed.command) == (False, True)


def test_embedded_database_without_mongod_is_secantusdb(programs, data):
    part = database_part(data, auth=True)
    assert (part.command[0], part.program) == (str(programs / "secantusd-py"), "SecantusDB")


def test_data_folder_of_one_database_is_not_given_to_the_other(programs, data):
    written = database_part(data, auth=True).command
    Path(written[written.index("--storage-path") + 1]).mkdir()
    mongod = install(programs, "mongod")
    assert database_part(data, auth=True).program == "SecantusDB"

    other = data / "other"
    other.mkdir()
    assert database_part(other, auth=True).program == str(mongod)
    mongod.unlink()
    with pytest.raises(InvalidSettings, match="was written by mongod, which is not on PATH"):
        database_part(other, auth=True)


def test_embedded_database_with_neither_says_what_to_install(programs, data):
    (programs / "secantusd-py").unlink()
    with pytest.raises(InvalidSettings, match="pip install"):
        database_part(data, auth=True)
