"""Forged SAML responses: each is refused, and the operator can read why."""

import re
import shutil
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import saml_forger as forger
from saml_forger import Said

from limen.core.saml_metadata import parse_idp
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import Asked, VerifiedAssertion, verify_response

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")

NOW = 1_900_000_000.0
IDP = forger.party()
HERE = Asked(
    parse_idp(forger.idp_metadata(IDP)),
    "https://auth.example/saml/corp/metadata",
    "https://auth.example/acs",
    "_q",
)
GOOD = Said(HERE.request, HERE.consumer, HERE.entity_id, NOW)


NOT_CONFIRMED = "its subject is not confirmed"


def same(text: str) -> str:
    return text


def answer(
    who: forger.Party = IDP,
    *,
    before: Callable[[str], str] = same,
    after: Callable[[str], str] = same,
    **changes: Any,
) -> bytes:
    return forger.response(msgspec.structs.replace(GOOD, **changes), who, before=before, after=after)


def read(xml: bytes, asked: Asked = HERE, now: float = NOW) -> VerifiedAssertion:
    return verify_response(xml, asked, now)


def why(xml: bytes, asked: Asked = HERE, now: float = NOW) -> str:
    with pytest.raises(SamlRefused) as refused:
        read(xml, asked, now)
    assert "ada" not in refused.value.why and "mallory" not in refused.value.why
    assert refused.value.why not in refused.value.message + refused.value.remedy  # nothing for the stranger
    return refused.value.why


@pytest.fixture(scope="module")
def signed() -> str:
    """A good response whose assertion is signed."""
    return answer().decode()


def test_good_answers_are_read_whichever_part_is_signed() -> None:
    for response, own in ((False, True), (True, False), (True, True)):
        assert read(answer(sign_response=response, sign_assertion=own)).name_id == "ada-7"


# --- unsigned, tampered, somebody else's ---------------------------------------------------------------


def test_an_unsigned_assertion_is_refused() -> None:
    assert why(answer(sign_assertion=False)) == "neither it nor its assertion is signed"


def test_an_assertion_changed_after_it_was_signed_is_refused(signed: str) -> None:
    assert why(signed.replace("ada-7", "root").encode()) == "its signature does not hold"


def test_an_answer_by_another_key_is_refused_though_it_brings_that_key_along() -> None:
    assert why(answer(forger.party("mallory"))) == "its signature does not hold"


@pytest.mark.parametrize(
    "changes", [{"algorithm": forger.RSA_SHA1}, {"digest": forger.SHA1}], ids=["signature", "digest"]
)
def test_sha1_is_refused(changes: dict[str, str]) -> None:
    assert "algorithm that does not count" in why(answer(**changes))


