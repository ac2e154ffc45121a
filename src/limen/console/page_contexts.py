"""What each page is given: one table, read by `pages.render`, the tests and the routes' authors.

A page refuses a context that lacks a required key or has one it does not know, so a misspelt key is
found by the first test that renders the page. Instants are Unix seconds; text is plain, never markup.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Page(msgspec.Struct, frozen=True):
    """The context of one template: keys it must be given, and those that have a default."""

    required: tuple[str, ...] = ()
    optional: Mapping[str, Any] = {}


EVERY_PAGE: Mapping[str, Any] = {
    "csrf": "",  # value of the hidden field `csrf`, also sent by passkey.js as `x-csrf-token`
    "domain": "",  # `limen.localhost`
    "person": None,  # {username, name} of who is signed in, or is signing in
    "auth_url": "",  # `https://auth.limen.localhost:8443` on app hosts; empty on the auth host itself
    "now": None,  # instant of the answer: ages are then said in words
    "alarm": None,  # until when emergency access is in use
}

ACCOUNT_URLS: Mapping[str, str] = {
    "session_end": "/account/sessions/end",  # field `id`
    "everywhere": "/logout/everywhere",
    "passkey_remove": "/account/passkey/remove",  # field `id`
    "passkey_rename": "/account/passkey/rename",  # fields `id`, `name`
    "totp_start": "/account/totp",
    "totp_remove": "/account/totp/remove",
    "recovery": "/account/recovery",
    "token_create": "/tokens",  # fields `app`, `name`
    "token_revoke": "/tokens/revoke",  # field `hash`
    "complaint_answer": "/complaints/answer",  # fields `id`, `text`
}
"""Where the forms of `account.html` post to, unless the context's `urls` says otherwise."""

