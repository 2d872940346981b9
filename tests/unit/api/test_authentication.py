"""Tokens and roles at every route; without a server."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from threading import Event
from typing import Any

import falcon.inspect
import pytest
from bson import ObjectId
from falcon.testing import Result, TestClient

from ipam.api.app import ApiOptions, create_app
from ipam.api.http import authenticator
from ipam.errors import Transient
from ipam.models.token import Role, Token, issue, split_token
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.wiring import Services
from tests.support.described import PUBLIC
from tests.support.steps import make_subnet

PROXY = "192.0.2.1"
# The role that each change needs; reading takes a viewer, and of tokens an administrator.
WRITERS = {
    "/pools": Role.OPERATOR,
    "/pools/{id_}": Role.OPERATOR,
    "/pools/{id_}/subnets": Role.OPERATOR,
    "/subnets/{id_}": Role.OPERATOR,
    "/pools/{id_}/reservations": Role.ALLOCATOR,
    "/subnets/{id_}/reservations": Role.ALLOCATOR,
    "/reservations/{id_}": Role.ALLOCATOR,
    "/leases/{id_}": Role.ALLOCATOR,
    "/jobs/{id_}": Role.ALLOCATOR,
    "/tokens": Role.ADMIN,
    "/tokens/{id_}": Role.ADMIN,
}


@pytest.fixture
def app(services: Services) -> Any:
    callers = ApiOptions(["*"], need_token=True, trusted_proxies=[ip_network(PROXY)])
    return create_app(services, lambda: None, Event(), callers)


@pytest.fixture
def api(app: Any) -> TestClient:
    return TestClient(app)


@pytest.fixture
def new(stores: Stores) -> Callable[..., str]:
    """Store a token of a role; returns its text."""

    def make(role: Role = Role.VIEWER, **fields: Any) -> str:
        token, text = issue(**{"name": f"a {role}", "role": role, **fields})
        stores.tokens.insert(token)
        return text

    return make


def bearer(text: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **headers}


def secret_of(text: str) -> str:
    """The third part of a token, which may itself have any number of underscores."""
    return text.split("_", 2)[2]


def slug(answer: Result) -> tuple[int, str]:
    return answer.status_code, answer.json["type"].removeprefix("/problems/")


def routes(app: Any) -> list[tuple[str, str]]:
    """Each path, and each method that it has."""
    found = falcon.inspect.inspect_routes(app)
    return [(one.path, method.method) for one in found for method in one.methods if not method.internal]


def needed(path: str, method: str) -> Role:
    if method in ("GET", "HEAD"):
        return Role.ADMIN if path in ("/tokens", "/tokens/{id_}") else Role.VIEWER
    return WRITERS[path]


def test_every_route_lets_in_its_roles_and_no_other(app, api, new):
    """A route that is new is in this list by itself, and fails here until it is said which role it needs."""
    texts = {role: new(role) for role in Role}
    tried = 0
    for path, method in routes(app):
        if path in PUBLIC:
            continue
        url = path.replace("{id_}", str(ObjectId())).replace("{address}", "10.0.0.1")
        for role, text in texts.items():
            headers = bearer(text, **{"Content-Type": "application/json"})
            answer = api.simulate_request(method, url, headers=headers, body="[")  # No change is made by that.
            is_refused = answer.status_code == 403
            assert is_refused is not role.includes(needed(path, method)), (method, path, role, answer.text)
            assert answer.status_code != 401
            tried += 1
    assert tried > 150


def test_without_a_token_only_health_and_documentation_say_anything(app, api):
    for path, method in routes(app):
        answer = api.simulate_request(method, path.replace("{id_}", str(ObjectId())))
        assert (answer.status_code == 401) is (path not in PUBLIC), (method, path)
    assert slug(api.simulate_get("/nowhere")) == (401, "unauthorized")
    assert "Bearer" in api.simulate_get("/pools").headers["WWW-Authenticate"]
    assert api.simulate_get("/livez").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Basic", "Basic !", "Basic aXBhbTo=", "Digest x", "Bearer ipam_abc_def", "\u00e9"],
)
def test_authorization_without_a_token_is_refused_with_what_to_send(api, authorization):
    answer = api.simulate_get("/pools", headers={"Authorization": authorization.encode().decode("latin-1")})
    assert slug(answer) == (401, "unauthorized")
    assert answer.json["detail"]


def test_token_is_taken_as_bearer_or_as_the_password_of_basic(api, new):
    text = new()
    basic = base64.b64encode(f"anybody:{text}".encode()).decode()
    for authorization in (f"Bearer {text}", f"bearer  {text}", f"Basic {basic}"):
        answer = api.simulate_get("/tokens/self", headers={"Authorization": authorization})
        assert (answer.status_code, answer.json["role"]) == (200, "viewer")


@pytest.mark.parametrize("at", [5, 17, 20, 59])
def test_token_with_one_wrong_character_is_refused_like_one_that_is_not_there(api, new, at):
    text = new()
    wrong = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    other = issue(name="x", role=Role.ADMIN)[1]
    answers = [api.simulate_get("/pools", headers=bearer(one)) for one in (wrong, other)]
    assert slug(answers[0]) == slug(answers[1]) == (401, "unauthorized")
    assert {answer.json["detail"] for answer in answers} <= {"There is no such token."}


def test_secret_is_shown_once_and_stored_nowhere(api, new, plain):
    answer = api.simulate_post("/tokens", json={"name": "ci", "role": "allocator"}, headers=bearer(new(Role.ADMIN)))
    assert answer.status_code == 201
    text = answer.json["token"]
    own = api.simulate_get("/tokens/self", headers=bearer(text)).json
    assert "token" not in own
    assert answer.headers["Location"] == f"/tokens/{own['id']}"
    assert own["created_by"].startswith("a admin (")
    secret = secret_of(text)
    for name in plain.list_collection_names():
        assert secret not in str(list(plain[name].find())), name


def test_token_is_made_with_no_idempotency_key_for_its_answer_would_be_kept(api, new, plain):
    headers = bearer(new(Role.ADMIN), **{"Idempotency-Key": "k"})
    assert slug(api.simulate_post("/tokens", json={"name": "ci"}, headers=headers)) == (400, "invalid-parameter")
    assert plain["tokens"].count_documents({}) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "x", "role": "root"}, "/role"),
        ({"name": "x", "expires_at": "tomorrow"}, "/expires_at"),
        ({"name": "x", "allowed_from": ["10.0.0.0/8", "here"]}, "/allowed_from/1"),
        ({"name": "x", "digest": "0"}, "/digest"),
        ({"name": "x", "id": "abcdefghijkl"}, "/id"),
    ],
)
def test_token_that_breaks_a_rule_is_refused_at_its_place(api, new, plain, body, pointer):
    answer = api.simulate_post("/tokens", json=body, headers=bearer(new(Role.ADMIN)))
    assert slug(answer) == (422, "invalid")
    assert answer.json["errors"][0]["pointer"] == pointer
    assert plain["tokens"].count_documents({}) == 1


def test_token_is_changed_found_and_deleted_like_any_resource(api, new):
    admin = bearer(new(Role.ADMIN))
    made = api.simulate_post("/tokens", json={"name": "ci", "tags": ["x"]}, headers=admin).json
    path = f"/tokens/{made['id']}"
    changed = api.simulate_patch(
        path,
        json={"disabled": True, "allowed_from": ["10.1.2.3/8"], "expires_at": "2031-01-01T00:00:00Z"},
        headers=admin,
    ).json
    assert (changed["role"], changed["disabled"], changed["allowed_from"]) == ("viewer", True, ["10.0.0.0/8"])
    assert (changed["revision"], changed["tags"]) == (2, ["x"])
    assert [one["id"] for one in api.simulate_get("/tokens?tag=x", headers=admin).json["tokens"]] == [made["id"]]
    sent_back = api.simulate_put(path, json={**changed, "role": "allocator"}, headers=admin).json
    assert (sent_back["role"], sent_back["disabled"], sent_back["revision"]) == ("allocator", True, 3)
    assert slug(api.simulate_delete(path, headers={**admin, "If-Match": '"1-x"'})) == (412, "stale")
    assert api.simulate_delete(path, headers=admin).status_code == 204
    assert slug(api.simulate_get(path, headers=admin)) == (404, "not-found")
    assert slug(api.simulate_get("/tokens/none", headers=admin)) == (404, "not-found")


def test_rights_of_a_token_never_change_by_itself(api, new, stores):
    text = new(Role.ADMIN)
    own = api.simulate_get("/tokens/self", headers=bearer(text)).json
    for method, body in (("PATCH", {"allowed_from": []}), ("PUT", {"name": "x", "role": "admin"})):
        answer = api.simulate_request(method, f"/tokens/{own['id']}", json=body, headers=bearer(text))
        assert slug(answer) == (403, "forbidden")
    assert stores.tokens.get(stores.tokens.id_of(own["id"])).revision == 1


def test_changes_of_tokens_are_events_without_the_secret_and_in_the_name_of_their_maker(api, new, plain):
    text = new(Role.ADMIN)
    own = api.simulate_get("/tokens/self", headers=bearer(text)).json
    made = api.simulate_post("/tokens", json={"name": "ci"}, headers=bearer(text, **{"X-Actor": "mallory"})).json
    api.simulate_patch(f"/tokens/{made['id']}", json={"disabled": True}, headers=bearer(text))
    api.simulate_delete(f"/tokens/{made['id']}", headers=bearer(text))
    events = [event for group in plain["events"].find() for event in group["events"]]
    about = {event["revision"]: event for event in events if event["paths"][0] == f"/tokens/{made['id']}"}
    assert [about[revision]["type"] for revision in sorted(about)] == [
        f"ipam.token.{verb}" for verb in ("created", "updated", "deleted")
    ]
    assert {event["origin"]["actor"] for event in about.values()} == {f"a admin ({own['id']})"}
    digest = split_token(made["token"])[1]
    assert not any("digest" in event["data"] or made["token"] in event["data"] for event in events)
    tombstone = plain["tokens"].find_one({"state": "deleted"})
    assert "digest" not in tombstone
    assert digest not in tombstone.values()


def test_disabled_expired_and_misplaced_tokens_are_refused_and_say_why(api, new):
    disabled, expired = new(disabled=True), new(expires_at=utc_now() - timedelta(seconds=1))
    elsewhere = new(allowed_from=("10.0.0.0/8", "2001:db8::/32"))
    for text, status, why in (
        (disabled, 401, "disabled"),
        (expired, 401, "expired"),
        (elsewhere, 403, "used from"),
    ):
        answer = api.simulate_get("/pools", headers=bearer(text))
        assert (answer.status_code, why in answer.json["detail"]) == (status, True)


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("10.9.9.9", None, 200),
        ("::ffff:10.9.9.9", None, 200),
        ("192.0.2.9", "10.9.9.9", 403),  # No proxy that is trusted: its word is not taken.
        (PROXY, "10.9.9.9", 200),
        (PROXY, "10.9.9.9, 203.0.113.5", 403),  # The caller wrote the first one itself.
        (PROXY, "203.0.113.5, 10.9.9.9", 200),
        (PROXY, f"10.9.9.9, {PROXY}", 200),
        (PROXY, None, 403),
        (PROXY, "unknown", 403),
    ],
)
def test_address_of_a_caller_is_what_a_trusted_proxy_says(api, new, peer, forwarded, status):
    headers = bearer(new(allowed_from=("10.0.0.0/8",)))
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    assert api.simulate_get("/pools", headers=headers, remote_addr=peer).status_code == status


def test_revoked_token_works_for_as_long_as_one_is_believed_and_no_longer(api, new, stores, monkeypatch):
    text = new()
    assert api.simulate_get("/pools", headers=bearer(text)).status_code == 200
    stores.tokens.delete(split_token(text)[0])
    assert api.simulate_get("/pools", headers=bearer(text)).status_code == 200
    monkeypatch.setattr(authenticator, "BELIEVED_S", 0.0)
    assert slug(api.simulate_get("/pools", headers=bearer(text))) == (401, "unauthorized")


def test_address_that_sends_wrong_tokens_is_kept_out_and_a_token_that_was_right_is_not(api, new, caplog):
    known, late = new(), new()
    assert api.simulate_get("/pools", headers=bearer(known)).status_code == 200
    wrong = [issue(name="x", role=Role.ADMIN)[1] for _ in range(10)]
    for text in wrong:
        assert slug(api.simulate_get("/pools", headers=bearer(text))) == (401, "unauthorized")
    for text in (issue(name="x", role=Role.ADMIN)[1], late, "nonsense"):
        answer = api.simulate_get("/pools", headers=bearer(text))
        assert slug(answer) == (429, "too-many-attempts")
        assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert api.simulate_get("/pools", headers=bearer(known)).status_code == 200
    assert api.simulate_get("/pools", headers=bearer(late), remote_addr="10.0.0.1").status_code == 200
    refused = [record.message for record in caplog.records if "refused" in record.message]
    assert [message.endswith("a minute") for message in refused] == [False, True]
    assert not any(secret_of(text) in message for text in wrong for message in refused)


@pytest.mark.parametrize("believed_s", [5.0, 0.0])
def test_client_that_goes_on_with_a_revoked_token_keeps_no_other_out(api, new, stores, monkeypatch, believed_s):
    """It guesses nothing; a new token from the same address, as behind a NAT, is let in."""
    revoked, late = new(), new()
    stores.tokens.delete(split_token(revoked)[0])
    monkeypatch.setattr(authenticator, "BELIEVED_S", believed_s)
    reads: list[Any] = []
    stored = stores.tokens._stored  # noqa: SLF001
    monkeypatch.setattr(stores.tokens, "_stored", lambda ids: stored(reads.append(ids) or ids))
    for _ in range(30):
        assert slug(api.simulate_get("/pools", headers=bearer(revoked))) == (401, "unauthorized")
    assert len(reads) == (1 if believed_s else 30)
    assert api.simulate_get("/pools", headers=bearer(late)).status_code == 200


def test_wrong_tokens_of_an_ipv6_network_count_together(api):
    for number in range(10):
        wrong = issue(name="x", role=Role.ADMIN)[1]
        api.simulate_get("/pools", headers=bearer(wrong), remote_addr=f"2001:db8::{number:x}")
    assert api.simulate_get("/pools", headers=bearer("x"), remote_addr="2001:db8::ff").status_code == 429
    assert api.simulate_get("/pools", headers=bearer("x"), remote_addr="2001:db8:0:1::1").status_code == 401


def test_last_use_is_known_to_the_minute_and_is_no_change_of_the_token(api, new, stores, monkeypatch):
    monkeypatch.setattr(authenticator, "BELIEVED_S", 0.0)
    text = new()
    id_ = split_token(text)[0]
    api.simulate_get("/pools", headers=bearer(text))
    first = stores.tokens.get(id_)
    assert utc_now() - first.last_used_at < timedelta(seconds=30)
    api.simulate_get("/pools", headers=bearer(text))
    assert stores.tokens.get(id_) == first
    assert first.revision == 1


def test_outage_of_the_database_is_no_refusal(api, new, stores, monkeypatch):
    known, late = new(), new()

    def away(*_: Any) -> Any:
        raise Transient("The database did not answer.")

    with monkeypatch.context() as outage:
        outage.setattr(stores.tokens, "mark_used", away)
        assert api.simulate_get("/pools", headers=bearer(known)).status_code == 200
    monkeypatch.setattr(stores.tokens, "_stored", away)
    assert api.simulate_get("/tokens/self", headers=bearer(known)).status_code == 200
    assert slug(api.simulate_get("/tokens/self", headers=bearer(late))) == (503, "unavailable")


def test_idempotency_key_is_the_tokens_own(api, new):
    first, second = new(Role.OPERATOR), new(Role.OPERATOR)
    made = [
        api.simulate_post("/pools", json={}, headers=bearer(text, **{"Idempotency-Key": "k"})).json["id"]
        for text in (first, second, first)
    ]
    assert made[0] == made[2] != made[1]


def test_job_is_cancelled_by_its_own_token_or_an_operator(api, new, services):
    owner, other, operator = new(Role.ALLOCATOR), new(Role.ALLOCATOR), new(Role.OPERATOR)
    subnet = make_subnet(services)
    path = f"/subnets/{subnet.id}/reservations"
    paths = [
        api.simulate_post(path, json={}, headers=bearer(owner, Prefer="respond-async")).headers["Location"]
        for _ in range(2)
    ]
    refused = api.simulate_delete(paths[0], headers=bearer(other))
    assert (slug(refused), refused.json["role"]) == ((403, "forbidden"), "operator")
    assert api.simulate_get(paths[0], headers=bearer(owner)).json["state"] == "queued"
    assert api.simulate_delete(paths[0], headers=bearer(owner)).status_code == 204
    assert api.simulate_delete(paths[1], headers=bearer(operator)).status_code == 204


def test_refusals_for_want_of_a_role_are_logged_once_a_minute(api, new, caplog):
    first, second = new(name="ci"), new(name="cd")
    for text in (first, first, second, first):
        assert api.simulate_post("/pools", json={}, headers=bearer(text)).status_code == 403
    refused = [record.message for record in caplog.records if "needs the role operator" in record.message]
    assert [message.split(" (")[0] for message in refused] == ["refused ci", "refused cd"]


def test_idempotency_key_and_jobs_stay_a_tokens_own_when_it_gets_another_name(api, new, services):
    owner, admin = new(Role.OPERATOR), new(Role.ADMIN)
    own = api.simulate_get("/tokens/self", headers=bearer(owner)).json
    headers = bearer(owner, **{"Idempotency-Key": "k", "Prefer": "respond-async"})
    path = f"/subnets/{make_subnet(services).id}/reservations"
    first = api.simulate_post(path, json={}, headers=headers)
    renamed = api.simulate_patch(
        f"/tokens/{own['id']}", json={"name": "another", "role": "allocator"}, headers=bearer(admin)
    )
    assert renamed.json["name"] == "another"
    fresh = TestClient(create_app(services, lambda: None, Event(), ApiOptions(["*"], need_token=True)))
    again = fresh.simulate_post(path, json={}, headers=headers)
    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])
    assert fresh.simulate_delete(first.headers["Location"], headers=bearer(owner)).status_code == 204


def test_wrong_tokens_of_an_ipv4_caller_on_a_socket_of_both_families_are_its_own(api):
    for _ in range(10):
        wrong = issue(name="x", role=Role.ADMIN)[1]
        api.simulate_get("/pools", headers=bearer(wrong), remote_addr="::ffff:203.0.113.1")
    for address, status in (("203.0.113.1", 429), ("::ffff:203.0.113.1", 429), ("::ffff:203.0.113.2", 401)):
        assert api.simulate_get("/pools", headers=bearer("x"), remote_addr=address).status_code == status


def test_role_includes_those_before_it():
    assert [[role.includes(other) for other in Role].count(True) for role in Role] == [1, 2, 3, 4]


def test_token_is_stored_as_it_is_read(stores):
    token, _ = issue(
        name="x", role=Role.OPERATOR, expires_at=utc_now(), allowed_from=("10.0.0.0/8",), disabled=True
    )
    stores.tokens.insert(token)
    assert replace(stores.tokens.get(token.id), outbox=()) == token
    assert Token.from_bson(token.to_bson()) == token