def test_a_downgrade_to_an_hmac_keyed_by_the_public_key_is_refused(signed: str) -> None:
    forged = signed.replace(forger.RSA_SHA256, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")
    assert "algorithm that does not count" in why(forged.encode())


def test_a_transform_that_leaves_something_out_is_refused(signed: str) -> None:
    xpath = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>false()</ds:XPath></ds:Transform>'
    forged = signed.replace("</ds:Transforms>", f"{xpath}</ds:Transforms>")
    assert "transforms the message" in why(forged.encode())


def test_canonicalisation_with_comments_is_refused(signed: str) -> None:
    forged = signed.replace(
        "http://www.w3.org/2001/10/xml-exc-c14n#", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"
    )
    assert "transforms the message" in why(forged.encode())


def test_a_signature_that_is_over_nothing_is_refused(signed: str) -> None:
    assert "not over the element" in why(signed.replace('URI="#_assertion1"', 'URI=""').encode())


# --- signature wrapping (XSW 1 to 8) -------------------------------------------------------------------

_SIGNED = re.compile(r"<saml:Assertion .*</saml:Assertion>", re.DOTALL)
_SIGNATURE = re.compile(r"<ds:Signature .*?</ds:Signature>", re.DOTALL)


def evil(signed: str, ident: str = "_evil") -> str:
    """Return the assertion that the attacker wants read: unsigned, about root."""
    found = _SIGNED.search(signed)
    assert found is not None
    plain = _SIGNATURE.sub("", found.group())
    return plain.replace("ada-7", "root").replace("_assertion1", ident)


def wrap(signed: str, number: int) -> str:
    found = _SIGNED.search(signed)
    assert found is not None
    good, bad = found.group(), evil(signed)
    signature = _SIGNATURE.search(good)
    assert signature is not None
    bare = good.replace(signature.group(), "")
    around = signature.group().replace("</ds:Signature>", "{}</ds:Signature>")
    inside = bad.replace("</saml:Issuer>", "</saml:Issuer>{}", 1)
    ways = {
        1: signed.replace(good, bad + good),
        2: signed.replace(good, good + bad),
        3: signed.replace(good, inside.format(around.format(f"<ds:Object>{bare}</ds:Object>"))),
        4: signed.replace(good, bad.replace("</saml:Assertion>", f"{good}</saml:Assertion>")),
        5: signed.replace(good, inside.format(signature.group()) + bare),
        6: signed.replace(good, inside.format(around.format(bare))),
        7: signed.replace(good, f"<samlp:Extensions>{good}</samlp:Extensions>{bad}"),
        8: signed.replace(good, bad.replace("<saml:Cond", f"<saml:Advice>{good}</saml:Advice><saml:Cond")),
        9: signed.replace(good, evil(signed, "_assertion1") + good),
    }
    return ways[number]


@pytest.mark.parametrize("number", range(1, 10))
def test_a_wrapped_signature_is_refused(signed: str, number: int) -> None:
    assert why(wrap(signed, number).encode())


def test_a_signed_response_wrapped_in_another_is_refused() -> None:
    good = answer(sign_response=True, sign_assertion=False).decode()
    outer = evil(good).join(
        [
            good[: good.index("<saml:Assertion ")].replace("_response1", "_outer"),
            f"<samlp:Extensions>{good}</samlp:Extensions></samlp:Response>",
        ]
    )
    assert why(outer.encode())


def test_two_elements_of_one_id_are_refused(signed: str) -> None:
    assert why(signed.replace("_response1", "_assertion1").encode()) == "two of its elements have the same ID"


def test_a_second_assertion_is_refused_even_if_it_is_signed_as_well() -> None:
    other = _SIGNED.search(answer(ident="_other", name_id="root").decode())
    assert other is not None
    forged = answer(after=lambda text: text.replace("</samlp:Response>", f"{other.group()}</samlp:Response>"))
    assert "more than one assertion" in why(forged)


def test_an_encrypted_assertion_is_refused(signed: str) -> None:
    forged = _SIGNED.sub("<saml:EncryptedAssertion/>", signed)
    assert "encrypted" in why(forged.encode())


# --- XML itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["before", "after"])
def test_a_comment_in_a_name_is_refused(stage: str) -> None:
    """`ada-7<!---->.evil` is signed as `ada-7.evil`; some read `ada-7` (CVE-2017-11427 and others)."""
    cut = {stage: lambda text: text.replace(">ada-7<", ">ada-7<!---->.evil<")}
    assert why(answer(**cut)) == "it has a comment"


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]>',
        "<!DOCTYPE r>",
    ],
    ids=["external-entity", "entity-expansion", "external-dtd", "parameter-entity", "bare"],
)
def test_a_document_type_is_refused_before_it_means_anything(signed: str, prolog: str) -> None:
    assert why(f"{prolog}{signed}".encode()) == "it has a document type or an entity"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe<",
        b"<?xml version='1.0' encoding='UTF-7'?><a/>",
        b"<?xml-stylesheet href='x'?><a/>",
        b"<a" + b" " * 300_000 + b"/>",
        b"<a>" * 60 + b"</a>" * 60,
        b"<samlp:Response xmlns:samlp='urn:oasis:names:tc:SAML:1.0:protocol' ID='x' Version='2.0'/>",
    ],
)
def test_what_is_no_response_is_refused(raw: bytes) -> None:
    assert why(raw)


