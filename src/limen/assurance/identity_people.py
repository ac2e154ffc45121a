"""Checks of people, each a pure function from facts to rows: what is wrong, about whom, and its cure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from shlex import quote

from limen.assurance.identity_facts import DAY_S, IdentityFacts, PersonFacts, ReportRules, Row
from limen.core.ids import Instant

STRONG = frozenset({"passkey", "hardware-key"})
SECOND = frozenset({"totp", "recovery"})


def has_mfa(person: PersonFacts) -> bool | None:
    """Say whether somebody can prove two factors; None: not known."""
    if person.proven_aal is not None and person.proven_aal >= 2:
        return True
    if person.factors is None:
        return None
    first = "password" in person.factors or bool(person.providers)
    if STRONG.intersection(person.factors) or (first and "totp" in person.factors):
        return True
    return None if person.providers and person.proven_aal is None else False


def has_phishing_resistant(person: PersonFacts) -> bool | None:
    """Say whether somebody has a factor that no look-alike page can take; None: not known."""
    if person.proven_phishing_resistant:
        return True
    if person.factors is None:
        return None
    if STRONG.intersection(person.factors):
        return True
    return None if person.providers and person.proven_aal is None else False


def dormant(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """Active accounts that nobody has used for long."""
    for one in _active(facts):
        if one.signed_in_at is not None and facts.at - one.signed_in_at > rules.dormant_s:
            what = f"{one.id} signed in last {_ago(facts.at, one.signed_in_at)} ago."
            yield Row("dormant", one.id, "medium", what, _shut(one, "dormant"), one.signed_in_at)


def never_used(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """Active accounts that nobody has ever used, and that are not new."""
    for one in _active(facts):
        made = one.created_at
        if not one.uses_known or one.signed_in_at is not None or made is None:
            continue
        if facts.at - made > rules.never_used_s:
            what = f"{one.id} was made {_ago(facts.at, made)} ago, and has never signed in."
            cure = f"Send a link again: `limen user link {quote(one.id)}`; or: {_shut(one, 'never used')}"
            yield Row("never-used", one.id, "medium", what, cure, made)


def orphaned(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """Accounts and resources for which nobody answers any more."""
    present = {one.id for one in _active(facts)}
    for one in _active(facts):
        if facts.sources is not None and one.source != "local" and one.source not in facts.sources:
            what = f"{one.source}, which keeps {one.id}, is not in the bundle any more."
            yield Row("orphaned", one.id, "high", what, _unkept(one))
        for group, source in sorted(one.given.items()):
            if facts.sources is not None and source != "local" and source not in facts.sources:
                what = f"{source}, which put {one.id} into {group}, is not in the bundle any more."
                cure = f"If they need it no more: `limen group remove-member {quote(group)} {quote(one.id)}`."
                yield Row("orphaned", one.id, "medium", what, cure)
        if one.kind in ("partner", "contractor"):
            yield from _unsponsored(one, present)
        yield from (
            Row(
                "orphaned",
                one.id,
                "high",
                f"{said.source} has no active account of {one.id} any more, and they are active here.",
                f"If they left: `limen user suspend {quote(one.id)} --reason left`. Else turn it on there.",
            )
            for said in one.says
            if said.source == one.source and said.active is False
        )
    for resource in facts.resources or ():
        if resource.owner and resource.owner not in present:
            what = f"{resource.owner}, who answers for {resource.ref}, is not an active person here."
            cure = "Name another owner in limen.yaml: `owner:`; then `limen policy apply`."
            yield Row("orphaned", resource.ref, "medium", what, cure)


def disagreeing(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """People of whom two sources say different things."""
    by_email: dict[str, list[PersonFacts]] = defaultdict(list)
    for one in _active(facts):
        if one.email:
            by_email[one.email.casefold()].append(one)
        for said in one.says:
            if said.source != one.source and said.active is False:
                what = f"{said.source} says that {one.id} is turned off; {one.source} keeps them active."
                cure = f"Ask which is right. If they left: {_shut(one, 'left')}"
                yield Row("disagree", one.id, "high", what, cure)
            if said.email and said.email.casefold() != one.email.casefold():
                what = f"{said.source} has the address {said.email}; {one.source} has {one.email or 'none'}."
                cure = f"Correct it at {said.source}, or at {one.source}."
                yield Row("disagree", one.id, "low", what, cure)
        if one.groups_unknown:
            what = f"{one.groups_unknown} does not list the groups of {one.id}, so everything is denied."
            cure = "Let another source list them (`groups_from`), or have it send them."
            yield Row("disagree", one.id, "medium", what, cure)
    for email, same in by_email.items():
        if len(same) > 1:
            names = ", ".join(sorted(f"{one.id} ({one.source})" for one in same))
            what = f"{len(same)} active accounts have the address {email}: {names}."
            cure = "If they are one person, end all but one: `limen user set NAME --status ended`."
            yield Row("disagree", min(one.id for one in same), "medium", what, cure)


def movers(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """People who moved inside the organisation and kept what they had before."""
    for one in _active(facts):
        if one.moved_at is not None and facts.at - one.moved_at <= rules.moved_s and one.kept:
            moved, kept = _ago(facts.at, one.moved_at), ", ".join(one.kept)
            what = f"{one.id} moved {moved} ago ({one.moved}), and still has {kept}."
            cure = f"Take away what the new place does not need: {'; '.join(_taken(one))}."
            yield Row("movers", one.id, "medium", what, cure, one.moved_at)


def privileged(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """Every privileged account, and by what it proves itself: all are told, since all are worth a look."""
    reach = Reach(facts.parents)
    wanted = frozenset(facts.privileged)
    alone = frozenset(facts.privileged_people)
    for one in _active(facts):
        by = sorted(wanted & reach.of(one.groups))
        by += ["a policy or grant of their own"] if one.id in alone else []
        if not by:
            continue
        severity, said, cure = _proof(one)
        what = f"{one.id} is privileged by {', '.join(by)}, and {said}."
        yield Row("privileged", one.id, severity, what, cure, one.signed_in_at)


class Reach:
    """The groups around groups. Circles are harmless."""

    def __init__(self, parents: Mapping[str, tuple[str, ...]]) -> None:
        self._parents = parents
        self._known: dict[tuple[str, ...], frozenset[str]] = {}

    def of(self, groups: tuple[str, ...]) -> frozenset[str]:
        """Return groups with all that they are in."""
        found = self._known.get(groups)
        if found is None:
            seen, todo = set(groups), list(groups)
            while todo:
                for above in self._parents.get(todo.pop(), ()):
                    if above not in seen:
                        seen.add(above)
                        todo.append(above)
            found = self._known[groups] = frozenset(seen)
        return found


def _proof(one: PersonFacts) -> tuple[str, str, str]:
    factors = ", ".join(one.factors or ()) or "no factor"
    strong, mfa = has_phishing_resistant(one), has_mfa(one)
    keep = f"Give {one.id} a second key, so that one that is lost locks nobody out: the account page."
    if strong:
        weak = "password" in (one.factors or ())
        said = f"has {factors if one.factors else 'proven it at ' + ', '.join(one.providers)}"
        if weak:
            demand = "Demand it: `forbid (...) unless { context.session.phishing_resistant }` for that group."
            return "low", f"{said}; the password still works", demand
        return "low", said, keep
    cure = f"Enrol a passkey: `limen user link {quote(one.id)}`, then the account page; then demand it."
    if strong is None:
        where = ", ".join(one.providers) or "its source"
        return (
            "medium",
            "nobody knows by what they prove themselves",
            f"Have {where} send `amr` or `acr`. {cure}",
        )
    return "high", f"has {factors}" + ("" if mfa else ": one factor at most"), cure


def _unsponsored(one: PersonFacts, present: set[str]) -> Iterator[Row]:
    if one.sponsor is None:
        what = f"{one.id} is a {one.kind}, and nobody answers for them."
        cure = f"Name a sponsor: `limen user set {quote(one.id)} --sponsor NAME`, or shut them out."
        yield Row("orphaned", one.id, "high", what, cure)
    elif one.sponsor not in present:
        what = f"{one.sponsor}, who answers for the {one.kind} {one.id}, is not an active person here."
        cure = f"Name another: `limen user set {quote(one.id)} --sponsor NAME`, or shut them out."
        yield Row("orphaned", one.id, "high", what, cure)


def _taken(one: PersonFacts) -> Iterator[str]:
    for held in one.kept:
        kind, _, name = held.partition(" ")
        if kind == "group":
            yield f"`limen group remove-member {quote(name)} {quote(one.id)}`"
        else:
            yield f"`limen grant revoke {name.partition(' ')[0]} --reason moved`"


def _unkept(one: PersonFacts) -> str:
    kind, _, name = one.source.partition(":")
    if kind == "ldap":
        keep = f"`limen source release {name} {quote(one.id)} --reason kept`"
        return f"If they are still here: {keep}. Else: {_shut(one, 'left')}"
    return f"Put {one.source} back into the bundle, or: {_shut(one, 'left')}"


def _shut(one: PersonFacts, why: str) -> str:
    """Return how an account is turned off: where it is kept, since the next reading would bring it back."""
    here = f"`limen user suspend {quote(one.id)} --reason '{why}'`."
    return here if one.source == "local" else f"turn it off at {one.source}, or here: {here}"


def _active(facts: IdentityFacts) -> Iterator[PersonFacts]:
    return (
        one
        for one in facts.people
        if one.status == "active" and (one.expires_at is None or one.expires_at > facts.at)
    )


def _ago(now: Instant, at: Instant) -> str:
    days = int((now - at) // DAY_S)
    return "1 day" if days == 1 else f"{days} days"
