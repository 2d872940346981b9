"""Answers and the questions that they are to; what needs a bus is in tests/integration/test_buses.py."""

import threading
from dataclasses import replace
from pathlib import Path

import click
import pytest

from ipam.cli.hooks import load_function
from ipam.errors import InvalidSettings
from ipam.hooks.client import BusHookClient, FailoverHookClient
from ipam.hooks.config import Hook, Silence
from ipam.hooks.consumer import answer_with
from ipam.hooks.session import PendingAnswers, Question
from ipam.hooks.signing import Secret

HOOK = Hook(name="x", changes=frozenset(), subject="ipam-hooks.x", timeout_s=30, silence_allows=False)


def asked(pending: PendingAnswers, secret: Secret | None = None) -> Question:
    question = Question(b"{}", secret)
    pending.expect(question)
    return question


def test_the_first_answer_counts_and_only_while_it_is_waited_for():
    pending = PendingAnswers()
    first, second, third = (asked(pending) for _ in range(3))
    pending.resolve(first.key, b"one")
    pending.resolve(first.key, b"two")
    pending.resolve("nobody asked", b"three")
    threading.Timer(0.05, pending.resolve, (second.key, b"later")).start()
    assert pending.collect([first, second], 30) == [b"one", b"later"]
    assert pending.collect([third], 0) == [Silence("no answer within 0 s")]
    pending.resolve(third.key, b"too late")
    assert third.answer.result() == Silence("no answer within 0 s")


def test_an_answer_counts_only_if_the_secret_has_signed_it_for_this_very_question():
    pending, secret, other = PendingAnswers(), Secret(b"s" * 16), Secret(b"o" * 16)
    question, neighbour = asked(pending, secret), asked(pending, secret)
    yes = b'{"allow":true}'
    for headers in (
        None,
        {},
        other.headers("answer", question.key, yes),
        secret.headers("answer", neighbour.key, yes),
        secret.headers("question", question.key, yes),
        secret.headers("answer", question.key, b'{"allow":false}'),
    ):
        pending.resolve(question.key, yes, headers)
    assert not question.answer.done()
    pending.resolve(question.key, yes, secret.headers("answer", question.key, yes))
    assert pending.collect([question], 30) == [yes]
    pending.resolve(neighbour.key, yes)
    (unheard,) = pending.collect([neighbour], 0)
    assert unheard == Silence("no answer within 0 s, but one that the secret has not signed")
    # That nobody is there is the bus's word, and needs no signature.
    gone = asked(pending, secret)
    pending.resolve(gone.key, Silence("nobody is there"))
    assert pending.collect([gone], 30) == [Silence("nobody is there")]


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "No such file"), (b"", "holds 0 bytes"), (b" short\n", "holds 5 bytes, and at least")],
)
def test_a_secret_that_is_none_is_said_with_where_it_was_named(content, fault, tmp_path: Path):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(InvalidSettings, match=f"--secret-file=.*{fault}"):
        Secret.read(tmp_path / "secret", "--secret-file")
    (answer,) = BusHookClient("nats://127.0.0.1:1").ask(replace(HOOK, secret_file=tmp_path / "secret"), [b"{}"])
    assert fault in answer.reason


@pytest.mark.parametrize("url", ["amqp://me:secret@127.0.0.1:1//", "nats://me:secret@127.0.0.1:1"])
def test_a_bus_that_is_not_there_is_said_at_once_and_without_its_password(url):
    client = BusHookClient(url)
    (answer,) = client.ask(HOOK, [b"{}"])
    assert "127.0.0.1:1// is out of reach" in answer.reason or "127.0.0.1:1 is out of reach" in answer.reason
    assert "secret" not in answer.reason
    client.close()


def test_hook_client_without_a_known_bus_gets_no_answer():
    assert FailoverHookClient("--consul-bus").ask(HOOK, [b"{}"]) == [
        Silence("it is not known yet where the bus is: --consul-bus")
    ]


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (lambda _: None, b'{"allow":true}'),
        (lambda change: {"allow": False, "reason": change["change"]}, b'{"allow":false,"reason":"pool.create"}'),
        (lambda change: change["after"], b'{"error":"KeyError"}'),
        (lambda _: {"allow": object()}, b'{"error":"TypeError"}'),
    ],
)
def test_consumer_answers_whatever_its_function_returns(function, answer):
    assert answer_with(function, b'{"change": "pool.create"}') == answer


def test_a_function_is_found_in_a_module_of_the_current_folder(tmp_path: Path, monkeypatch):
    (tmp_path / "inventory_of_a_test.py").write_text("def check(change): return None\nnumber = 7\n")
    (tmp_path / "broken_in_a_test.py").write_text("import no_such_module_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert load_function(None, None, "inventory_of_a_test:check")({}) is None
    for spelled, fault in (
        ("inventory_of_a_test", "is not MODULE:FUNCTION"),
        ("inventory_of_a_test:", "is not MODULE:FUNCTION"),
        ("inventory_of_a_test:number", "has no function 'number'"),
        ("inventory_of_a_test:none", "has no function 'none'"),
        ("no_such_module_here:check", "there is no module 'no_such_module_here'"),
    ):
        with pytest.raises(click.BadParameter, match=fault):
            load_function(None, None, spelled)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        load_function(None, None, "broken_in_a_test:check")
