"""A disk that is full: nothing that was answered is lost, and with room again everything goes on by itself."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_up import Up
from tests.support.servers import wait_until
from tests.support.stack import problem


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, in memory, of 300 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_full_disk_is_told_and_waited_for_and_nothing_answered_is_lost(small_disk: Path):
    up = Up(small_disk)
    api, filler = up.api, small_disk / "filler"
    path = f"/subnets/{api.subnet(cidr='10.0.0.0/16')['id']}/reservations"
    answered: list[str] = []

    def is_refused() -> bool:
        answer = api.post(path, {"metadata": "x" * 30_000}, headers={"Prefer": "wait=3"})
        if answer.status_code == 201:
            answered.append(answer.headers["Location"])
        assert answer.status_code in (201, 202, 503), answer.text
        return answer.status_code == 503 and "its disk is full" in answer.json()["detail"]

    with filler.open("wb") as disk, contextlib.suppress(OSError):
        while True:
            disk.write(bytes(1 << 16))
            disk.flush()
    wait_until(is_refused, 60, "the disk to be full")
    ready = api.get("/readyz")
    assert problem(ready) == (503, "unavailable")
    assert "its disk is full" in ready.json()["parts"]["database"]
    assert api.get("/status").json()["parts"]["database"]["status"] == "away"
    wait_until(lambda: "waits for 64 MiB of room" in up.text, 30, "that to be said")
    filler.unlink()
    wait_until(lambda: api.get("/readyz").status_code == 200, 60, "everything to go on")
    assert [one for one in answered if api.get(one).status_code != 200] == []
    assert len(answered) > 10
    assert api.post(path).status_code == 201
    assert up.end(signal.SIGINT) == 0
    assert "Traceback" not in up.text
    api.close()
