"""Retry loops: after a write conflict, and while a server is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
    wait_random_exponential,
)

from ipam.errors import Transient, WriteConflict

# A conditional write loses only to another that won, so waiting long is never needed; the random part keeps
# losers from meeting again. 10 s bounds a call under absurd contention, well inside a request's time.
_FIRST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.1
_GIVE_UP_AFTER_S = 10.0

T = TypeVar("T")


def retry_on_conflict(attempt: Callable[[], T]) -> T:
    """Call *attempt* until it does not raise `WriteConflict`; it must read afresh each time.

    Raises:
        WriteConflict: If it was still raised after 10 seconds; it is a `Transient`, so callers may send it again.
    """
    return Retrying(
        retry=retry_if_exception_type(WriteConflict),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
        stop=stop_after_delay(_GIVE_UP_AFTER_S),
        reraise=True,
    )(attempt)


# A server that starts takes seconds; asking more often than every ten only fills the log.
_LONGEST_OUTAGE_WAIT_S = 10.0


def retry_until_available(attempt: Callable[[], T], explain: Callable[[Transient, float], None]) -> T:
    """Call *attempt* until it does not raise `Transient`, for as long as it takes.

    Before each pause *explain* gets the error, and the pause's length in seconds: one second at first, at most ten.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, Transient):
            explain(error, state.upcoming_sleep)

    return Retrying(
        retry=retry_if_exception_type(Transient),
        wait=wait_exponential(multiplier=1, max=_LONGEST_OUTAGE_WAIT_S),
        before_sleep=before_sleep,
    )(attempt)
