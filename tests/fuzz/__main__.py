"""Send requests that nobody would send: `python -m tests.fuzz --minutes 20 --seed 1`.

Each is drawn by hypothesis, which makes the first one that goes wrong as small as it can before it shows it.
"""

from __future__ import annotations

import http.client
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ipam.embedded.processes import mongo_uri, redis_url
from tests.support import servers
from tests.support.stack import Stack

# As the docs have them: the paths of each line, and its methods.
LINES = re.findall(
    r"^\| (.*?) \| (.*?) \|$", Path("docs/api.md").read_text().split("## Media types")[0], re.MULTILINE
)
ROUTES = [
    (path, method)
    for paths, methods in LINES
    for path in re.findall(r"`(/[a-z{}/_]+)`", paths)
    for method in re.findall(r"\b(?:GET|POST|PATCH|PUT|DELETE)\b", methods)
]
EXAMPLES_A_ROUND = 500
TIMEOUT_S = 60
BROKEN, UNAVAILABLE = 500, 503

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LATIN = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=30)
ADDRESSES = st.one_of(
    st.ip_addresses().map(str), st.sampled_from(["10.0.0.7", "::ffff:10.0.0.1", "10.0.0.007", "::"])
)
NETWORKS = st.one_of(
    st.builds("{}/{}".format, ADDRESSES, st.integers(-1, 130)),
    st.builds("10.{}.{}.0/{}".format, st.integers(0, 255), st.integers(0, 255), st.integers(24, 33)),
    st.builds("2001:db8:{:x}::/{}".format, st.integers(0, 65535), st.integers(48, 129)),
)
NUMBERS = st.one_of(
    st.integers(-2, 300), st.integers(), st.floats(allow_nan=False), st.sampled_from([2**63, 2**64, 10**400])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, ADDRESSES, NETWORKS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
COUNTS = st.integers(-1, 300)
# What is right for a field, more often than not.
FIELDS = {
    **dict.fromkeys(("id", "pool", "subnet", "reservation"), st.just("")),
    **dict.fromkeys(("name", "strategy", "spread", "expires_at", "address", "hostname"), TEXT),
    **dict.fromkeys(("start", "end", "gateway"), ADDRESSES),
    **dict.fromkeys(("count", "ipv4", "ipv6", "cooldown", "ttl", "revision", "used"), COUNTS),
    **dict.fromkeys(("contiguous", "locked"), st.booleans()),
    **dict.fromkeys(("tags", "leases"), st.lists(TEXT, max_size=3)),
    "metadata": VALUES,
    "cidr": NETWORKS,
    "exclusions": st.lists(NETWORKS | ADDRESSES, max_size=3),
    "addresses": st.lists(ADDRESSES, max_size=3),
}
PARAMETERS = st.sampled_from(
    [
        *("limit", "cursor", "name", "tag", "metadata.a", "metadata.a.b", "metadata.", "pool"),
        *("subnet", "reservation", "address", "state", "embed", "wait", "after", "type"),
        *("subject", "actor", "since", "until", "cascade", "prefix_length", "block"),
    ]
)
TYPES = st.sampled_from(
    [
        *("application/json", "application/merge-patch+json", "application/vnd.ipam.pool+json; version=1.0.0"),
        *("application/vnd.ipam.subnet+json", "text/plain", "application/json; charset=latin-1", "/", ""),
    ]
)
# Few at a time, or hardly a request would come further than to the first that is wrong.
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("Accept"), st.one_of(TYPES, LATIN, st.just("*/*;q=0"))),
        st.tuples(st.just("If-Match"), st.one_of(LATIN, st.sampled_from(['"1-x"', "*", '"1"', f'"{10**20}"']))),
        st.tuples(st.just("If-None-Match"), st.one_of(LATIN, st.just("*"))),
        st.tuples(st.just("Idempotency-Key"), st.one_of(LATIN, st.sampled_from(["a", "b"]))),
        st.tuples(st.just("Prefer"), st.one_of(LATIN, st.sampled_from(["respond-async", "wait=0", "wait=x"]))),
        st.tuples(st.sampled_from(["X-Actor", "X-Request-Id", "traceparent", "Host"]), LATIN),
    ),
    max_size=1,
).map(dict)
WRITTEN = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name] | VALUES))
SUBNETS = {"gateway": ADDRESSES, "exclusions": st.lists(NETWORKS | ADDRESSES, max_size=3), "name": TEXT}
OBJECTS = (
    st.lists(WRITTEN, max_size=3).map(dict),
    st.fixed_dictionaries({"cidr": NETWORKS}, optional=SUBNETS),
    st.fixed_dictionaries({"count": COUNTS}),
    st.fixed_dictionaries({"name": TEXT, "metadata": VALUES}),
)
LISTS = st.fixed_dictionaries({"reservations": st.lists(st.one_of(*OBJECTS, VALUES), max_size=5)})
BODIES = st.one_of(
    *[one.map(lambda body: json.dumps(body).encode()) for one in (*OBJECTS, *OBJECTS, LISTS, VALUES)],
    st.binary(max_size=40),
)


