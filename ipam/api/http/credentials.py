"""The token and the address that a request comes with."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import falcon

from ipam.errors import Unauthorized
from ipam.models.token import Token

Networks = Sequence[IPv4Network | IPv6Network]


def presented_token(req: falcon.Request) -> str:
    """Return the token in `Authorization`: `Bearer` and the token, or `Basic` with the token as the password.

    Raises:
        Unauthorized: If there is none.
    """
    scheme, _, credentials = (req.auth or "").strip().partition(" ")
    match scheme.lower():
        case "bearer":
            token = credentials.strip()
        case "basic":
            token = _password(credentials.strip())
        case "":
            raise Unauthorized("A token is needed: send Authorization: Bearer ipam_...")
        case _:
            raise Unauthorized("Authorization: only Bearer and Basic are known; send Bearer and a token.")
    if not token:
        raise Unauthorized("Authorization: has no token; send Bearer and one, or Basic with it as password.")
    return token


def _password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]


def token_of(req: falcon.Request) -> Token | None:
    """Return the token that was found for *req*; None if none was asked for."""
    return getattr(req.context, "token", None)


def client_address(req: falcon.Request, trusted: Networks) -> str:
    """Return the address of the caller: of those in `X-Forwarded-For`, the last one that is no *trusted* proxy.

    The header is read only if the connection comes from a trusted proxy: any other caller could write anything.
    """
    address = _unmapped(req.remote_addr)
    forwarded = [part.strip() for part in (req.get_header("X-Forwarded-For") or "").split(",") if part.strip()]
    while forwarded and is_in(address, trusted):
        address = _unmapped(forwarded.pop())
    return address


def _unmapped(address: str) -> str:
    """Return an IPv4 *address* as such, though a socket of both families has it as an IPv6 one."""
    try:
        mapped = getattr(ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return address
    return str(mapped) if mapped else address


def is_in(address: str, networks: Networks) -> bool:
    """Return whether *address* is in one of *networks*; what is no address is in none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