def test_what_breaks_the_schema_is_refused() -> None:
    before = lambda text: text.replace("<saml:Subject>", "<saml:Subject><saml:BaseID/>")  # noqa: E731
    assert why(answer(before=before)) == "it does not fit SAML's schema"


# --- for whom, for what, when --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audience": "https://other.example"}, "it is for another audience"),
        ({"audiences": False}, "it does not say for whom it is"),
        ({"conditions": False}, "it has no conditions"),
        ({"in_response_to": "_other"}, "it does not answer the request of this browser"),
        ({"destination": "https://other.example/acs"}, "it is meant for another address"),
        ({"recipient": "https://other.example/acs"}, f"{NOT_CONFIRMED}: it is meant for another address"),
        ({"issuer": "https://mallory.example"}, "it is from another provider"),
        ({"now": NOW - 7200, "valid_s": 9000}, "its assertion was not made within the last minutes"),
        ({"valid_s": -61.0}, f"{NOT_CONFIRMED}: it is too late"),
        ({"early_s": -61.0}, "it is too early: NotBefore"),
        ({"signed_in_s": -61.0}, "the sign-in there is yet to come"),
        ({"name_id": ""}, "it names no subject, or one that is endless"),
        ({"name_id": "a" * 256}, "it names no subject, or one that is endless"),
        ({"status": "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"}, "the provider says AuthnFailed"),
        ({"status": "x:"}, "the provider says no"),
    ],
)  # fmt: skip
def test_an_answer_for_something_else_is_refused(changes: dict[str, Any], said: str) -> None:
    assert why(answer(**changes)) == said


def test_clocks_may_differ_by_a_minute() -> None:
    xml = answer()
    for now in (NOW + 300 + 59, NOW - 59):
        assert read(xml, now=now).name_id == "ada-7"
    for now in (NOW + 300 + 61, NOW - 91):
        assert why(xml, now=now)


def test_an_answer_to_nobody_is_refused(signed: str) -> None:
    assert why(signed.replace(' InResponseTo="_q"', "", 1).encode()).startswith("it does not answer")
    inner = lambda text: text.replace(' InResponseTo="_q" NotOnOrAfter', " NotOnOrAfter")  # noqa: E731
    assert "does not answer" in why(answer(before=inner))


def test_a_signed_response_must_say_where_it_goes() -> None:
    bare = lambda text: text.replace(f' Destination="{HERE.consumer}"', "")  # noqa: E731
    assert "for which address" in why(answer(before=bare, sign_response=True))


def test_a_condition_that_is_not_known_is_refused() -> None:
    odd = (
        '<saml:Condition xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:type="saml:OneTimeUseType"/></saml:Conditions>'
    )
    assert "condition" in why(answer(before=lambda text: text.replace("</saml:Conditions>", odd)))


def test_a_sign_in_older_than_was_asked_for_is_refused() -> None:
    asked = msgspec.structs.replace(HERE, max_age_s=60.0)
    assert why(answer(signed_in_s=300.0), asked) == "the sign-in there is too old"
    assert read(answer(signed_in_s=30.0), asked).auth_at == NOW - 30


def test_other_confirmations_than_by_the_bearer_do_not_count() -> None:
    other = lambda text: text.replace("cm:bearer", "cm:sender-vouches")  # noqa: E731
    assert "no bearer" in why(answer(before=other))


def test_a_name_of_another_namespace_is_not_read() -> None:
    evil_attribute = lambda text: text.replace(  # noqa: E731
        "</saml:NameID>", "</saml:NameID><x:NameID xmlns:x='urn:x'>root</x:NameID>"
    )
    assert why(answer(before=evil_attribute)) == "it does not fit SAML's schema"
