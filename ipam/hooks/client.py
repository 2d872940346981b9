"""Asking the consumers of hooks on the bus."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ipam.errors import InvalidSettings
from ipam.hooks.config import Hook, Silence
from ipam.hooks.nats import NatsSession
from ipam.hooks.rabbitmq import RabbitMqSession
from ipam.hooks.session import Answer, Question, Session
from ipam.hooks.signing import Secret
from ipam.util.nats_connection import is_nats
from ipam.util.urls import without_password


class HookClient(Protocol):
    """Carries questions to the consumers of a hook, and their answers back."""

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[Answer]:
        """Ask all *questions* at once; return the answer to each within about the hook's timeout.

        Whatever the bus or a consumer does wrong is `Silence`, and nothing is raised for it.
        """


class FailoverHookClient:
    """Asks on a bus whose endpoint may change, or is not known yet.

    Args:
        source: The setting, file or service that says where the bus is.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._client: BusHookClient | None = None

    def move(self, url: str) -> None:
        """Ask at *url* from the next question on; any thread may call this."""
        former, self._client = self._client, BusHookClient(url)
        if former is not None:
            former.close()

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[Answer]:
        """Ask as `HookClient` describes."""
        client = self._client
        if client is None:
            return [Silence(f"it is not known yet where the bus is: {self._source}") for _ in questions]
        return client.ask(hook, questions)


class BusHookClient:
    """Asks on the bus at *url*, by one session and by a new one when that is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._session: Session | None = None

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[Answer]:
        """Ask as `HookClient` describes."""
        try:
            secret = Secret.read(hook.secret_file, "secret_file") if hook.secret_file else None
        except InvalidSettings as error:
            return [Silence(str(error)) for _ in questions]
        asked = [Question(body, secret) for body in questions]
        # One thread at a time publishes; they wait for answers side by side.
        if not self._lock.acquire(timeout=hook.timeout_s):
            return [self._away("it takes too long") for _ in questions]
        try:
            session = self._publish(hook, asked)
        except OSError as error:
            return [self._away(str(error)) for _ in questions]
        finally:
            self._lock.release()
        return session.pending.collect(asked, hook.timeout_s)

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()

    def _publish(self, hook: Hook, questions: Sequence[Question]) -> Session:
        if self._session is not None and self._session.is_alive:
            with suppress(OSError):
                return _publish_by(self._session, hook, questions)
        self.close()
        self._session = None
        self._session = NatsSession(self._url) if is_nats(self._url) else RabbitMqSession(self._url)
        return _publish_by(self._session, hook, questions)

    def _away(self, why: str) -> Silence:
        return Silence(f"the bus at {without_password(self._url)} is out of reach ({why})")


def _publish_by(session: Session, hook: Hook, questions: Sequence[Question]) -> Session:
    for question in questions:
        session.pending.expect(question)
    session.publish(hook.subject, questions, hook.timeout_s)
    return session
