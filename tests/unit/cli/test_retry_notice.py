"""What is tried again is said once."""

from ipam.cli.retry_notice import RetryNotice


def test_a_reason_is_printed_when_it_changes_or_comes_back(capsys):
    notice = RetryNotice()
    for reason in ("a is away.", "a is away.", "b is away."):
        notice.show(reason)
    notice.clear()
    notice.show("b is away.")
    assert capsys.readouterr().err.splitlines() == [
        f"ipam: {one} is away. It is tried again each second." for one in "abb"
    ]
