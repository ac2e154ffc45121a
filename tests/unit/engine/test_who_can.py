"""Who may do this, and what each needs for it."""

from engine_world import NOON, person, policies, ref, resource, workload

from limen.core.decision import Grant
from limen.core.entities import Status
from limen.engine.who_can import classify, who_can

STAFF = (
    '@id("staff") permit(principal in Group::"staff", action == Action::"read", resource == App::"payroll");'
)
PAYROLL = """@id("pay") forbid(principal, action, resource in Label::"phi") unless {
  context has session && context.session.phishing_resistant
  && context.session.auth_age <= duration("1h") && context has device && context.device.compliant };"""


def asked(cedar: str, subjects, target: str = "App::payroll", **kwargs):
    return who_can("read", ref(target), policies(cedar), subjects, resource(target), at=NOON, **kwargs)


def test_equal_subjects_make_one_class_with_one_answer() -> None:
    people = [person(f"p{n}", ("hr",) if n % 2 else ("contractors",)) for n in range(100)]
    allowed, denied = asked(STAFF, people)
    assert (len(allowed.subjects), allowed.allowed, allowed.policies) == (50, True, ("staff",))
    assert (len(denied.subjects), denied.allowed, denied.code) == (50, False, "NO_PERMIT")
    assert allowed.conditions == ()


def test_who_can_connect_and_no_one_connects_to_an_app() -> None:
    cedar = '@id("all") permit(principal in Group::"staff", action, resource);' + PAYROLL
    people = [person("p1", ("hr",)), person("p2", ("contractors",))]
    db = "Service::ledger-db"
    allowed, denied = who_can("connect", ref(db), policies(cedar), people, resource(db), at=NOON)
    assert (allowed.subjects, denied.subjects) == ((ref("User::p1"),), (ref("User::p2"),))
    assert [one.id for one in allowed.conditions] == ["passkey", "fresh-sign-in", "compliant-device"]
    for action, name in (("connect", "App::wiki"), ("read", "Service::bastion"), ("access", "App::wiki")):
        (only,) = who_can(action, ref(name), policies(cedar), people, resource(name), at=NOON)
        assert (only.allowed, only.code) == (False, "NO_PERMIT")


def test_conditions_are_all_that_is_needed_and_nothing_more() -> None:
    (only,) = asked(STAFF + PAYROLL, [person("p1", ("hr",))])
    assert only.allowed
    assert [one.id for one in only.conditions] == ["passkey", "fresh-sign-in", "compliant-device"]


def test_the_weaker_of_two_remedies_is_the_condition() -> None:
    mfa = '@id("mfa") forbid(principal, action, resource) unless { context.session.aal >= 2 };'
    (only,) = asked(STAFF + mfa, [person("p1", ("hr",))])
    assert [one.id for one in only.conditions] == ["second-factor"]


def test_office_hours_and_networks_are_conditions() -> None:
    bounds = """@id("b") forbid(principal, action, resource) unless {
      context.hour >= 20 && context.network.ip.isInRange(ip("10.0.0.0/8")) };"""
    (only,) = asked(STAFF + bounds, [person("p1", ("hr",))])
    assert [one.id for one in only.conditions] == ["later", "network:10.0.0.0/8"]
    assert only.conditions[0].at == NOON + 8 * 3600


def test_the_owner_is_told_apart_from_others() -> None:
    owner = """@id("own") permit(principal, action, resource)
        when { resource has owner && resource.owner == principal };"""
    allowed, denied = asked(owner, [person("ada"), person("eve"), person("bob")])
    assert (allowed.subjects, denied.subjects) == ((ref("User::ada"),), (ref("User::bob"), ref("User::eve")))


def test_attributes_that_are_read_divide_and_others_do_not() -> None:
    cedar = """@id("fin") permit(principal, action, resource) when {
      principal.attributes has department && principal.attributes.department == "finance" };"""
    people = [
        person("a", attributes={"department": "finance", "title": "x"}),
        person("b", attributes={"department": "finance", "title": "y"}),
        person("c", attributes={"title": "x"}),
    ]
    compiled = policies(cedar)
    assert len(classify(people, compiled, [resource("App::payroll")]).classes) == 2
    allowed, _ = asked(cedar, people)
    assert allowed.subjects == (ref("User::a"), ref("User::b"))


def test_a_grant_makes_its_holder_a_class_of_their_own() -> None:
    grant = Grant("g1", ref("User::eve"), ("read",), ref("App::payroll"), NOON + 60)
    allowed, _ = asked("", [person("ada"), person("eve")], grants={ref("User::eve"): (grant,)})
    assert (allowed.subjects, allowed.policies) == ((ref("User::eve"),), ("grant:g1",))


def test_a_grant_permits_exactly_the_actions_that_it_lists() -> None:
    people = [person("eve")]

    def may(action: str, target: str, *listed: str, on: str = "") -> bool:
        grant = Grant("g1", ref("User::eve"), listed, ref(on or target), NOON + 60)
        grants = {ref("User::eve"): (grant,)}
        found = who_can(action, ref(target), policies(""), people, resource(target), at=NOON, grants=grants)
        return found[0].allowed

    assert may("connect", "Service::ledger-db", "connect")
    assert may("write", "Route::payroll/exports", "write", on="App::payroll")
    assert may("connect", "Service::ledger-db", "read", "connect", on="Segment::prod")
    assert not may("connect", "Service::ledger-db", "read", "write", "admin")
    assert not may("write", "App::payroll", "read")
    assert not may("connect", "App::payroll", "connect")


def test_suspended_people_may_nothing_and_it_says_why() -> None:
    allowed, denied = asked(STAFF, [person("a", ("hr",)), person("b", ("hr",), status=Status.SUSPENDED)])
    assert (denied.subjects, denied.code) == ((ref("User::b"),), "SUBJECT_SUSPENDED")
    assert allowed.subjects == (ref("User::a"),)


def test_workloads_are_asked_for_too() -> None:
    cedar = '@id("w") permit(principal is Workload, action, resource);'
    allowed, denied = asked(cedar, [person("a"), workload("backup")])
    assert (allowed.subjects, denied.subjects) == ((ref("Workload::backup"),), (ref("User::a"),))


def test_what_is_forbidden_to_all_names_the_forbid() -> None:
    (only,) = asked(STAFF + '@id("no") forbid(principal, action, resource);', [person("a", ("hr",))])
    assert (only.allowed, only.policies, only.conditions) == (False, ("no",), ())


def test_progress_counts_every_subject() -> None:
    done: list[int] = []
    asked(STAFF, [person(f"p{n}", ("hr",) if n % 2 else ()) for n in range(10)], progress=done.append)
    assert sum(done) == 10


def test_classes_are_made_once_for_many_resources() -> None:
    compiled = policies(STAFF)
    resources = [resource("App::wiki"), resource("App::payroll")]
    classes = classify([person(f"p{n}", ("hr",)) for n in range(50)], compiled, resources)
    answers = [who_can("read", one.root, compiled, classes, one, at=NOON) for one in resources]
    assert [answer[0].allowed for answer in answers] == [False, True]
