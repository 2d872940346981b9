"""Parts that are found by a real Consul agent, and move; and a web process that is found by it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
import yaml

from ipam import __version__
from ipam.discovery.consul import ConsulAgent
from ipam.discovery.service import Service
from ipam.embedded.processes import free_port
from ipam.errors import Transient
from ipam.settings import Settings
from tests.support import servers
from tests.support.example_consumers import consumer
from tests.support.servers import Consul, Process, wait_until
from tests.support.stack import Api, Stack, all_at_once, created

NEVER = "redis://127.0.0.1:1/0"
SAYS_IT_WITHIN_S = 30
MONGO_OPTIONS = "directConnection=true&retryWrites=false&w=1"


class Site:
    """An agent, a database and a Redis that it knows, and a stack that knows nothing but the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.consul = Consul(folder)
        self.database = servers.database(folder)
        self.redis = servers.redis(folder)
        self.stack = Stack(
            "",
            "",
            folder,
            bus=NEVER,
            IPAM_CONSUL=f"127.0.0.1:{self.consul.part.port}",
            IPAM_CONSUL_BUS="redis",
            IPAM_CONSUL_TAGS="blue, test",
        )

    def start(self) -> None:
        for process in (self.consul, self.database, self.redis):
            process.start()
        self.tell()
        self.stack.start()

    def stop(self) -> None:
        self.stack.stop()
        for process in (self.redis, self.database, self.consul):
            process.stop()

    def tell(self) -> None:
        """Register where the parts are."""
        self.consul.register("mongodb", self.database.part.port, f"options={MONGO_OPTIONS}", "primary")
        self.consul.register("redis", self.redis.part.port)

    @property
    def web(self) -> str:
        """The id that the web process has in Consul."""
        return f"ipam-127.0.0.1:{self.stack.web.part.port}".replace(":", "-")

    def web_is(self, state: str) -> bool:
        """Whether Consul has the web process in this state; other tests may have left others there."""
        return self.consul.health("ipam").get(self.web) == state

    def is_ready(self) -> bool:
        return self.stack.api.get("/readyz").status_code == 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    made.start()
    yield made
    made.stop()


def test_process_that_knows_only_a_consul_agent_finds_its_parts_and_is_found(site: Site):
    wait_until(lambda: site.web_is("passing"), 30, "the web process to be healthy in Consul")
    entry = site.consul.services()[site.web]
    assert (entry["Service"], entry["Address"], entry["Port"]) == ("ipam", "127.0.0.1", site.stack.web.part.port)
    assert (entry["Tags"], entry["Meta"]) == (["blue", "test"], {"version": __version__})
    subnet = site.stack.api.subnet(cidr="10.0.0.0/24")
    assert site.stack.api.reserve(subnet)["count"] == 1


def test_web_process_told_to_stop_is_deregistered_from_consul(site: Site):
    site.stack.web.stop()
    assert site.web not in site.consul.services()
    site.stack.web.start()
    wait_until(lambda: site.web in site.consul.services(), 30, "the web process to be registered again")


@pytest.mark.long
def test_killed_web_process_fails_its_consul_check(site: Site):
    wait_until(lambda: site.web_is("passing"), 30, "the web process to be healthy in Consul")
    site.stack.web.kill()
    wait_until(lambda: site.web_is("critical"), 30, "the web process to be critical in Consul")
    site.stack.web.start()
    wait_until(lambda: site.web_is("passing"), 30, "the web process to be healthy again")


def test_an_agent_that_has_forgotten_everything_is_told_again(site: Site):
    site.consul.kill()
    subnet = site.stack.api.subnet(cidr="10.0.0.0/24")
    site.stack.api.reserve(subnet)  # What was known stays in use.
    site.consul.start()
    assert site.consul.services() == {}
    site.tell()
    wait_until(lambda: site.web in site.consul.services(), 30, "the web process to be registered again")


def reserve_whatever_happens(api: Api, subnet: dict, name: str) -> str:
    """The address that was reserved; asked for again, as the same request, while the parts are on their way."""
    headers = {"Idempotency-Key": uuid4().hex, "Prefer": "wait=30"}
    path, answers = f"/subnets/{subnet['id']}/reservations", []

    def is_answered() -> bool:
        answers.append(api.post(path, {"name": name}, headers=headers))
        return answers[-1].status_code != 503

    wait_until(is_answered, 120, f"an answer for {name}")
    return created(answers[-1])["leases"][0]["address"]


def test_the_database_moves_while_reservations_are_under_way(site: Site):
    subnet = site.stack.api.subnet(cidr="10.0.0.0/24")

    def reserve(n: int) -> str:
        if n == 20:
            site.database.stop()
            site.database = servers.database(site.folder)
            site.database.start()
            site.tell()
        return reserve_whatever_happens(site.stack.api, subnet, f"r{n}")

    addresses = all_at_once(8, reserve, range(60))
    assert len(set(addresses)) == 60
    assert site.stack.api.get(f"/subnets/{subnet['id']}").json()["used"] == 60
    stored = site.stack.api.pages(f"/subnets/{subnet['id']}/reservations", "reservations")
    assert sorted(one["name"] for one in stored) == sorted(f"r{n}" for n in range(60))


