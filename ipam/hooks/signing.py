"""Signing what hooks are asked and what they answer, by a secret that ipam and the consumer share.

A signature is the HMAC-SHA256 (RFC 2104), in hexadecimal digits, of `question.ID.` or `answer.ID.` and the body as
it is on the bus. The id is made for this one question: an answer is good for no other, and a question is no answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ipam.errors import InvalidSettings

# The headers of a message, on RabbitMQ and on NATS.
ID_HEADER = "Ipam-Question"
SIGNATURE_HEADER = "Ipam-Signature"
# Half of what `openssl rand -hex 16` prints.
_LEAST_BYTES = 16
Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by which messages are signed."""

    value: bytes

    @classmethod
    def read(cls, file: Path, setting: str) -> Secret:
        """Return the secret in *file*, which *setting* has named; white space around it is none of it.

        Raises:
            InvalidSettings: If there is none, or a short one.
        """
        try:
            value = file.read_bytes().strip()
        except OSError as error:
            raise InvalidSettings(f"{setting}={file}: {error.strerror}") from None
        if len(value) < _LEAST_BYTES:
            message = f"{setting}={file}: holds {len(value)} bytes, and at least {_LEAST_BYTES} are needed"
            raise InvalidSettings(f"{message}; `openssl rand -hex 32` makes a secret")
        return cls(value)

    def headers(self, kind: Literal["question", "answer"], id_: str, body: bytes) -> dict[str, str]:
        """Return the headers by which a question or an answer goes out."""
        return {ID_HEADER: id_, SIGNATURE_HEADER: self._signature(kind, id_, body)}

    def has_signed(self, kind: Literal["question", "answer"], id_: str, body: bytes, headers: Headers) -> bool:
        """Return whether *headers* have the signature of the question or answer *body* to *id_*."""
        given = str(headers.get(SIGNATURE_HEADER, ""))
        return hmac.compare_digest(given.encode(), self._signature(kind, id_, body).encode())

    def _signature(self, kind: str, id_: str, body: bytes) -> str:
        return hmac.digest(self.value, f"{kind}.{id_}.".encode() + body, "sha256").hex()