class Target:
    """A web process, and ids of what there is to ask for."""

    def __init__(self, stack: Stack, seen: Counter[int]) -> None:
        api, self.seen = stack.api, seen
        pool = api.pool(name="fuzzed", metadata={"a": {"b": 1}})
        subnet = api.subnet(pool, cidr="10.0.0.0/24", gateway="10.0.0.1")
        reservation = api.reserve(subnet, count=3)
        job = api.post(f"/subnets/{subnet['id']}/reservations", headers={"Prefer": "respond-async"}).json()
        self.url = urlsplit(api.url)
        self.ids = {
            "pools": pool["id"],
            "subnets": subnet["id"],
            "reservations": reservation["id"],
            "leases": reservation["leases"][0]["id"],
            "jobs": job["id"],
        }

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        """Send a request; its answer is none of our faults, and says what is wrong where it refuses."""
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=TIMEOUT_S)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value.encode("latin-1"))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        self.seen[answer.status] += 1
        assert answer.status < BROKEN or answer.status == UNAVAILABLE, (answer.status, text)
        if answer.status >= http.HTTPStatus.BAD_REQUEST and method != "HEAD":
            assert answer.headers["Content-Type"] == "application/problem+json", (answer.status, text)
            assert json.loads(text)["request_id"], text
        elif text:
            json.loads(text)


def requests(ids: dict[str, str]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A method, a path, headers, a body."""

    def of_route(route: tuple[str, str]) -> st.SearchStrategy[tuple[str, str]]:
        path, method = route
        own = st.just(ids[path.split("/")[1]]) if "{id}" in path else st.just("")
        other = st.one_of(st.sampled_from(sorted(ids.values())), TEXT.map(lambda text: quote(text, safe="")))
        # What is deleted cannot be asked for any more.
        id_ = other if method == "DELETE" else st.one_of(own, own, own, other)
        methods = st.one_of(*[st.just(method)] * 5, st.sampled_from(["HEAD", "OPTIONS", "BREW"]))
        return st.tuples(methods, id_.map(lambda one: path.replace("{id}", one)))

    value = st.one_of(TEXT, ADDRESSES, NETWORKS, st.integers().map(str), st.sampled_from(["0", "latest", "leases"]))
    some = st.lists(st.tuples(PARAMETERS | TEXT, value), min_size=1, max_size=2)
    # Nobody waits here: it would be waited for.
    asked = some.map(lambda pairs: "?" + urlencode([pair for pair in pairs if pair[0] != "wait"]))
    kind = st.one_of(*[st.just("application/json")] * 4, TYPES)
    headers = st.builds(lambda headers, kind: {"Content-Type": kind, **headers}, HEADERS, kind)
    return st.builds(
        lambda where, query, headers, body: (where[0], where[1] + query, headers, body),
        st.sampled_from(ROUTES).flatmap(of_route),
        st.one_of(st.just(""), st.just(""), asked),
        headers,
        BODIES,
    )


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="How long.")
@click.option("--seed", "first", default=1, show_default=True, help="What is drawn first.")
def main(minutes: float, first: int) -> None:
    """Fuzz all routes; the exit code is 1 if an answer was wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database, broker = servers.database(folder), servers.redis(folder)
        database.start()
        broker.start()
        stack = Stack(mongo_uri(database.part.port), redis_url(broker.part.port), folder, IPAM_MONGO_TIMEOUT_S="30")
        try:
            stack.start()
            fuzz(stack, minutes, first)
        finally:
            stack.stop()
            broker.stop()
            database.stop()


def fuzz(stack: Stack, minutes: float, first: int) -> None:
    deadline = time.monotonic() + 60 * minutes
    number, seen = first, Counter[int]()
    while time.monotonic() < deadline:
        live_through(number, Target(stack, seen))
        number += 1
    stack.wait_for_jobs()
    for subnet in stack.api.pages("/subnets", "subnets"):
        leases = stack.api.pages(f"/subnets/{subnet['id']}/leases", "leases")
        assert subnet["used"] == len(leases), subnet
    counts = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
    click.echo(f"{seen.total()} requests, seeds {first} to {number - 1}: {counts}")


def live_through(number: int, target: Target) -> None:
    """Send what is drawn from the seed *number*."""

    @seed(number)
    @settings(
        max_examples=EXAMPLES_A_ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(target.ids))
    def answers_are_ours(request: tuple[Any, ...]) -> None:
        target.ask(*request)

    answers_are_ours()


if __name__ == "__main__":
    main()