@pytest.mark.long
def test_the_broker_and_the_bus_move(site: Site, tmp_path: Path):
    site.redis.stop()
    site.redis = servers.redis(site.folder)
    site.redis.start()
    site.tell()
    wait_until(site.is_ready, 60, "the web process to find the broker")
    subnet = site.stack.api.subnet(cidr="10.0.0.0/24")
    bus = f"redis://127.0.0.1:{site.redis.part.port}/0"
    with consumer("by_kombu.py", tmp_path, bus, site.stack.api.url) as heard:
        reserve_whatever_happens(site.stack.api, subnet, "r")
        told = site.stack.api.get(f"/events?subject=/subnets/{subnet['id']}&type=ipam.reservation.*&wait=30").json()
        (event,) = told["events"]
        wait_until(
            lambda: any(event["subject"] in line for line in heard.lines()),
            60,
            "the bus to tell of the reservation",
        )


def said_by(*arguments: str, expected: str) -> None:
    """`ipam` with *arguments* says *expected* and goes on trying."""
    command = [sys.executable, "-m", "ipam", "init-db", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        threading.Timer(SAYS_IT_WITHIN_S, process.kill).start()
        line = process.stderr.readline()
        process.kill()
    assert expected in line, line
    assert "Trying again in 1 s." in line


def test_consul_error_tells_question_answer_and_remedy(site: Site):
    agent = site.consul.url
    nobody = f"127.0.0.1:{free_port()}"
    said_by(
        *("--mongo", nobody, "--mongo-timeout-s", "1"),
        expected=f"MongoDB does not answer; tried {nobody}; check --mongo and that it runs there.",
    )
    said_by(
        *("--consul", nobody),
        expected=f"Consul at {nobody} was asked for the service 'mongodb', and there was no answer "
        "(ConnectionError); check --consul and that an agent runs there.",
    )
    said_by(
        *("--consul", agent, "--consul-mongo", "mongo"),
        expected=f"Consul at {agent} knows no service 'mongo', but consul, ",
    )
    port = free_port()
    check = {"TCP": f"127.0.0.1:{port}", "Interval": "1s", "Status": "critical"}
    site.consul.register("sick", port, Check=check)
    said_by(
        *("--consul", agent, "--consul-mongo", "mongodb://me:secret@sick/"),
        expected=f"Consul at {agent} knows no healthy instance of the service 'sick': 127.0.0.1:{port} is "
        "critical (",
    )
    site.consul.register("nowhere", port, Address="localhost")
    said_by(
        *("--consul", agent, "--consul-mongo", "nowhere", "--mongo-timeout-s", "1"),
        expected=f"MongoDB does not answer; tried localhost:{port} (127.0.0.1); check the service 'nowhere' in "
        f"Consul at {agent} and that it runs there.",
    )


def test_consul_service_that_says_no_scheme_is_asked_for_by_url(site: Site, tmp_path: Path):
    port = free_port()
    environment = {"IPAM_CONSUL": site.consul.url, "IPAM_CONSUL_BROKER": "queue"}
    site.consul.register("queue", site.redis.part.port)
    command = [sys.executable, "-m", "ipam", "serve", "--port", str(port)]
    web = Process(servers.ProcessSpec("web", command, port, environment), tmp_path / "web.log")
    web.start()
    expected = "Nothing says how to speak to the service 'queue': give --consul-broker a URL"
    wait_until(lambda: expected in (tmp_path / "web.log").read_text(), 30, "a line that says so")
    site.consul.register("queue", site.redis.part.port, "scheme=redis")
    wait_until(lambda: "serving on" in (tmp_path / "web.log").read_text(), 30, "the web process to serve")
    web.stop()


def test_consul_agent_of_compose_needs_its_token(tmp_path: Path):
    token = str(uuid4())
    content = yaml.safe_load(Path("docker-compose.yml").read_text())["configs"]["services"]["content"]
    configuration = json.loads(content.replace("${CONSUL_TOKEN:-}", token))
    acl = configuration["acl"]["tokens"]
    acl["master"] = acl.pop("initial_management")  # the name that the tests' older Consul knows
    (tmp_path / "services.json").write_text(json.dumps(configuration))
    consul = Consul(tmp_path, tmp_path / "services.json")
    consul.start()
    try:
        wait_until(lambda: len(consul.services(token)) == 2, SAYS_IT_WITHIN_S, "the services to be registered")
        assert {service["Service"] for service in consul.services(token).values()} == {"mongodb", "rabbitmq"}
        assert consul.services() == {}
        with pytest.raises(requests.HTTPError, match="403"):
            consul.register("mongodb", 27018)

        def answer(given: str | None) -> str:
            with pytest.raises(Transient) as told:
                ConsulAgent(Settings(consul=consul.url, consul_token=given)).instances(
                    Service.parse("mongodb", "--consul-mongo", ("mongodb",))
                )
            return told.value.detail

        wait_until(lambda: "mongodb:27017" in answer(token), SAYS_IT_WITHIN_S, "the services to be found")
        assert "check --consul-token" in answer(None)
    finally:
        consul.stop()
