"""What is said to be atomic is tried from several processes."""

import subprocess
import sys

PROCESSES = 4


def in_processes(database: str, name: str, code: str) -> list[str]:
    """What *code* prints in each of several processes that run it at once, `stores` being open in it."""
    script = (
        "from bson import ObjectId\n"
        "from ipam.storage.connection import connect\n"
        "from ipam.storage.stores import Stores\n"
        f"stores = Stores(connect({database!r}, {name!r}, 30))\n{code}"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    outputs = [process.communicate(timeout=90)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    return [line for output in outputs for line in output.splitlines()]