PAGES: Mapping[str, Page] = {
    # Posts `username`, `password`. `providers`: [{name, url}] of upstream identity providers. `ask_password`:
    # false to ask for the name first, as its domain may lead to a provider; `password_url` then goes on here.
    "login.html": Page(
        required=("action",),
        optional={
            "error": "",
            "username": "",
            "providers": (),
            "ask_password": True,
            "password_url": "",
            "passkey": True,
            "app": None,
            "flow": "",
            "passkey_options_url": "/login/passkey/options",
            "passkey_url": "/login/passkey",
        },
    ),
    # Posts `code` with `method` = totp | recovery. `methods` is any collection of totp, passkey, recovery.
    "code.html": Page(
        required=("action", "methods"),
        optional={
            "error": "",
            "app": None,
            "flow": "",
            "restart_url": "/login",
            "passkey_options_url": "/login/passkey/options",
            "passkey_url": "/login/passkey",
        },
    ),
    # `need`, `title`, `sentence`, `add`: a row of `core.needs`; without `add`, nobody can have it.
    # Posts `password` and/or `code` with `method`;
    # `methods` is any collection of password, totp, passkey, recovery.
    "stepup.html": Page(
        required=("need", "sentence", "action", "methods"),
        optional={
            "title": "One more step",
            "add": "Add a second factor",
            "error": "",
            "app": None,
            "flow": "",
            "providers": (),  # [{name, url}] that can bring it, too
            "enrol_url": "/account#passkeys",  # where a missing passkey is added
            "cancel_url": "",
            "passkey_options_url": "/login/passkey/options",
            "passkey_url": "/login/passkey",
        },
    ),
    # `step` = password: posts `password`, `password_again` (and `username`, `name`, `email` when
    # `person` is None); choose: posts `method` = passkey | totp; totp: posts `code` (its other button
    # `method=passkey`); passkey: JSON, or posts `method=totp`; recovery: posts `kept=yes`.
    # `values` refills {username, name, email}. `position` = (1, 3) says "Step 1 of 3".
    "enrol.html": Page(
        required=("action", "step"),
        optional={
            "error": "",
            "values": {},
            "qr_svg": "",  # from `pages.qr_svg(uri)`
            "secret": "",
            "recovery_codes": (),
            "flow": "",
            "position": None,
            "password_min": 15,  # characters
            "methods": ("passkey", "totp"),
            "passkey_options_url": "/enrol/passkey/options",
            "passkey_url": "/enrol/passkey",
        },
    ),
    # `step` = ask: posts `username`; next: posts `password`, `code`, `recovery_code`; ready: posts nothing;
    # link: posts `answer` = go | stop; approve: posts `code`; confirm: posts `code`, `reason`.
    # `spoken`: what an approver is told. `candidate`: who recovers, as `recovery_approval.Candidate`.
    "recover.html": Page(
        required=("action", "step"),
        optional={
            "error": "",
            "spoken": "",
            "alone": True,
            "mailed": False,
            "approve_url": "",
            "asked": None,
            "candidate": None,
            "code": "",
        },
    ),
    # `reasons`: sentences. `remedies`: [{id, sentence, url, button}], needed together; `url` may be None.
    # `request`: {method, path, at}. `owner`: who looks after the resource; `owner_url`: mailto: or https:.
    "denied.html": Page(
        required=("decision_id", "app", "title", "reasons"),
        optional={
            "remedies": (),
            "owner": None,
            "owner_url": "",
            "request": None,
            "action": "",
            "wrong_url": "",  # where one says that it is wrong
        },
    ),
    # The same before it happens. `day`: from which it will be denied, in words, or empty.
    "warned.html": Page(
        required=("decision_id", "app", "title", "reasons", "continue_url"),
        optional={"day": "", "remedies": (), "owner": None, "request": None, "wrong_url": ""},
    ),
    # Posts `decision`, `text`. `owner`: who reads it.
    "complaint.html": Page(
        required=("action", "decision_id", "resource", "at", "text_max"),
        optional={"owner": "", "text": "", "error": ""},
    ),
    # `apps`: [{name, url, owner, labels, reachable (True | False | None), why}]; `services`: [{name,
    # protocol, owner, reachable, why}], opened from a terminal.
    "apps.html": Page(required=("apps",), optional={"services": (), "logout_url": "/logout"}),
    # `sessions`: [{id, started, seen, ip, agent, current, aal, apps}], `passkeys`: [{id, name, created,
    # used, backed_up, model, hardware, counts}], `tokens`: [{name, app, expires, hash}], `apps`: names that a
    # token may be made for.
    # `complaints` by this person and `asked_of_me` as an owner: [{id, person, resource, owner, decision,
    # text, at, answer, answered_at, answered_by}].
    # `new_token`: {name, app, token, expires}, shown once. `notice`: what was just done.
    "account.html": Page(
        required=("sessions", "passkeys", "totp", "recovery_left", "tokens", "apps"),
        optional={
            "complaints": (),
            "asked_of_me": (),
            "new_token": None,
            "notice": "",
            "error": "",
            "urls": ACCOUNT_URLS,
            "logout_url": "/logout",
            "passkey_options_url": "/account/passkey/options",
            "passkey_url": "/account/passkey",
        },
    ),
    # Posts `credential`, the sealed one.
    "break_glass.html": Page(required=("action",), optional={"error": ""}),
    # Goes on to `url` by itself, or by the link `label`.
    "onward.html": Page(required=("title", "url", "label")),
    # The same by a form: posts `fields` to `url`, by itself or by the button `label`.
    "onward_form.html": Page(required=("title", "url", "label", "fields")),
    # The same to a client of the bundle.
    "client_onward.html": Page(required=("title", "url", "label")),
    # `frames`: addresses that are loaded unseen; `go_on`: where `client` wants its people back.
    "signed_out.html": Page(required=("title",), optional={"go_on": "", "client": "", "frames": ()}),
    # `linked`: [{source, subject, title, linked, own}] accounts elsewhere; `linkable`: [{name, title}].
    "providers.html": Page(required=("linked", "linkable"), optional={"logout_url": "/logout"}),
    # A program asks to be signed in. `step` = consent: posts `values` with `answer` = allow | deny; code:
    # posts `user_code`.
    "connect.html": Page(
        required=("title", "action"),
        optional={"sentences": (), "step": "consent", "values": {}, "error": ""},
    ),
    # `actions`: [{url, label, method ("get" | "post")}]. `door` = open | ajar | closed.
    "message.html": Page(
        required=("title", "sentences"),
        optional={"actions": (), "door": "ajar", "decision_id": "", "flow": ""},
    ),
}
