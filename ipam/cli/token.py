"""`ipam token`: tokens, by way of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import click

from ipam.cli.options import DATABASE, with_settings
from ipam.errors import Rejected
from ipam.models.audit_context import AuditContext, use_audit_context
from ipam.models.cidr import parse_allowed_from
from ipam.models.description import NAME_MAX
from ipam.models.token import Role, issue
from ipam.settings import Settings
from ipam.storage.query import Query
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.util.printable import printable
from ipam.util.rfc3339 import format_time
from ipam.wiring import open_stores

_ACTOR = "ipam token"


@click.group()
def token() -> None:
    """Create, list and delete tokens of the HTTP API, in the database itself.

    For the first token, and for when no other works; the API does the same under /tokens.
    """


@token.command("create")
@click.option("--name", metavar="NAME", required=True, help="What the audit log calls its owner.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.VIEWER.value, show_default=True
)
@click.option("--expires-in-days", type=click.IntRange(1, 36500), help="For ever if not given.")
@click.option("--allowed-from", metavar="CIDR", multiple=True, help="Where it may be used; may be repeated.")
@with_settings(*DATABASE, "mongo_timeout_s")
def create_token(
    settings: Settings, name: str, role: str, expires_in_days: int | None, allowed_from: tuple[str, ...]
) -> None:
    """Print a new token. It is shown this once: only a digest of it is stored."""
    if not 1 <= len(name) <= NAME_MAX:
        raise click.BadParameter(f"must have 1 to {NAME_MAX} characters", param_hint="--name")
    try:
        networks = tuple(parse_allowed_from(text, "/allowed_from") for text in allowed_from)
    except Rejected as error:
        raise click.BadParameter(error.detail, param_hint="--allowed-from") from None
    with _database(settings) as stores:
        new, text = issue(
            name=name,
            role=Role(role),
            expires_at=utc_now() + timedelta(days=expires_in_days) if expires_in_days else None,
            allowed_from=networks,
            created_by=_ACTOR,
        )
        stores.tokens.insert(new)
    click.echo(text)


@token.command("list")
@with_settings(*DATABASE, "mongo_timeout_s")
def list_tokens(settings: Settings) -> None:
    """Print each token's id, role, state, last use and name, a line each."""
    with _database(settings) as stores:
        cursor = None
        while True:
            page = stores.tokens.page(Query(cursor=cursor))
            for one in page.items:
                state = "disabled" if one.disabled else "active"
                if one.expires_at is not None and one.expires_at <= utc_now():
                    state = "expired"
                used = format_time(one.last_used_at) or "never"
                click.echo(printable(f"{one.public_id} {one.role:9} {state:8} {used:24} {one.name}"))
            cursor = page.cursor(len(page.items))
            if cursor is None:
                return


@token.command("delete")
@click.argument("token_id", metavar="ID")
@with_settings(*DATABASE, "mongo_timeout_s")
def delete_token(settings: Settings, token_id: str) -> None:
    """Delete the token with this id; web processes refuse it within five seconds."""
    with _database(settings) as stores:
        try:
            stores.tokens.delete(stores.tokens.id_of(token_id))
        except Rejected as error:
            raise click.ClickException(error.detail) from None


@contextmanager
def _database(settings: Settings) -> Iterator[Stores]:
    """Open the database; what is changed in it is changed by this command."""
    stores = open_stores(settings, settings.mongo_timeout_s, follow=False)
    with closing(stores.whole), use_audit_context(AuditContext(actor=_ACTOR)):
        stores.schema.check()
        yield stores
