"""The file that declares hooks: what it says, and what is said of it."""

from io import StringIO

import pytest

from ipam.cli.hooks import test_hooks as dry_run
from ipam.embedded.processes import ipam_parts
from ipam.errors import InvalidSettings
from ipam.hooks.config import CHANGES, Hook, read_hooks
from ipam.settings import Settings
from ipam.wiring import declared_hooks


def write(tmp_path, text: str) -> str:
    path = tmp_path / "hooks.toml"
    path.write_text(text)
    return str(path)


def test_hooks_are_read_in_the_order_of_the_file(tmp_path):
    path = write(
        tmp_path,
        """
        [[hook]]
        name = "inventory"
        changes = ["reservation.create", "subnet.*"]
        silence = "deny"
        [[hook]]
        name = "all"
        changes = ["*"]
        silence = "allow"
        timeout_s = 1
        subject = "there.and-there"
        within = ["/pools/6745a1e8c2d9a41f3b8e7d1f"]
        """,
    )
    first, second = read_hooks(path)
    assert first == Hook(
        name="inventory",
        changes=frozenset(["reservation.create", "subnet.create", "subnet.update", "subnet.delete"]),
        subject="ipam-hooks.inventory",
        timeout_s=2,
        silence_allows=False,
    )
    assert second.changes == frozenset(CHANGES)
    assert (first.within, second.within) == (frozenset(), frozenset(["/pools/6745a1e8c2d9a41f3b8e7d1f"]))
    assert (second.subject, second.timeout_s, second.silence_allows) == ("there.and-there", 1, True)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["hook: field required"]),
        ("hook = []", ["at least 1 item"]),
        ("[hook]", ["hook: input should be a valid list; a hook is a table [[hook]]"]),
        ("[[hook", ["Expected ']]'"]),
        ("[[hooks]]\nx = 1", ["hook: field required", "hooks: extra inputs"]),
        (
            '[[hook]]\nname = "A b"\nchanges = []\ntimeout_s = 0\n[[hook]]\nsilence = "maybe"\ntimeout = 1',
            [
                "hook 1, name: string should match",
                "hook 1, changes: list should have at least 1",
                "hook 1, timeout_s: input should be greater than 0",
                "hook 1, silence: field required",
                "hook 2, name: field required",
                "hook 2, silence: input should be 'allow' or 'deny'",
                "hook 2, timeout: extra inputs are not permitted; did you mean timeout_s?",
            ],
        ),
        (
            (
                '[[hook]]\nname = "a"\nchanges = ["lease.create"]\n'
                '[[hook]]\nname = "a"\nchanges = ["pool.make"]\nsilent = 1'
            ),
            [
                "hook 1, silence: field required",
                "hook 1 (a), changes: 'lease.create' is none",
                "hook 2, silent: extra inputs are not permitted; did you mean silence?",
                "hook 2 (a), changes: 'pool.make' is none",
                "several hooks are called 'a'",
            ],
        ),
        ('hook = [1, "a"]', ["hook 1: input should be a valid dict", "hook 2: input should be a valid dict"]),
        (
            '[[hook]]\nname = "a"\nchanges = ["lease.create", "pool.*"]\nsilence = "deny"\n' * 2,
            [
                "hook 1 (a), changes: 'lease.create' is none; there are pool.create, ",
                "hook 2 (a), changes: 'lease.create' is none",
                "several hooks are called 'a'; give each its own name",
            ],
        ),
        (
            '[[hook]]\nname = "a"\nchanges = ["*"]\nsilence = "deny"\nwithin = ["/pools/7"]',
            ["hook 1, within, 0: string should match"],
        ),
        ('[[hook]]\nname = "a"\nchanges = ["*"]\nsilence = "deny"\nsubject = "a.*"', ["hook 1, subject: string"]),
    ],
)
def test_hooks_file_tells_all_faults_at_once(tmp_path, text, faults):
    path = write(tmp_path, text)
    with pytest.raises(InvalidSettings) as caught:
        read_hooks(path)
    told = caught.value.detail
    assert all(line.startswith(f"--hooks={path}: ") for line in told.splitlines())
    assert [fault for fault in faults if fault not in told] == []


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidSettings, match=r"--hooks=.*none.toml: .*No such file"):
        read_hooks(str(tmp_path / "none.toml"))


def test_hooks_need_a_bus_on_which_somebody_can_be_asked(tmp_path):
    path = write(tmp_path, '[[hook]]\nname = "a"\nchanges = ["*"]\nsilence = "deny"')
    assert declared_hooks(Settings()) == ()
    assert len(declared_hooks(Settings(hooks=path, bus="amqp://there"))) == 1
    assert len(declared_hooks(Settings(hooks=path, consul="there", consul_bus="nats://events"))) == 1
    for bus in (None, "redis://there"):
        with pytest.raises(InvalidSettings, match="RabbitMQ or NATS"):
            declared_hooks(Settings(hooks=path, bus=bus))


def test_a_job_must_not_be_given_to_another_while_its_hooks_may_still_answer(tmp_path):
    hook = '[[hook]]\nname = "{}"\nchanges = ["reservation.create"]\nsilence = "deny"\ntimeout_s = 13\n'
    path = write(tmp_path, hook.format("a") + hook.format("b"))
    with pytest.raises(InvalidSettings, match="26 s together; give them less, or say --claim-timeout-s 31 or more"):
        declared_hooks(Settings(hooks=path, bus="amqp://there"))
    assert declared_hooks(Settings(hooks=path, bus="amqp://there", claim_timeout_s=31))


def test_a_change_that_breaks_a_rule_is_not_rehearsed(tmp_path):
    path = write(tmp_path, '[[hook]]\nname = "a"\nchanges = ["*"]\nsilence = "deny"')
    change = StringIO('{"change": "pool.create", "after": {"name": 7}}')
    change.name = "change.json"
    with pytest.raises(InvalidSettings, match=r'change\.json, "after": /name'):
        dry_run(Settings(hooks=path, bus="amqp://there"), change)


def test_up_gives_its_parts_bus_and_hooks_by_one_variable_each():
    said = ipam_parts(Settings(bus="nats://there", hooks="hooks.toml"), {})[0].environment
    assert (said["IPAM_BUS"], said["IPAM_BUS_FILE"], said["IPAM_HOOKS"]) == ("nats://there", "", "hooks.toml")
    unsaid = ipam_parts(Settings(), {})[0].environment
    assert not {"IPAM_BUS", "IPAM_BUS_FILE", "IPAM_HOOKS"} & unsaid.keys()
