"""The laws of recovery (V1 to V3) and of what notices say (W1, S2)."""

import email
import email.policy

from hypothesis import given
from hypothesis import strategies as st

from limen.administrator.notice_words import KINDS, write_notice
from limen.administrator.notices import Told
from limen.administrator.recovery_life import TRANSITIONS, RecoveryEvent, RecoveryState, step
from limen.core.errors import Conflict
from limen.services.notice_senders import NotTaken, Outgoing, parse_recipient, render_mail

S, E = RecoveryState, RecoveryEvent

events = st.lists(st.sampled_from(E), max_size=12)
anything = st.text(max_size=80) | st.sampled_from(
    [
        "a\r\nBcc: x@evil.example",
        "\u2028https://evil.example",
        "x\x00y",
        "a\x85b",
        "\n\n--b\n",
        "\u202etxt.exe",
    ]
)


def _walk(taken: list[RecoveryEvent]) -> list[tuple[RecoveryState, RecoveryEvent, RecoveryState]]:
    state, walked = S.OPEN, []
    for event in taken:
        try:
            then = step(state, event)
        except Conflict:
            continue
        walked.append((state, event, then))
        state = then
    return walked


@given(events)
def test_v1_two_things_or_another_person(taken: list[RecoveryEvent]) -> None:
    for _, event, then in _walk(taken):
        if then is S.READY:
            assert event in (E.TWO_SHOWN, E.APPROVED)


@given(events)
def test_v2_once(taken: list[RecoveryEvent]) -> None:
    walked = _walk(taken)
    assert sum(event is E.TAKEN for _, event, _ in walked) <= 1
    assert all(before not in (S.DONE, S.STOPPED) for before, _, _ in walked)


def test_v3_that_was_not_me_is_believed_wherever_something_can_still_happen() -> None:
    for state in {state for state, _ in TRANSITIONS}:
        assert step(state, E.STOPPED) is S.STOPPED


@given(
    st.sampled_from(sorted(KINDS)),
    anything,
    st.dictionaries(st.sampled_from(["what", "by", "ip", "reason"]), anything),
)
def test_w1_what_others_wrote_stays_on_its_line(kind: str, name: str, given_facts: dict[str, str]) -> None:
    form = KINDS[kind]  # type: ignore[index]
    link = {"link": "https://auth.limen.localhost/x"} if "link" in form.facts else {}
    needed = {"what": "That"} if kind in ("enrolment", "recovery") else {}
    facts = {**needed, **{key: value for key, value in given_facts.items() if key in form.facts}, **link}
    words = write_notice(kind, name, facts, "limen.localhost")  # type: ignore[arg-type]
    plain = write_notice(kind, "", {**needed, **link}, "limen.localhost")  # type: ignore[arg-type]
    extra = 1 if facts.get("reason", "").strip() else 0
    assert len(words.lines) <= len(plain.lines) + extra
    for line in (words.subject, *words.lines):
        assert len(line.splitlines()) <= 1
        assert not set(line) & set("\r\n\x00\x85\u2028\u2029\u202e")


@given(anything, anything, anything)
def test_s2_one_recipient_and_no_header_of_others(name: str, what: str, address: str) -> None:
    told = Told("ada", name, f"{address}@limen.localhost", {})
    words = write_notice("enrolment", name, {"what": what}, "limen.localhost")
    notice = Outgoing("ntc_1", "enrolment", told, words, "limen.localhost", 1_800_000_000.0)
    try:
        mail = render_mail(notice, "limen@limen.localhost")
    except NotTaken:
        return
    sent = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert sorted(sent.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
         "Content-Transfer-Encoding", "MIME-Version"]
    )  # fmt: skip
    assert len(sent["To"].addresses) == 1
    assert sent["To"].addresses[0].addr_spec == parse_recipient(told.email)
