"""The data folder of `ipam up`: only its owner can read it, and so use the embedded servers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ipam.errors import InvalidSettings

# Folders with the files of either database.
MONGODB = "mongodb"
SECANTUSDB = "database"
_OTHERS, _WRITABLE_BY_OTHERS = 0o077, 0o022


def private_folder(path: Path) -> None:
    """Make the folder *path*, or take one that is there, for its owner only; all that is made from now on is, too.

    Raises:
        InvalidSettings: If it is another user's, or others can put something into it, or a link stands where ipam
            would write; or if it cannot be made.
    """
    os.umask(_OTHERS)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise InvalidSettings(f"--data: {path} belongs to another user; choose a folder of your own")
        if path.stat().st_mode & _WRITABLE_BY_OTHERS:
            raise InvalidSettings(
                f"--data: other users can write to {path}; see that nothing there is theirs, then say `chmod go-w` "
                "to it, or choose another"
            )
        path.chmod(0o700)
        if links := sorted(str(inside) for inside in _own(path) if inside.is_symlink()):
            raise InvalidSettings(f"--data: {links[0]} is a link, and ipam would write through it; remove it")
        # Of a version that let others read them; and nothing else, for the folder may hold what is not ipam's.
        for inside in (path / SECANTUSDB, *(path / SECANTUSDB).rglob("*")):
            if inside.exists():
                inside.chmod(inside.stat().st_mode & ~_OTHERS)
    except OSError as error:
        raise InvalidSettings(f"--data: {path} cannot be used ({error.strerror}); choose another") from None


def write_secret(path: Path, text: str) -> None:
    """Write *text* to the file *path* atomically; only the owner can read it at any moment."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(number)
    new.replace(path)


def _own(folder: Path) -> Iterator[Path]:
    """Yield what ipam, the databases and Redis write to in *folder*; it may hold what is not theirs."""
    yield from (
        folder / name for name in (MONGODB, SECANTUSDB, "lock", "redis.conf", "database.password", "admin.token")
    )
    yield from folder.glob("ipam.log*")
    for database in (MONGODB, SECANTUSDB):
        yield from (folder / database).rglob("*")
