"""One line when a part goes and one when it is back."""

import logging

from ipam.util.outages import Outage

log = logging.getLogger("ipam.test")


def test_an_outage_is_told_once_and_so_is_its_end(caplog):
    caplog.set_level(logging.INFO)
    outage = Outage(log, "the broker takes no message", "Check --broker.")
    outage.end()
    for _ in range(3):
        outage.begin("redis://here", OSError("refused"))
    outage.end()
    outage.end()
    outage.begin("redis://here", TimeoutError())
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "the broker takes no message at redis://here: OSError: refused. Check --broker."),
        ("INFO", "the broker takes no message: over"),
        ("WARNING", "the broker takes no message at redis://here: TimeoutError. Check --broker."),
    ]
