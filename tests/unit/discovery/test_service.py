"""What is looked for in Consul, and the address that is made of what is found."""

import pytest

from ipam.discovery.consul import ConsulAgent
from ipam.discovery.registration import entry_of_web
from ipam.discovery.service import Instance, Service
from ipam.errors import InvalidSettings, Transient
from ipam.settings import BUS_SCHEMES, Settings
from ipam.util.urls import without_password


def address(text: str, *tags: str, scheme: str = "", hosts: tuple[str, ...] = ("10.0.0.1",)) -> str:
    pairs = dict(tag.split("=", 1) for tag in tags)
    schemes = (scheme,) if scheme else BUS_SCHEMES
    return Service.parse(text, "--flag", schemes).address([Instance(host, 7000, pairs) for host in hosts])


@pytest.mark.parametrize(
    ("text", "tags", "expected"),
    [
        ("mongodb", [], "mongodb://10.0.0.1:7000/"),
        ("mongodb://me:s%40cret@mongodb", [], "mongodb://me:s%40cret@10.0.0.1:7000/"),
        ("mongodb://m/ipam?replicaSet=rs0&tls=true", [], "mongodb://10.0.0.1:7000/ipam?replicaSet=rs0&tls=true"),
        ("mongodb", ["user=me", "password=s@/cret"], "mongodb://me:s%40%2Fcret@10.0.0.1:7000/"),
        ("mongodb", ["options=replicaSet=rs0&w=1"], "mongodb://10.0.0.1:7000/?replicaSet=rs0&w=1"),
        ("mongodb", ["path=ipam"], "mongodb://10.0.0.1:7000/ipam"),
        ("mongodb://you@m/a?b=c", ["user=me", "path=/x", "options=y=z"], "mongodb://you@10.0.0.1:7000/a?b=c"),
    ],
)
def test_settings_say_what_instances_do_not_and_win_over_their_tags(text, tags, expected):
    assert address(text, *tags, scheme="mongodb") == expected


@pytest.mark.parametrize(
    ("host", "port", "tags", "why"),
    [
        ("10.0.0.1", 7000, {}, None),
        ("fd00::1", 1, {"path": "/ipam", "scheme": "mongodb", "options": "replicaSet=rs0&w=1"}, None),
        ("db_1.example.", 65535, {"user": "me", "password": "a@b/?c"}, None),
        ("evil/?authMechanism=PLAIN&x=", 7000, {}, "neither a host name nor an IP address"),
        ("10.0.0.1,evil", 7000, {}, "neither a host name nor an IP address"),
        ("me@evil", 7000, {}, "neither a host name nor an IP address"),
        ("fe80::1%eth0", 7000, {}, "neither a host name nor an IP address"),
        ("", 7000, {}, "neither a host name nor an IP address"),
        ("10.0.0.1", 0, {}, "its port 0 is no number from 1 to 65535"),
        ("10.0.0.1", "27017,evil:1", {}, "is no number from 1 to 65535"),
        ("10.0.0.1", 7000, {"scheme": "http"}, "its tag scheme='http' is none of mongodb"),
        ("10.0.0.1", 7000, {"path": "/x?tls=false"}, "its tag path='/x?tls=false' is no path"),
        ("10.0.0.1", 7000, {"options": "w=1&tls=false"}, "has 'tls', which only --flag may say"),
        ("10.0.0.1", 7000, {"options": "w=1&authMechanism=PLAIN&authSource"}, "has 'authMechanism', 'authSource'"),
    ],
)
def test_consul_instance_that_could_lead_elsewhere_is_ignored(host, port, tags, why):
    refusal = Service.parse("mongodb", "--flag", ("mongodb",)).refusal(Instance(host, port, tags))
    assert (refusal is None) == (why is None)
    assert why is None or why in refusal


def test_url_of_several_servers_has_the_form_of_its_client():
    hosts = ("10.0.0.1", "fd00::1", "db.example")
    assert address("m", scheme="mongodb", hosts=hosts) == "mongodb://10.0.0.1:7000,[fd00::1]:7000,db.example:7000/"
    assert (
        address("amqp://u:p@rabbitmq//", hosts=hosts[:2])
        == "amqp://u:p@10.0.0.1:7000//;amqp://u:p@[fd00::1]:7000//"
    )
    assert address("n", "scheme=nats", hosts=hosts[:2]) == "nats://10.0.0.1:7000/,nats://[fd00::1]:7000/"


def test_url_with_an_unknown_scheme_tells_how_to_say_it():
    with pytest.raises(Transient, match=r"speak to the service 'queue': give --flag a URL .* amqp://queue"):
        address("queue")
    assert address("rabbitmq") == "amqp://10.0.0.1:7000/"
    assert address("redis", "scheme=rediss") == "rediss://10.0.0.1:7000/"


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"consul": "http://a/b"}, "--consul='http://a/b': must be host, host:port or a URL"),
        ({"consul": "a:b"}, "--consul='a:b': "),
        ({"consul": "ftp://a"}, "--consul='ftp://a': must be"),
        ({"consul": "http://me:secret@a"}, "--consul='http://***@a': must be"),
        (
            {"consul": "a", "consul_mongo": "mongodb://u:secret@m:27017/"},
            "--consul-mongo='mongodb://***@m:27017/': must",
        ),
        (
            {"consul": "a", "consul_mongo": "redis://m"},
            "or a URL that begins with mongodb:// and has that name and no port",
        ),
        ({"consul": "a", "consul_broker": "nats://m"}, "begins with redis:// or rediss:// or amqp://"),
        ({"consul": "a", "consul_bus": ""}, "--consul-bus='': must be the name of a service"),
        ({"consul": "https://a", "consul_ca": "/no/such"}, "--consul-ca='/no/such': there is no such file"),
        ({"consul_broker": "redis://r"}, "--consul-broker='redis://r': needs --consul as well"),
    ],
)
def test_consul_setting_that_names_no_service_is_refused_at_start(flags, fault):
    with pytest.raises(InvalidSettings) as caught:
        Settings.read(flags, {})
    assert fault in caught.value.detail
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("consul", "shown"),
    [
        ("a", "http://a:8500"),
        ("10.0.0.1:8501", "http://10.0.0.1:8501"),
        ("https://[::1]:8501", "https://[::1]:8501"),
    ],
)
def test_an_agent_is_spoken_to_by_its_url(consul, shown):
    agent = ConsulAgent(Settings(consul=consul))
    assert agent.shown == shown
    assert agent._client.http.uri("/v1") == f"{shown}/v1"  # noqa: SLF001


@pytest.mark.parametrize(
    ("settings", "address", "checked"),
    [
        ({}, "127.0.0.1", "http://127.0.0.1:1/readyz"),
        ({"host": "0.0.0.0"}, "", "http://127.0.0.1:1/readyz"),  # noqa: S104
        ({"host": "::"}, "", "http://[::1]:1/readyz"),
        ({"host": "2001:db8::1"}, "2001:db8::1", "http://[2001:db8::1]:1/readyz"),
        ({"host": "0.0.0.0", "consul_address": "web"}, "web", "http://web:1/readyz"),  # noqa: S104
    ],
)
def test_a_web_process_is_found_and_checked_at_its_address(settings, address, checked):
    entry = entry_of_web(Settings(consul="a", **settings), 1)
    assert (entry["Address"], entry["Check"]["HTTP"]) == (address, checked)


def test_url_of_several_addresses_shows_no_password():
    shown = without_password("amqp://me:se;cret@a//;amqp://me:se,cret@b//")
    assert shown == "amqp://***@a//;amqp://***@b//"
