"""What the tour reads off a page: the decision, its reasons and remedies, the passkey form."""

from collections.abc import Mapping
from html.parser import HTMLParser

import msgspec


class PasskeyForm(msgspec.Struct, frozen=True):
    """A form that hands over to a passkey: where its options come from and where the credential goes."""

    kind: str  # get | create
    options_url: str
    finish_url: str
    hidden: Mapping[str, str] = {}


class PageSeen(msgspec.Struct, frozen=True):
    """One page, as far as the tour cares."""

    title: str = ""
    decision_id: str = ""
    reasons: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    passkey_forms: tuple[PasskeyForm, ...] = ()


def read_page(html: str) -> PageSeen:
    """Read a page of Limen's."""
    reader = _Reader()
    reader.feed(html)
    return PageSeen(
        " ".join(reader.title.split()),
        reader.decision_id,
        tuple(" ".join(reason.split()) for reason in reader.reasons),
        tuple(reader.remedies),
        tuple(reader.forms),
    )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title = self.decision_id = ""
        self.reasons: list[str] = []
        self.remedies: list[str] = []
        self.forms: list[PasskeyForm] = []
        self._hidden: dict[str, str] | None = None
        self._list = False
        self._into = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.decision_id = values.get("data-decision-id", self.decision_id)
        if "data-remedy" in values:
            self.remedies.append(values["data-remedy"])
        match tag:
            case "h1":
                self._into = "title"
            case "ul":
                self._list = "reasons" in values.get("class", "").split()
            case "li" if self._list:
                self.reasons.append("")
                self._into = "reason"
            case "form":
                self._start_form(values)
            case "input" if self._hidden is not None and values.get("type") == "hidden":
                self._hidden[values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "li"):
            self._into = ""
        elif tag == "ul":
            self._list = False
        elif tag == "form":
            self._hidden = None

    def handle_data(self, data: str) -> None:
        if self._into == "title":
            self.title += data
        elif self._into == "reason":
            self.reasons[-1] += data

    def _start_form(self, values: Mapping[str, str]) -> None:
        if values.get("data-passkey"):
            self._hidden = {}
            form = PasskeyForm(
                values["data-passkey"],
                values.get("data-options-url", ""),
                values.get("data-finish-url", ""),
                self._hidden,
            )
            self.forms.append(form)
