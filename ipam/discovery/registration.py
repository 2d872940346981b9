"""Being found: a web process's entry in Consul."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from ipam import __version__
from ipam.discovery.consul import ConsulAgent
from ipam.errors import Transient
from ipam.settings import Settings
from ipam.util.urls import in_url

log = logging.getLogger(__name__)
# How often the agent checks whether the process can do its work, and how long it waits for that.
_CHECK_EVERY = "3s"
_CHECK_TIMEOUT = "3s"
# Consul removes nothing sooner.
_SOONEST_REMOVAL_S = 60
# How often it is looked whether the agent still knows of the process: it may have begun anew.
_LOOK_EVERY_S = 5.0
_LEAVE_TIMEOUT_S = 1.0


class Registration:
    """Keeps an entry in an agent, until it is to leave."""

    def __init__(self, agent: ConsulAgent, entry: Mapping[str, Any]) -> None:
        self._agent = agent
        self._entry = entry
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="registration", daemon=True)

    def keep(self) -> None:
        """Register, as soon as the agent answers, and again whenever it has forgotten."""
        self._thread.start()

    def leave(self) -> None:
        """Deregister. Raises nothing that an agent could cause: it will find out for itself."""
        self._left.set()
        self._thread.join(_LEAVE_TIMEOUT_S)
        try:
            if not self._thread.is_alive():  # Else it waits for an agent that does not answer.
                self._agent.deregister(self._entry["ID"])
        except Transient as error:
            log.warning("%s", error.detail)

    def _keep(self) -> None:
        is_known, said = False, ""  # What may be there is of an earlier process.
        while not self._left.is_set():
            try:
                if not is_known or not self._agent.knows(self._entry["ID"]):
                    self._agent.register(self._entry)
                    is_known = True
                    log.info("registered with Consul at %s as %s", self._agent.shown, self._entry["ID"])
                said = ""
            except Transient as error:
                if error.detail != said:
                    log.warning("%s It will be tried again.", error.detail)
                said = error.detail
            self._left.wait(_LOOK_EVERY_S)


def entry_of_web(settings: Settings, port: int) -> dict[str, Any]:
    """Return the entry of a web process that listens on *port*.

    Where nothing else is said, its address is the one that it listens on; if that is all of them, the agent's own.
    """
    address = settings.consul_address or ("" if _is_any(settings.host) else settings.host)
    checked = in_url(address or ("::1" if ":" in settings.host else "127.0.0.1"))
    check = {
        "Name": "readyz",
        "HTTP": f"http://{checked}:{port}/readyz",
        "Header": {"Host": ["localhost"]},  # A name that it always answers to.
    }
    tags = [tag.strip() for tag in settings.consul_tags.split(",") if tag.strip()]
    entry = _entry(settings.consul_service, address, port, check, settings.consul_remove_after_s)
    return {**entry, "Tags": tags, "Meta": {"version": __version__}}


def entry_of_server(name: str, address: str, port: int) -> dict[str, Any]:
    """Return the entry of a server that listens already; it is gone soon after the server is."""
    check = {"Name": "connection", "TCP": f"{in_url(address)}:{port}", "Status": "passing"}
    return _entry(name, address, port, check, _SOONEST_REMOVAL_S)


def _entry(name: str, address: str, port: int, check: Mapping[str, Any], remove_after_s: int) -> dict[str, Any]:
    return {
        "ID": f"{name}-{address or socket.gethostname()}-{port}",
        "Name": name,
        "Address": address,
        "Port": port,
        "Check": {
            **check,
            "Interval": _CHECK_EVERY,
            "Timeout": _CHECK_TIMEOUT,
            "DeregisterCriticalServiceAfter": f"{remove_after_s}s",
        },
    }


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
