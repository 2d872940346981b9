"""Where a web process listens."""

import threading

import falcon
import pytest

from ipam.api.server import Server, listen_on
from ipam.errors import InvalidSettings


def test_a_host_that_cannot_be_listened_on_is_named():
    host = "x" * 70  # Too long to be looked up anywhere.
    with pytest.raises(InvalidSettings, match=f"Cannot listen on {host}:80: .*choose another --host"):
        listen_on(host, 80)


def test_who_has_bound_a_port_and_is_late_to_listen_is_told_that_it_is_taken(monkeypatch):
    """Between binding and listening lies the wait for the database."""
    (quicker,) = listen_on("127.0.0.1", 0)
    port = quicker.getsockname()[1]
    (later,) = listen_on("127.0.0.1", port)
    quicker.listen()
    monkeypatch.setattr("ipam.api.server.create_server", lambda *_, **__: later.listen())
    with quicker, later, pytest.raises(InvalidSettings, match=f"Cannot listen on 127.0.0.1:{port}: "):
        Server(falcon.App(), sockets=[later], threads=4, stopping=threading.Event(), stop_timeout_s=1)
