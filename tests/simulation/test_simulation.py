"""Histories of fixed seeds, each a way in which processes may die, sleep, fail and get into each other's way."""

import inspect
import logging
import multiprocessing
import os
import subprocess
import sys

import pytest

from tests.simulation.history import run
from tests.simulation.mistakes import MISTAKES, made
from tests.simulation.seeds import SEEDS


def test_nothing_is_doubled_lost_leaked_or_stuck():
    """On all cores, for it is the one long test that leaves them idle."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), initializer=logging.disable) as processes:
        for outcome in processes.imap(run, SEEDS, chunksize=8):
            assert outcome.faults == (), f"seed {outcome.seed}:\n{outcome.story}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.says)
def test_each_mistake_can_be_made_in_the_code_as_it_is(mistake):
    """Whether it is seen is looked at by a command of its own, which takes long."""
    before = inspect.getattr_static(mistake.owner, mistake.name)
    with made(mistake):
        assert inspect.getattr_static(mistake.owner, mistake.name) is not before


def test_a_seed_is_one_story_in_whatever_process_it_is_told():
    program = "from tests.simulation.history import History; one = History(3); print(one.run(), one.story)"
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1
    assert len(told.pop().splitlines()) > 100
