"""Tokens: who may do what over HTTP."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from bson import ObjectId

from ipam.models.document import Document
from ipam.models.fields import TEXTS, TIME, Access, Codec, Field, Stored, enumeration

_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 12
_SECRET_BYTES = 32
# The prefix lets scanners find tokens that were published by mistake.
_TOKEN = re.compile(rf"ipam_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z_-]{{43}})", re.ASCII)
_ID = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}", re.ASCII)


class Role(StrEnum):
    """What a token may do; each role may also do what those before it may."""

    VIEWER = "viewer"  # Read everything but tokens.
    ALLOCATOR = "allocator"  # Reserve and release addresses, describe reservations and leases, cancel own jobs.
    OPERATOR = "operator"  # Create, change and delete pools and subnets, cancel jobs.
    ADMIN = "admin"  # Create, change and delete tokens.

    def includes(self, other: Role) -> bool:
        """Return whether this role may do what *other* may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}


class TokenState(StrEnum):
    """A token is known while it is active; a deleted one stays for a while as a tombstone, for its event."""

    ACTIVE = "active"
    DELETED = "deleted"


def _public(id_: ObjectId) -> str:
    return id_.binary.decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Document):
    """A token; its `id`, 12 letters and digits, is also the part of its text that is no secret.

    Attributes:
        expires_at: From when on it is refused; None for never.
        allowed_from: CIDRs that its requests may come from; empty for any.
        disabled: Whether it is refused for now.
        created_by: The actor that created it.
        last_used_at: When it was used last, to the minute.
        digest: SHA-256 of its secret, which is random and of 256 bits, so that no salt is needed.
    """

    type_name: ClassVar[str] = "token"
    joined: ClassVar[tuple[str, ...]] = ("token",)
    tombstone: ClassVar[tuple[str, ...]] = ("state", "created_at", "updated_at", "revision", "outbox")

    id: Annotated[ObjectId, Field(Access.FIXED, Codec(to_json=_public), key="_id")]
    role: Annotated[Role, Field(Access.WRITABLE, enumeration(Role))]
    expires_at: Annotated[datetime | None, Field(Access.WRITABLE, TIME)] = None
    allowed_from: Annotated[tuple[str, ...], Field(Access.WRITABLE, TEXTS)] = ()
    disabled: Annotated[bool, Field(Access.WRITABLE)] = False
    created_by: Annotated[str | None, Field(Access.COMPUTED)] = None
    last_used_at: Annotated[datetime | None, Field(Access.COMPUTED, TIME, Stored.APART)] = None
    digest: Annotated[bytes, Field()]
    state: Annotated[TokenState, Field(codec=enumeration(TokenState))] = TokenState.ACTIVE

    @property
    def public_id(self) -> str:
        """The id, as paths and events have it."""
        return _public(self.id)

    @property
    def actor(self) -> str:
        """The name and the id, as the audit log has them."""
        return f"{self.name} ({self.public_id})"

    def is_actor(self, actor: str | None) -> bool:
        """Return whether *actor* is this token, whatever its name was at the time."""
        return actor is not None and actor.endswith(f" ({self.public_id})")


def issue(**fields: Any) -> tuple[Token, str]:
    """Return a new token with these *fields* of `Token`, and its text, which is not kept anywhere."""
    public = "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    token = Token(id=ObjectId(public.encode()), digest=digest_of(secret), **fields)
    return token, f"ipam_{public}_{secret}"


def split_token(text: str) -> tuple[ObjectId, bytes] | None:
    """Return the id and the digest of the secret in the *text* of a token; None if it is not of that form."""
    found = _TOKEN.fullmatch(text)
    return (ObjectId(found[1].encode()), digest_of(found[2])) if found else None


def token_id(text: str) -> ObjectId | None:
    """Return the id that *text* spells as paths have it; None if it spells none."""
    return ObjectId(text.encode()) if _ID.fullmatch(text) else None


def digest_of(secret: str) -> bytes:
    """Return what is stored of a *secret*."""
    return hashlib.sha256(secret.encode()).digest()
