"""Answers and the questions that they are to; what needs a bus is in tests/integration/test_buses.py."""

import threading
from pathlib import Path

import click
import pytest

from ipam.cli.hooks import load_function
from ipam.events.answering import answer_with
from ipam.events.asking import Awaited, BusAsker, MovingAsker
from ipam.hooks import Unanswered


def test_the_first_answer_counts_and_only_while_it_is_waited_for():
    awaited = Awaited()
    futures = awaited.expect(3)
    first, second, third = futures
    awaited.hear(first, b"one")
    awaited.hear(first, b"two")
    awaited.hear("nobody asked", b"three")
    threading.Timer(0.05, awaited.hear, (second, b"later")).start()
    answers = awaited.collect({key: futures[key] for key in (first, second)}, 30)
    assert answers == [b"one", b"later"]
    assert awaited.collect({third: futures[third]}, 0) == [Unanswered("no answer within 0 s")]
    awaited.hear(third, b"too late")
    assert futures[third].result() == Unanswered("no answer within 0 s")


@pytest.mark.parametrize("url", ["amqp://me:secret@127.0.0.1:1//", "nats://me:secret@127.0.0.1:1"])
def test_a_bus_that_is_not_there_is_said_at_once_and_without_its_password(url):
    asker = BusAsker(url)
    (answer,) = asker.ask("ipam-hooks.x", [b"{}"], 30)
    assert "127.0.0.1:1// is out of reach" in answer.why or "127.0.0.1:1 is out of reach" in answer.why
    assert "secret" not in answer.why
    asker.close()


def test_while_nobody_knows_where_the_bus_is_nobody_can_be_asked():
    assert MovingAsker("--consul-bus").ask("ipam-hooks.x", [b"{}"], 1) == [
        Unanswered("nobody knows yet where the bus is: --consul-bus")
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
def test_what_a_function_makes_of_a_question_is_an_answer_whatever_it_is(function, answer):
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
