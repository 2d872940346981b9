"""Questions that wait for their answers, whatever bus they go over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from ipam.hooks.config import Silence
from ipam.hooks.signing import Headers, Secret

CONNECT_TIMEOUT_S = 5.0
NO_CONSUMER = Silence("no consumer is there")
# A patch has 64 KiB of metadata at most, and some text.
_ANSWER_MAX_BYTES = 1024 * 1024
_TOO_LARGE = Silence("its answer has more than 1 MiB")
Answer = bytes | Silence


@dataclass(slots=True, eq=False)
class Question:
    """A question that goes out, and the answer that comes in.

    Attributes:
        body: The message.
        secret: Signs the question and its answer, if the hook has one.
        key: By which the answer is known.
        answer: The answer, when there is one.
        was_forged: Whether an answer came that the secret has not signed.
    """

    body: bytes
    secret: Secret | None
    key: str = field(default_factory=lambda: uuid4().hex)
    answer: Future[Answer] = field(default_factory=Future)
    was_forged: bool = False

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers of the message, if it is signed."""
        return self.secret.headers("question", self.key, self.body) if self.secret else None


class PendingAnswers:
    """The questions that wait for answers, by key."""

    def __init__(self) -> None:
        self._questions: dict[str, Question] = {}

    def expect(self, question: Question) -> None:
        """Accept an answer to *question* from now on."""
        self._questions[question.key] = question

    def resolve(self, key: str, answer: Answer, headers: Headers | None = None) -> None:
        """Give the question with *key* its answer; the first one counts, and only while the question waits.

        An answer that the secret has not signed is ignored, and the question waits on.
        """
        question = self._questions.get(key)
        if question is None:
            return
        secret = question.secret
        if secret and isinstance(answer, bytes) and not secret.has_signed("answer", key, answer, headers or {}):
            question.was_forged = True
        elif self._questions.pop(key, None) is not None:
            is_too_large = isinstance(answer, bytes) and len(answer) > _ANSWER_MAX_BYTES
            question.answer.set_result(_TOO_LARGE if is_too_large else answer)

    def collect(self, questions: Sequence[Question], timeout_s: float) -> list[Answer]:
        """Return the answer to each of *questions*, or `Silence` if none comes within *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        for question in questions:
            with suppress(TimeoutError):
                question.answer.result(max(0.0, deadline - time.monotonic()))
            forged = ", but one that the secret has not signed" if question.was_forged else ""
            self.resolve(question.key, Silence(f"no answer within {timeout_s:g} s{forged}"))
        return [question.answer.result() for question in questions]


class Session(Protocol):
    """A connection that questions go out by and answers come in by, until it breaks.

    Attributes:
        pending: The questions that wait for answers.
    """

    pending: PendingAnswers

    @property
    def is_alive(self) -> bool:
        """Whether answers are received."""

    def publish(self, subject: str, questions: Sequence[Question], timeout_s: float) -> None:
        """Send *questions*, each with its key and headers.

        Raises:
            OSError: If the bus does not take them.
        """

    def close(self) -> None:
        """Close the connection."""
