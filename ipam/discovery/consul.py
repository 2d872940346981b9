"""Speaking to a Consul agent, and looking up where a service is."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import consul
import requests
from requests.adapters import HTTPAdapter

from ipam.discovery.endpoints import FileEndpoint, resolved
from ipam.discovery.service import Instance, Service
from ipam.errors import InvalidSettings, Transient
from ipam.settings import Settings
from ipam.util.retry import retry_until_available
from ipam.util.urls import in_url

log = logging.getLogger(__name__)
_DEFAULT_PORT = 8500
_CONNECT_TIMEOUT_S = 2.0
_TIMEOUT_S = 2.0
# How long the agent holds back an answer that would be the same as the last one; it adds up to a sixteenth.
_WATCH_S = 60
_WATCH_TIMEOUT_S = _WATCH_S * 1.25 + _TIMEOUT_S
# Between two questions, however fast the agent answers.
_PAUSE_S = 0.1
_AFTER_FAILURE_S = 2.0
_PASSING = "passing"
_SHOWN = 200


class ConsulAgent:
    """A Consul agent.

    Its token is sent in a header: in a URL, where python-consul puts it, it would get into logs.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the client of the agent that *settings* name; nothing is connected yet."""
        url = urlsplit(settings.consul_url())
        host, port = in_url(url.hostname or ""), url.port or _DEFAULT_PORT
        self._server = f"{host}:{port}"
        self.shown = f"{url.scheme}://{self._server}"
        certificate = (settings.consul_cert, settings.consul_key) if settings.consul_key else settings.consul_cert
        self._client = consul.Consul(
            host=host,
            port=port,
            scheme=url.scheme,
            dc=settings.consul_dc,
            verify=settings.consul_ca or True,
            cert=certificate,
        )
        session = self._client.http.session
        session.trust_env = False  # An agent is near: no proxy is between.
        session.mount(f"{url.scheme}://", _Bounded())
        self._settings = settings
        self._token = settings.consul_token
        self._refused: set[str] = set()

    def instances(self, service: Service, index: str | None = None) -> tuple[str, list[Instance]]:
        """Return the healthy instances of *service*, at least one, and the index of this answer.

        Given the *index* of the last answer, this one comes when it is another, or after a minute.

        Raises:
            NoHealthyInstance: If there is none; it has the index of the answer.
            Transient: If the agent does not answer, or refuses to.
        """
        with self._asking(f"for the service {service.name!r}"):
            now, entries = self._client.health.service(service.name, index=index, wait=f"{_WATCH_S}s")
        healthy = [_instance(entry) for entry in entries or () if _is_healthy(entry)]
        refused = {instance.server: why for instance in healthy if (why := service.refusal(instance)) is not None}
        for server in refused.keys() - self._refused:
            log.warning(
                "an instance of the service %r in Consul is not used: %s", service.name, refused[server][:_SHOWN]
            )
        self._refused = set(refused)
        usable = [instance for instance in healthy if instance.server not in refused]
        if not usable:
            raise NoHealthyInstance(self._why_none(service, entries or ()), now)
        return now, sorted(usable, key=lambda instance: instance.server)

    def knows(self, id_: str) -> bool:
        """Return whether something is registered with this agent as *id_*.

        Raises:
            Transient: If it does not answer, or refuses to.
        """
        with self._asking("what is registered with it"):
            return id_ in self._client.agent.services()

    def register(self, entry: Mapping[str, Any]) -> None:
        """Register *entry*, in the words of the agent's HTTP API, or replace what has the same id.

        Raises:
            Transient: If it does not answer, or refuses to.
        """
        # The clients' own method knows no `Meta`.
        with self._asking(f"to register {entry['ID']!r}"):
            answer = self._client.http.put(
                lambda response: response, "/v1/agent/service/register", data=json.dumps(entry)
            )
        if answer.code != requests.codes.ok:
            raise Transient(f"Consul at {self.shown} did not register {entry['ID']!r}: {answer.code} {answer.body}")

    def deregister(self, id_: str) -> None:
        """Remove what is registered as *id_*.

        Raises:
            Transient: If it does not answer, or refuses to.
        """
        with self._asking(f"to deregister {id_!r}"):
            self._client.agent.service.deregister(id_)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            self._client.http.session.headers.update(self._credentials())
            yield
        except (consul.ConsulException, requests.RequestException, ValueError) as error:
            said, look = f"it answered: {error}", "check --consul-dc, and what the agent's log says"
            if isinstance(error, (consul.ACLDisabled, consul.ACLPermissionDenied)):
                look = "check --consul-token and what it may do"
            elif not isinstance(error, consul.ConsulException):
                said = f"there was no answer ({type(error).__name__})"
                look = "check --consul and that an agent runs there"
                if isinstance(error, requests.exceptions.SSLError):
                    look = "check --consul-ca, --consul-cert and --consul-key"
            message = f"Consul at {resolved(self._server)} was asked {what}, and {said}; {look}."
            raise Transient(message) from error

    def _credentials(self) -> dict[str, str]:
        """Return the header with the token, read again from its file; what cannot be used there changes nothing."""
        if self._settings.consul_token_file is not None:
            with suppress(InvalidSettings):
                self._token = self._settings.read_again("consul_token")
        return {"X-Consul-Token": self._token} if self._token else {}

    def _why_none(self, service: Service, entries: Any) -> str:
        if entries:
            sick = "; ".join(_sickness(entry, service) for entry in entries)
            return (
                f"Consul at {self.shown} knows no healthy instance of the service {service.name!r}: {sick}; "
                "check that it runs there."
            )
        with self._asking("which services it knows"):
            _, known = self._client.catalog.services()
        if not known:
            return f"Consul at {self.shown} shows no service at all; check --consul-token and what it may see."
        return (
            f"Consul at {self.shown} knows no service {service.name!r}, but {', '.join(sorted(known))}; "
            f"check {service.flag} and that the service is registered."
        )


class NoHealthyInstance(Transient):
    """A service has no healthy instance.

    Attributes:
        index: Of the answer that said so.
    """

    def __init__(self, detail: str, index: str) -> None:
        super().__init__(detail)
        self.index = index


class ConsulEndpoint:
    """The place of a service that an agent knows.

    Args:
        text: What the setting says of the service.
        parse: Makes the service of that.
        file: Where the text stands, if it is a file that does; credentials are replaced there.
    """

    def __init__(
        self, agent: ConsulAgent, text: str, parse: Callable[[str], Service], file: FileEndpoint | None = None
    ) -> None:
        self._agent = agent
        self._parse = parse
        self._file = file
        self._service = parse(text)
        self._instances: list[Instance] = []
        self._known: str | None = None
        self._lock = threading.Lock()
        self.source = f"the service {self._service.name!r} in Consul at {agent.shown}"

    def find(self) -> str:
        """Implement `Endpoint`; the log says why there is no address yet."""

        def explain(error: Transient, pause_s: float) -> None:
            log.warning("%s Trying again in %.0f s.", error.detail, pause_s)

        def attempt() -> str:
            return self._service.address(self._agent.instances(self._service)[1])

        self._known = retry_until_available(attempt, explain)
        return self._known

    def follow(self, moved: Callable[[str], None]) -> None:
        """Implement `Endpoint`; while no instance is healthy, the former address stays in use."""
        name = f"follow-{self._service.name}"
        threading.Thread(target=self._watch, args=(moved,), name=name, daemon=True).start()
        if self._file is not None:
            self._file.follow(lambda text: self._be_at(moved, service=self._parse(text)))

    def _watch(self, moved: Callable[[str], None]) -> None:
        index: str | None = None
        said = ""
        while True:
            try:
                now, instances = self._agent.instances(self._service, index)
                # An index that falls is of an agent that begins anew.
                index = now if index is None or int(now) >= int(index) else None
                self._be_at(moved, instances=instances)
                said = ""
            except Transient as error:
                index = error.index if isinstance(error, NoHealthyInstance) else None
                if error.detail != said:
                    log.warning("%s Until then, what was known stays in use.", error.detail)
                said = error.detail
                time.sleep(_AFTER_FAILURE_S)
            except Exception:  # If the thread died, changes would not be followed any more.
                log.exception("following %s failed", self.source)
                time.sleep(_AFTER_FAILURE_S)
            time.sleep(_PAUSE_S)

    def _be_at(
        self,
        moved: Callable[[str], None],
        *,
        service: Service | None = None,
        instances: list[Instance] | None = None,
    ) -> None:
        with self._lock:
            self._service, self._instances = service or self._service, instances or self._instances
            if not self._instances:
                return
            address = self._service.address(self._instances)
            if address != self._known:
                if self._known is not None:
                    log.info("%s has moved", self.source)
                moved(address)
                self._known = address


class _Bounded(HTTPAdapter):
    """Gives every request a timeout; requests has none by default."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        is_watch = "index=" in (request.url or "")
        kwargs["timeout"] = (_CONNECT_TIMEOUT_S, _WATCH_TIMEOUT_S if is_watch else _TIMEOUT_S)
        return super().send(request, *args, **kwargs)


def _instance(entry: Any) -> Instance:
    service = entry["Service"]
    pairs = (tag.partition("=") for tag in service["Tags"] or ())
    return Instance(
        service["Address"] or entry["Node"]["Address"],
        service["Port"],
        {name: value for name, mark, value in pairs if mark},
    )


def _is_healthy(entry: Any) -> bool:
    return all(check["Status"] == _PASSING for check in entry["Checks"])


def _sickness(entry: Any, service: Service) -> str:
    instance = _instance(entry)
    if (refusal := service.refusal(instance)) is not None:
        return f"one is not used, for {refusal}"[:_SHOWN]
    worst = next(check for check in entry["Checks"] if check["Status"] != _PASSING)
    output = " ".join(worst["Output"].split())[:_SHOWN]
    return f"{resolved(instance.server)} is {worst['Status']} ({output or worst['Name']})"
