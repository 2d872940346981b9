"""How long a process stands still by itself."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery.signals import worker_process_init, worker_ready

from ipam.settings import Settings
from ipam.util.gc_tuning import freeze_gc
from ipam.workers.celery_app import run_worker


@pytest.fixture(autouse=True)
def _nothing_left_alone() -> Iterator[None]:
    """The tests themselves leave alone what they have imported."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_the_collector_goes_through_nothing_that_was_there_before():
    before = len(gc.get_objects())
    freeze_gc()
    assert len(gc.get_objects()) < before / 100


@pytest.mark.parametrize("is_ready", [worker_process_init, worker_ready])
def test_a_worker_and_each_of_its_processes_shorten_their_pauses_when_they_are_ready(is_ready):
    def work(_: object) -> None:
        assert not gc.get_freeze_count()
        is_ready.send(sender=None)
        assert gc.get_freeze_count()

    run_worker(SimpleNamespace(worker_main=work), Settings(), lambda: None)
