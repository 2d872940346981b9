"""Conditional requests (RFC 9110, 13): entity tags, If-Match, If-None-Match."""

from __future__ import annotations

import hashlib

import falcon

from ipam.errors import InvalidParameter, Stale

_REVISION_DIGITS = 18


def entity_tag(revision: int, body: bytes) -> falcon.ETag:
    """Return a strong tag: the revision guards writes, the digest tells apart any two bodies.

    The digest is there because a body also shows what is not written by users, such as `used`.
    """
    return falcon.ETag(f"{revision}-{hashlib.blake2b(body, digest_size=8).hexdigest()}")


def accepted_revisions(req: falcon.Request) -> frozenset[int] | None:
    """Return the revisions that `If-Match` lets the request overwrite, None when it lets any.

    Raises:
        Stale: If it carries only tags that no document of ours can have.
        InvalidParameter: If it carries no tag.
    """
    if req.get_header("If-Match") is None:
        return None
    tags = req.if_match
    if not tags:
        raise InvalidParameter('If-Match: must be * or an ETag in double quotes, such as "1-0a1b2c3d4e5f6071".')
    if "*" in tags:
        return None
    revisions = {_revision(tag) for tag in tags if isinstance(tag, falcon.ETag) and not tag.is_weak}
    known = frozenset(revision for revision in revisions if revision is not None)
    if all(isinstance(tag, falcon.ETag) and tag.is_weak for tag in tags):
        raise Stale("If-Match: a weak ETag (W/) never matches there; send the ETag without it, as it was answered.")
    if not known:
        raise Stale("If-Match carries no ETag that this document could have; read it again.")
    return known


def _revision(tag: str) -> int | None:
    number = tag.partition("-")[0]
    # A longer one is none of ours, nor a number that the database can be asked for.
    return int(number) if number.isascii() and number.isdigit() and len(number) <= _REVISION_DIGITS else None


def is_unchanged(req: falcon.Request, tag: falcon.ETag) -> bool:
    """Return whether `If-None-Match` says that the caller has this very body."""
    known = req.if_none_match or []
    return "*" in known or tag in known
