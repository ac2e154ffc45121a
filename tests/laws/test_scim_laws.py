"""Laws of the SCIM server: compiled filters against the library's own evaluation, and names that are bent."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scim2_models import InvalidFilterException, SCIMException, ScimFilter

from limen.administrator.scim_filter import Compiled
from limen.administrator.scim_models import ENTERPRISE_URN, POLICY, USER_URN, model_of
from limen.administrator.scim_people import values_of
from limen.administrator.scim_words import choose_username, fold, read_name
from limen.journal.owners import NOT_PEOPLE
from limen.store.directory.fields import parse_username

TEXTS = st.sampled_from(["ada", "Ada", "ÅDA", "a", "work", "x@y.org", ""])
MANY = st.sampled_from(["emails", "emails.value", "emails.type"])
EMAILS = st.lists(
    st.fixed_dictionaries(
        {"value": TEXTS}, optional={"type": TEXTS, "primary": st.booleans(), "display": TEXTS}
    ),
    max_size=3,
)
INSTANTS = st.sampled_from(["2026-01-01T00:00:00Z", "2026-06-01T12:00:00.500000Z", "2030-01-01T00:00:00Z"])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return a stored person, as JSON."""
    optional = {
        "displayName": TEXTS,
        "title": TEXTS,
        "active": st.booleans(),
        "externalId": TEXTS,
        "name": st.fixed_dictionaries({}, optional={"givenName": TEXTS, "familyName": TEXTS}),
        "emails": EMAILS,
        ENTERPRISE_URN: st.fixed_dictionaries({"department": TEXTS}),
        "x509Certificates": st.lists(st.fixed_dictionaries({"value": st.just("YWRh")}), max_size=2),
    }
    made = draw(st.fixed_dictionaries({"userName": TEXTS.filter(bool)}, optional=optional))
    schemas = [USER_URN, *([ENTERPRISE_URN] if ENTERPRISE_URN in made else [])]
    meta = {"resourceType": "User", "created": draw(INSTANTS), "lastModified": draw(INSTANTS)}
    return {"schemas": schemas, "id": "id1", "meta": meta, **made}


PATHS = st.sampled_from(
    [
        "userName", "USERNAME", "displayName", "title", "externalId", "id", "emails", "emails.value",
        "emails.type", "emails.primary", "name.givenName", f"{USER_URN}:userName", "schemas",
        f"{ENTERPRISE_URN}:department", "meta.resourceType", "nickName", "name", "x509Certificates.value",
    ]
)  # fmt: skip
OPS = st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "EQ"])
EQUAL = st.sampled_from(["eq", "ne"])
ORDERING = OPS.filter(lambda op: op not in ("co", "sw", "ew"))


def quoted(text: str) -> str:
    return ScimFilter.quote(text)


LEAVES = st.one_of(
    st.builds(lambda path, op, text: f"{path} {op} {quoted(text)}", PATHS, OPS, TEXTS),
    st.builds(lambda path, op, text: f"{path} {op} {quoted(text)}", MANY, OPS, TEXTS),
    st.builds(lambda path: f"{path} pr", PATHS),
    st.builds(lambda op, flag: f"active {op} {flag}", EQUAL, st.sampled_from(["true", "false"])),
    st.builds(lambda path, op: f"{path} {op} null", PATHS, EQUAL),
    st.builds(lambda op, at: f'meta.lastModified {op} "{at}"', ORDERING, INSTANTS),
    st.builds(
        lambda one, op, text, two: f"emails[type {op} {quoted(text)} {two} value {op} {quoted(one)}]",
        TEXTS, OPS, TEXTS, st.sampled_from(["and", "or"]),
    ),
)  # fmt: skip
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda one: f"not ({one})", inner),
        st.builds(lambda one, op, two: f"({one}) {op} ({two})", inner, st.sampled_from(["and", "or"]), inner),
    ),
    max_leaves=4,
)


def oracle(text: str, document: dict[str, Any]) -> bool:
    model: Any = model_of("User")
    with POLICY:
        bound: Any = ScimFilter[model](text)  # type: ignore[misc]
        return bool(bound.match(model.model_validate(document)))


@settings(max_examples=150, deadline=None)
@given(documents(), FILTERS)
def test_j1_a_compiled_filter_says_what_the_library_says(document: dict[str, Any], text: str) -> None:
    try:
        expected = oracle(text, document)
    except (InvalidFilterException, SCIMException):
        return
    assert Compiled("User", text).holds(document) == expected


@settings(max_examples=150, deadline=None)
@given(EMAILS, st.builds(lambda path, op, text: f"{path} {op} {quoted(text)}", MANY, OPS, TEXTS))
def test_j1_of_several_values_too(emails: list[dict[str, Any]], text: str) -> None:
    meta = {"resourceType": "User"}
    document = {"schemas": [USER_URN], "id": "id1", "userName": "u", "meta": meta, "emails": emails}
    assert Compiled("User", text).holds(document) == oracle(text, document)


@settings(max_examples=100, deadline=None)
@given(documents(), FILTERS)
def test_j2_narrowing_leaves_out_nothing(document: dict[str, Any], text: str) -> None:
    try:
        compiled = Compiled("User", text)
    except SCIMException:
        return
    if not compiled.holds(document):
        return
    known = {("id", document["id"]), ("user", fold(document["userName"])), *values_of(document)}
    known.add(("external", document.get("externalId") or ""))
    assert set(compiled.narrow) <= known
    if compiled.exact:
        assert compiled.narrow


@given(st.text(max_size=80), st.text("0123456789abcdef", min_size=16, max_size=16), st.booleans())
def test_w1_a_bent_name_never_takes_a_plain_one(user_name: str, ending: str, busy: bool) -> None:
    asked: list[str] = []

    def taken(name: str) -> bool:
        asked.append(name)
        return busy and len(asked) == 1

    found = choose_username(user_name, ending, taken)
    assert parse_username(found) == found
    assert found not in NOT_PEOPLE
    if found != fold(user_name):
        assert ending[:4] in found


@given(st.dictionaries(st.sampled_from(["displayName", "userName"]), st.text(max_size=600), min_size=1))
def test_w2_no_name_makes_a_document_unfit(document: dict[str, Any]) -> None:
    name = read_name(document)
    assert len(name) <= 255
    assert name.isprintable()
