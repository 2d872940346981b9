"""Who may use the embedded servers: whoever can read the data folder, and nobody else on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from ipam.errors import InvalidSettings

# Folders with the files of either database.
MONGODB = "mongodb"
SECANTUSDB = "database"
_OTHERS = 0o077


def private_folder(path: Path) -> None:
    """Make the folder *path*, or take one that is there, for its owner only; all that is made from now on is, too.

    Raises:
        InvalidSettings: If it is somebody else's, or cannot be made.
    """
    os.umask(_OTHERS)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise InvalidSettings(f"--data: {path} belongs to another user; choose a folder of your own")
        path.chmod(0o700)
        # Of a version that let others read them; and nothing else, for the folder may hold what is not ipam's.
        for inside in (path / SECANTUSDB, *(path / SECANTUSDB).rglob("*")):
            if inside.exists() and not inside.is_symlink():
                inside.chmod(inside.stat().st_mode & ~_OTHERS)
    except OSError as error:
        raise InvalidSettings(f"--data: {path} cannot be used ({error.strerror}); choose another") from None
