"""Waiting for what comes next in the log; without a server, for logic only."""

import threading

import pytest

from ipam.events.log_reader import EventFilter, LogReader
from ipam.models.audit_context import AuditContext
from ipam.models.event import Event
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now


def write(stores: Stores, *types: str) -> None:
    """Put an event of each of *types* into the log."""
    last = stores.log.last()
    events = [
        Event(
            id=f"{last}-{n}",
            type=type_,
            paths=("/p",),
            revision=1,
            time=utc_now(),
            audit_context=AuditContext(),
            data="{}",
        )
        for n, type_ in enumerate(types)
    ]
    stores.log.append(last, events)


def patient() -> bool:
    return False


@pytest.fixture
def following(stores: Stores) -> LogReader:
    return LogReader(stores.log, places=1, source="/ipam")


def sequences(page) -> list[int]:
    return [entry.sequence for entry in page.entries]


def test_a_page_says_how_far_it_came(stores, following):
    write(stores, "a", "b", "a", "b", "a")
    page = following.page(EventFilter(type="a", limit=2))
    assert (sequences(page), page.after, page.ended) == ([1, 3], 3, False)
    page = following.page(EventFilter(type="a", limit=2, after=page.after))
    assert (sequences(page), page.after, page.ended) == ([5], 5, True)


def test_a_page_looks_at_so_many_events_and_no_more(stores, following, monkeypatch):
    monkeypatch.setattr("ipam.events.log_reader._LOOKED_AT", 3)
    write(stores, *"aaaab")
    page = following.page(EventFilter(type="b", limit=10))
    assert (sequences(page), page.after, page.ended) == ([], 3, False)
    assert sequences(following.page(EventFilter(type="b", limit=10, after=page.after))) == [5]


def test_a_page_of_large_events_ends_before_it_is_full(stores, following, monkeypatch):
    monkeypatch.setattr("ipam.events.log_reader.PAGE_MAX_BYTES", 5)
    write(stores, *"aabaa")  # Each has two characters of data.
    page = following.page(EventFilter(type="a", limit=10))
    assert (sequences(page), page.after, page.ended) == ([1, 2], 3, False)
    page = following.page(EventFilter(type="a", limit=10, after=page.after))
    assert (sequences(page), page.after, page.ended) == ([4, 5], 5, True)


def test_log_reader_that_waits_gets_what_comes(stores, following):
    write(stores, "a")
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(following.wait(EventFilter(type="b", limit=10), 30, patient))
    )
    waiting.start()
    write(stores, "a")
    write(stores, "b")
    waiting.join(20)
    assert [sequences(page) for page in found] == [[3]]


def test_log_reader_that_waits_in_vain_learns_how_far_it_came(stores, following):
    write(stores, "a", "a")
    page = following.wait(EventFilter(type="b", limit=10), 0.2, patient)
    assert (sequences(page), page.after, page.ended) == ([], 2, True)


def test_log_reader_gives_up_with_its_caller(stores, following):
    write(stores, "a")
    given_up = iter([False, False, True, True])
    page = following.wait(EventFilter(type="b", limit=10), 3600, lambda: next(given_up))
    assert (sequences(page), page.after) == ([], 1)


def test_log_reader_has_places_to_wait_and_each_is_given_back(stores, following):
    waiting = threading.Thread(target=lambda: following.wait(EventFilter(type="b", limit=10), 30, patient))
    waiting.start()
    while following.wait(EventFilter(type="a", limit=10), 0, patient) is not None:
        pass
    write(stores, "b")
    waiting.join(20)
    assert following.wait(EventFilter(type="b", limit=10), 0, patient) is not None
