"""What hooks are asked and what comes of their answers; without a server, for logic only."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation.provisioning import SubnetSpec
from ipam.errors import HookUnavailable, NotFound, RejectedByHook, Stale, Transient, ValidationFailed
from ipam.hooks.admission import AdmissionController
from ipam.hooks.config import CHANGES, Hook, Silence
from ipam.models.audit_context import current_audit_context, set_audit_context
from ipam.models.job import JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.wiring import Services, build_services
from tests.support.steps import carry_out, let_claims_run_out, make_subnet, used
from tests.support.stored import leases_of

YES = {"allow": True}
Says = Callable[[dict], object]


class Consumers:
    """Whoever is asked; each hook says what its function makes of the question, or is silent."""

    def __init__(self, **says: Says) -> None:
        self.says = says
        self.asked: list[dict] = []
        self.at_once: list[int] = []

    def ask(self, _hook, questions):
        self.at_once.append(len(questions))
        return [self._answer(json.loads(question)) for question in questions]

    def _answer(self, question):
        self.asked.append(question)
        said = self.says[question["hook"]](question)
        return said if isinstance(said, bytes | Silence) else json.dumps(said).encode()


def hook(name: str, *changes: str, silence_allows: bool = False) -> Hook:
    return Hook(
        name=name,
        changes=frozenset(changes or CHANGES),
        subject=f"ipam-hooks.{name}",
        timeout_s=1,
        silence_allows=silence_allows,
    )


@pytest.fixture
def with_hooks(stores: Stores, dispatcher):
    """Services with some hooks, and whoever is asked by them."""

    def build(*hooks: Hook, **says: Says) -> tuple[Services, Consumers]:
        consumers = Consumers(**says)
        return build_services(stores, Settings(), dispatcher, AdmissionController(hooks, consumers)), consumers

    yield build
    set_audit_context(None)


def patching(**fields) -> Says:
    return lambda _: {"allow": True, "patch": fields}


def refusing(reason: str) -> Says:
    return lambda _: {"allow": False, "reason": reason}


def request(services: Services, subnet, **fields):
    return services.job_queue.accept(ObjectId(), subnet, ReservationRequest(**fields))


def test_resource_is_created_as_hooks_amended_it_one_after_the_other(with_hooks):
    services, consumers = with_hooks(
        hook("first"),
        hook("second"),
        first=patching(metadata={"a": 1}),
        second=patching(tags=["t"], metadata={"b": 2}),
    )
    pool = services.provisioner.create_pool(Pool(id=ObjectId(), name="p", metadata={"c": 3}))
    assert (pool.name, pool.tags, pool.metadata) == ("p", ("t",), {"c": 3, "a": 1, "b": 2})
    assert services.stores.pools.get(pool.id).metadata == pool.metadata
    first, second = consumers.asked
    assert (first["hook"], first["change"], first["before"]) == ("first", "pool.create", None)
    assert (first["after"]["id"], first["after"]["metadata"]) == (str(pool.id), {"c": 3})
    assert second["after"]["metadata"] == {"c": 3, "a": 1}
    assert current_audit_context().amended_by == "first, second"


def test_refusal_of_a_hook_prevents_the_change_and_asks_no_further_hook(with_hooks, plain):
    services, consumers = with_hooks(
        hook("first"), hook("second"), first=refusing("too many"), second=lambda _: YES
    )
    with pytest.raises(RejectedByHook) as caught:
        services.provisioner.create_pool(Pool(id=ObjectId()))
    assert caught.value.facts == {"hook": "first", "reason": "too many"}
    assert caught.value.detail == "The hook first does not allow it: too many"
    assert [asked["hook"] for asked in consumers.asked] == ["first"]
    assert plain["pools"].count_documents({"state": "active"}) == 0


def test_hook_is_asked_only_about_changes_that_it_declares(with_hooks):
    services, consumers = with_hooks(hook("one", "subnet.create"), one=lambda _: YES)
    make_subnet(services)
    assert [asked["change"] for asked in consumers.asked] == ["subnet.create"]


def test_a_hook_may_be_for_what_is_in_some_pools_and_subnets_only(with_hooks):
    one, other = ObjectId(), ObjectId()
    within = replace(hook("one"), within=frozenset([f"/pools/{one}"]))
    services, consumers = with_hooks(within, one=lambda _: YES)
    for pool in (one, other):
        services.provisioner.create_pool(Pool(id=pool))
        draft = SubnetSpec(start=ip_address("10.0.0.1"), end=ip_address("10.0.0.9"))
        subnet = services.provisioner.create_subnet(ObjectId(), pool, draft)
        jobs = [
            services.job_queue.accept(ObjectId(), services.stores.pools.get(pool), ReservationRequest()),
            request(services, subnet),
        ]
        carry_out(services, pool)
        carry_out(services, subnet.id)
        (lease,) = leases_of(services.stores, jobs[0].reservation)
        services.releaser.release_lease(lease.id)
        services.releaser.release_reservation(jobs[1].reservation)
        services.cascade_deleter.delete_pool(pool)
    assert [asked["change"] for asked in consumers.asked] == [
        *("pool.create", "subnet.create", "reservation.create", "reservation.create"),
        *("lease.delete", "reservation.delete", "pool.delete"),
    ]
    assert consumers.asked[0]["after"]["id"] == str(one)
    assert services.admission.dry_run("subnet.create", None, {"pool": str(other)})[1] is None
    assert len(consumers.asked) == 7


def test_hooks_are_shown_how_much_of_a_subnet_is_taken(with_hooks):
    changes = ("subnet.create", "subnet.update", "subnet.delete")
    services, consumers = with_hooks(hook("one", *changes), one=lambda _: YES)
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    draft = SubnetSpec(start=ip_address("10.0.0.1"), end=ip_address("10.0.0.9"))
    subnet = services.provisioner.create_subnet(ObjectId(), pool.id, draft)
    request(services, subnet)
    carry_out(services, subnet.id)
    services.stores.subnets.describe(
        subnet.id, lambda old: services.admission.review_update(old, replace(old, name="changed"))
    )
    services.cascade_deleter.delete_subnet(subnet.id)
    created, updated, deleted = (asked["after"] or asked["before"] for asked in consumers.asked)
    assert [(one["used"], one["free"]) for one in (created, updated, deleted)] == [(0, 9), (1, 8), (1, 8)]


def test_a_subnet_that_is_refused_leaves_nothing_and_holds_no_range(with_hooks, plain):
    services, _ = with_hooks(hook("one", "subnet.create"), one=refusing("no"))
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    draft = SubnetSpec(start=ip_address("10.0.0.1"), end=ip_address("10.0.0.9"))
    with pytest.raises(RejectedByHook):
        services.provisioner.create_subnet(ObjectId(), pool.id, draft)
    assert plain["subnets"].count_documents({"state": {"$ne": "deleted"}}) == 0
    assert list(services.stores.pools.holders(pool.id)) == []
    with pytest.raises(NotFound):  # Which is said without asking anybody.
        services.provisioner.create_subnet(ObjectId(), ObjectId(), draft)


@pytest.mark.parametrize("kind", ["pool", "subnet"])
def test_a_request_that_comes_twice_is_refused_or_allowed_as_a_whole(with_hooks, kind):
    """Whatever a hook says the other time: the effect of the first one is that of both."""
    answers = [{"allow": False}, YES, YES, {"allow": False}]
    services, _ = with_hooks(hook("one", f"{kind}.create"), one=lambda _: answers.pop(0))
    around = services.provisioner.create_pool(Pool(id=ObjectId())) if kind == "subnet" else None
    draft = SubnetSpec(start=ip_address("10.0.0.1"), end=ip_address("10.0.0.9"))

    def create(id_: ObjectId):
        if around is None:
            return services.provisioner.create_pool(Pool(id=id_))
        return services.provisioner.create_subnet(id_, around.id, draft)

    refused, allowed = ObjectId(), ObjectId()
    with pytest.raises(RejectedByHook):
        create(refused)
    with pytest.raises(NotFound):
        create(refused)
    assert create(allowed).id == allowed
    assert create(allowed).id == allowed
    assert answers == []


def test_an_update_is_shown_with_what_was_there_before_and_not_asked_about_if_nothing_changes(with_hooks):
    services, consumers = with_hooks(hook("one", "pool.update"), one=patching(tags=["seen"]))
    pool = services.provisioner.create_pool(Pool(id=ObjectId(), name="old"))
    reviewed = services.admission.review_update(pool, replace(pool, name="new"))
    assert (reviewed.name, reviewed.tags) == ("new", ("seen",))
    asked = consumers.asked.pop()
    assert (asked["before"]["name"], asked["after"]["name"]) == ("old", "new")
    assert services.admission.review_update(pool, replace(pool)) == pool
    assert services.admission.review_update(replace(pool, metadata=0), replace(pool, metadata=False)).tags == (
        "seen",
    )
    assert len(consumers.asked) == 1


def test_deletion_refused_by_a_hook_leaves_the_resource(with_hooks):
    services, consumers = with_hooks(
        hook("one", *(c for c in CHANGES if c.endswith("delete"))), one=refusing("in use")
    )
    subnet = make_subnet(services)
    job = request(services, subnet)
    carry_out(services, subnet.id)
    (lease,) = leases_of(services.stores, job.reservation)
    for delete, id_ in (
        (services.releaser.release_lease, lease.id),
        (services.releaser.release_reservation, job.reservation),
        (services.cascade_deleter.delete_subnet, subnet.id),
        (services.cascade_deleter.delete_pool, subnet.pool),
    ):
        with pytest.raises(Stale):  # Before anybody is asked.
            delete(id_, frozenset([99]))
        with pytest.raises(RejectedByHook, match="in use"):
            delete(id_)
    assert used(services, subnet) == 1
    assert [(asked["change"], asked["after"]) for asked in consumers.asked] == [
        ("lease.delete", None),
        ("reservation.delete", None),
        ("subnet.delete", None),
        ("pool.delete", None),
    ]
    assert [asked["before"]["id"] for asked in consumers.asked] == [
        str(id_) for id_ in (lease.id, job.reservation, subnet.id, subnet.pool)
    ]


def test_deletion_needs_the_revision_that_the_hook_was_shown(with_hooks):
    """It is changed while the hook is asked: so that is asked again, unless a revision was named."""
    shown: list[str] = []

    def say(question):
        shown.append(question["before"]["name"])
        if len(shown) == 1:
            services.stores.pools.describe(pool.id, lambda old: replace(old, name=f"not {old.name}"))
        return YES

    services, _ = with_hooks(hook("one", "pool.delete"), one=say)
    pool = services.provisioner.create_pool(Pool(id=ObjectId(), name="so"))
    with pytest.raises(Stale):
        services.cascade_deleter.delete_pool(pool.id, frozenset([pool.revision]))
    shown.clear()
    services.cascade_deleter.delete_pool(pool.id)
    assert shown == ["not so", "not not so"]
    with pytest.raises(NotFound):
        services.stores.pools.get(pool.id)


def test_a_patch_to_a_deletion_means_nothing(with_hooks):
    services, _ = with_hooks(hook("one", "pool.delete"), one=patching(name="x"))
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    services.cascade_deleter.delete_pool(pool.id)
    assert current_audit_context().amended_by is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Silence("no answer within 1 s"), "no answer within 1 s"),
        (b"yes", "its answer cannot be used"),
        (b"\xff", "its answer cannot be used"),
        (b"[" * 100_000, "its answer cannot be used"),
        ([], "it is no JSON object"),
        ({}, "neither"),
        ({"error": "LookupError"}, "its function failed with LookupError"),
        ({"allow": "true"}, "neither"),
        ({"allow": 1}, "neither"),
    ],
)
@pytest.mark.parametrize("silence_allows", [True, False])
def test_hook_without_a_usable_answer_counts_as_its_silence_says(with_hooks, caplog, said, why, silence_allows):
    services, _ = with_hooks(hook("one", silence_allows=silence_allows), one=lambda _: said)
    pool = Pool(id=ObjectId(), name="p")
    for time in (1, 2):
        caplog.clear()
        if silence_allows:
            assert services.provisioner.create_pool(replace(pool, id=ObjectId())).name == "p"
        else:
            with pytest.raises(HookUnavailable) as caught:
                services.provisioner.create_pool(pool)
            assert why in caught.value.facts["reason"]
        assert why in caplog.text
        assert f"({time} times since this process began)" in caplog.text
    assert current_audit_context().amended_by is None


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ([], "its patch is no JSON object"),
        ({"count": 2}, "/count: is not a field"),
        ({"name": 7}, "/name"),
        ({"metadata": "x" * 70_000}, "/metadata"),
    ],
)
@pytest.mark.parametrize("silence_allows", [True, False])
def test_a_change_is_not_made_without_a_patch_that_cannot_be_used(with_hooks, patch, why, silence_allows):
    """Silence is for no answer: this one allows the change as amended, and in no other way."""
    services, _ = with_hooks(
        hook("one", silence_allows=silence_allows), one=lambda _: {"allow": True, "patch": patch}
    )
    pool = Pool(id=ObjectId())
    with pytest.raises(RejectedByHook, match="its patch cannot be used") as caught:
        services.provisioner.create_pool(pool)
    assert why in caught.value.facts["reason"]
    with pytest.raises(NotFound):
        services.stores.pools.get(pool.id)


def test_a_patch_that_changes_nothing_does_not_amend(with_hooks):
    services, _ = with_hooks(hook("one"), one=patching(name="p", metadata={"gone": None}))
    services.provisioner.create_pool(Pool(id=ObjectId(), name="p", metadata={"a": 1}))
    assert current_audit_context().amended_by is None


def test_a_reservation_is_made_as_it_was_amended(with_hooks, plain, dispatcher):
    services, consumers = with_hooks(hook("one", "reservation.create"), one=patching(metadata={"serial": 7}))
    subnet = make_subnet(services)
    job = request(services, subnet, name="r", metadata={"mac": "a"}, count=2)
    dispatcher.dispatched.clear()
    carry_out(services, subnet.id)
    made = services.stores.reservations.get(job.reservation)
    assert (made.name, made.metadata, made.count) == ("r", {"mac": "a", "serial": 7}, 2)
    (asked,) = consumers.asked
    assert asked["after"] == {
        "id": str(job.reservation),
        "pool": str(subnet.pool),
        "subnet": str(subnet.id),
        "name": "r",
        "tags": [],
        "metadata": {"mac": "a"},
        "count": 2,
    }
    ended = services.stores.jobs.get(job.id)
    assert (ended.state, ended.attempts, ended.audit_context.amended_by) == (JobState.SUCCEEDED, 1, "one")
    assert dispatcher.dispatched == [subnet.id]
    told = [event for event in plain["events"].find({}) if "ipam.reservation.created" in str(event)]
    assert len(told) == 1
    assert "'amended_by': 'one'" in str(told[0])


def test_request_refused_by_a_hook_takes_nothing_from_those_beside_it(with_hooks):
    def say(question):
        return YES if question["after"]["name"] == "good" else {"allow": False, "reason": "bad"}

    services, consumers = with_hooks(hook("one", "reservation.create"), one=say)
    subnet = make_subnet(services, 4)
    jobs = [request(services, subnet, name=name) for name in ("good", "bad", "good", "bad")]
    carry_out(services, subnet.id)
    assert consumers.at_once == [4]
    ended = [services.stores.jobs.get(job.id) for job in jobs]
    assert [job.state for job in ended] == [JobState.SUCCEEDED, JobState.FAILED] * 2
    assert ended[1].error["slug"] == "rejected"
    assert ended[1].error["facts"] == {"hook": "one", "reason": "bad"}
    assert used(services, subnet) == 2


def test_hook_is_asked_again_when_the_worker_dies_while_asking(with_hooks):
    answers = [Exception("the worker dies here"), YES]

    def say(_question):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise KeyboardInterrupt
        return answer

    services, consumers = with_hooks(hook("one", "reservation.create"), one=say)
    subnet = make_subnet(services, 4)
    job = request(services, subnet)
    with pytest.raises(KeyboardInterrupt):
        services.job_runner.run(subnet.id)
    services.job_runner.run(subnet.id)
    assert len(consumers.asked) == 1
    let_claims_run_out(services)
    carry_out(services, subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED
    assert [asked["after"]["id"] for asked in consumers.asked] == [str(job.reservation)] * 2


def test_worker_that_lost_its_jobs_while_asking_hooks_changes_nothing(with_hooks):
    """Its answers come when another has them in hand already."""

    def say(question):
        if len(consumers.asked) == 1:
            let_claims_run_out(services)
            carry_out(services, subnet.id)
            return {"allow": False, "reason": "late"}
        return YES

    services, consumers = with_hooks(hook("one", "reservation.create"), one=say)
    subnet = make_subnet(services, 4)
    job = request(services, subnet)
    carry_out(services, subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED
    assert used(services, subnet) == 1


def test_a_worker_does_other_work_while_answers_are_waited_for(stores, dispatcher):
    asked, answered = threading.Event(), threading.Event()

    def say(question):
        asked.set()
        answered.wait(30)
        return YES

    consumers = Consumers(one=say)
    admission = AdmissionController([hook("one", "reservation.create")], consumers, max_background=1)
    services = build_services(stores, Settings(), dispatcher, admission)
    subnet = make_subnet(services, 4)
    job = request(services, subnet)
    services.job_runner.run(subnet.id)  # Though nobody has answered yet.
    assert asked.wait(30)
    assert services.stores.jobs.get(job.id).state is JobState.RUNNING
    dispatcher.dispatched.clear()
    answered.set()
    admission.drain(30)
    assert dispatcher.dispatched == [subnet.id]
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("silence_allows", [True, False])
def test_a_worker_that_does_not_know_of_a_hook_carries_nothing_out(with_hooks, stores, dispatcher, silence_allows):
    """Whatever is declared for silence, for this one has not been asked."""
    services, consumers = with_hooks(
        hook("one", silence_allows=silence_allows), hook("other"), one=lambda _: YES, other=lambda _: YES
    )
    subnet = make_subnet(services, 4)
    consumers.asked.clear()
    for declared in ((), (hook("other"),)):
        job = request(services, subnet)
        assert job.hooks == ("one", "other")
        carry_out(
            build_services(stores, Settings(), dispatcher, AdmissionController(declared, consumers)), subnet.id
        )
        ended = services.stores.jobs.get(job.id)
        assert (ended.state, ended.error["slug"]) == (JobState.FAILED, "unavailable")
        assert ended.error["facts"]["hook"] == "one"
    assert used(services, subnet) == 0
    job = request(services, subnet)
    carry_out(services, subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED


def test_as_many_changes_wait_for_hooks_as_there_are_places(stores, dispatcher):
    """Whatever the hook declares for silence: it has not been asked."""
    asked, answered = threading.Event(), threading.Event()

    def say(_):
        asked.set()
        assert answered.wait(30)
        return YES

    admission = AdmissionController(
        [hook("one", "pool.create", silence_allows=True)], Consumers(one=say), max_waiting=1
    )
    services = build_services(stores, Settings(), dispatcher, admission)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(services.provisioner.create_pool, Pool(id=ObjectId(), name="first"))
        assert asked.wait(30)
        with pytest.raises(Transient, match="As many changes as may wait for hooks"):
            services.provisioner.create_pool(Pool(id=ObjectId(), name="second"))
        answered.set()
        assert first.result(30).name == "first"
    assert services.provisioner.create_pool(Pool(id=ObjectId(), name="third")).name == "third"


def test_a_change_can_be_rehearsed(with_hooks):
    services, _ = with_hooks(hook("one"), one=patching(metadata={"serial": 7}))
    admission = services.admission
    after, amended_by = admission.dry_run("pool.create", None, {"id": "x", "metadata": {"a": 1}})
    assert (after["id"], after["metadata"], amended_by) == ("x", {"a": 1, "serial": 7}, "one")
    assert admission.dry_run("pool.delete", {"id": "x"}, None) == (None, None)
    with pytest.raises(ValidationFailed, match="/name"):
        admission.dry_run("pool.create", None, {"name": 7})
