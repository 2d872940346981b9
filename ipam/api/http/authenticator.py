"""Finding out whose token a request has."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from bson import ObjectId

from ipam.api.http.coalesced_reader import coalesce_by_id
from ipam.api.http.credentials import is_in
from ipam.errors import Forbidden, TooManyAttempts, Transient, Unauthorized
from ipam.models.token import Token, digest_of, split_token
from ipam.storage.tokens import TokenStore
from ipam.util.clock import utc_now
from ipam.util.log_limit import LogLimit

log = logging.getLogger(__name__)

# How long a token that was read is believed, and so how long one goes on working that was revoked.
BELIEVED_S = 5.0
# Tokens, and addresses that have failed, that a process remembers.
_REMEMBERED = 10_000
# So many different wrong tokens an address may send in so many seconds. One that is sent again and again guesses
# nothing: it is that of a client that has missed a change.
_FAILURES_MAX = 10
_FAILURES_WITHIN_S = 60.0
_NO_DIGEST = bytes(32)
# Callers of IPv6 have a network of this length each.
_IPV6_NETWORK = 64


@dataclass(frozen=True, slots=True)
class _Read:
    token: Token
    at_s: float


class Authenticator:
    """Knows the tokens that were used of late, and the addresses that have sent wrong ones; for all threads."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens
        self._find = coalesce_by_id(tokens.get_many)
        self._lock = threading.Lock()
        self._read: OrderedDict[bytes, _Read] = OrderedDict()
        self._failures: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        self._log_limit = LogLimit(_FAILURES_WITHIN_S)

    def authenticate(self, text: str, address: str) -> Token:
        """Return the token with this *text*, which a caller at *address* has sent.

        Raises:
            Unauthorized: If there is no such token, or it is disabled or has expired.
            Forbidden: If it may not be used from there.
            TooManyAttempts: If the address has sent wrong tokens too often; a token that was right before still is.
            Transient: If the database does not answer.
        """
        split = split_token(text)
        if split is None:
            wrong = digest_of(text)
            self._check_failures(address, wrong)
            raise self._failed(address, wrong, "what it sent has not the form of a token")
        id_, digest = split
        token = self._known(digest, address) or self._look_up(id_, digest, address)
        if token.disabled:
            raise Unauthorized(f"The token {token.public_id} is disabled.")
        if token.expires_at is not None and token.expires_at <= utc_now():
            raise Unauthorized(f"The token {token.public_id} has expired.")
        if token.allowed_from and not is_in(address, [ip_network(cidr) for cidr in token.allowed_from]):
            raise Forbidden(f"The token {token.public_id} may not be used from {address}.")
        return token

    def _known(self, digest: bytes, address: str) -> Token | None:
        """Return the token with this *digest*, if it was read just now.

        One that was right once is looked up again whatever its address has done; of any other the failures count.
        """
        with self._lock:
            known = self._read.get(digest)
        if known is None:
            self._check_failures(address, digest)
            return None
        return known.token if time.monotonic() - known.at_s < BELIEVED_S else None

    def _look_up(self, id_: ObjectId, digest: bytes, address: str) -> Token:
        now_s = time.monotonic()
        token = self._find(id_)
        # The work is the same whether there is such a token or not.
        is_right = hmac.compare_digest(token.digest if token else _NO_DIGEST, digest)
        if token is None or not is_right:
            with self._lock:
                self._read.pop(digest, None)
            raise self._failed(address, digest, f"there is no token {id_.binary.decode()} with that secret")
        with self._lock:
            self._read[digest] = _Read(token, now_s)
            self._read.move_to_end(digest)
            while len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        try:
            self._tokens.mark_used(token)
        except Transient as error:
            log.warning("when the token %s was used last cannot be kept: %s", token.public_id, error.detail)
        return token

    def _check_failures(self, address: str, digest: bytes) -> None:
        """Refuse an *address* that has sent too many wrong tokens, and a token that was wrong just now.

        Raises:
            Unauthorized: If the token with this *digest* was wrong just now: it need not be looked for again.
            TooManyAttempts: If the address has sent too many others.
        """
        now_s = time.monotonic()
        with self._lock:
            failures = dict(self._failures.get(_origin(address), {}))
        if now_s - failures.get(digest, -BELIEVED_S) < BELIEVED_S:
            raise _unknown()
        recent = sorted(
            at_s for wrong, at_s in failures.items() if wrong != digest and at_s > now_s - _FAILURES_WITHIN_S
        )
        if len(recent) >= _FAILURES_MAX:
            wait_s = int(recent[-_FAILURES_MAX] + _FAILURES_WITHIN_S - now_s) + 1
            message = f"Too many wrong tokens came from {address}; try again in {wait_s} s."
            raise TooManyAttempts(message, retry_after=wait_s)

    def _failed(self, address: str, digest: bytes, why: str) -> Unauthorized:
        """Remember that *address* has sent a wrong token with this *digest*, and return what to raise."""
        origin, now_s = _origin(address), time.monotonic()
        with self._lock:
            failures = self._failures.setdefault(origin, {})
            failures.pop(digest, None)
            failures[digest] = now_s
            while len(failures) > _FAILURES_MAX:
                del failures[next(iter(failures))]  # The oldest.
            self._failures.move_to_end(origin)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)
            is_last = len(failures) == _FAILURES_MAX and min(failures.values()) > now_s - _FAILURES_WITHIN_S
        if self._log_limit.allows(f"{origin} {'out' if is_last else 'in'}"):
            log.warning("refused %s: %s%s", address, why, "; it is kept out for a minute" if is_last else "")
        return _unknown()


def _unknown() -> Unauthorized:
    return Unauthorized("There is no such token.")


def _origin(address: str) -> str:
    """Return what failures are counted by: the address, of IPv6 its network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((parsed, _IPV6_NETWORK), strict=False))  # noqa: PLR2004
