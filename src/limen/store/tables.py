"""Every table of Limen, one list. Alembic's migrations are checked against it by a test.

Instants are Unix seconds (REAL), UTC. `*_hash` columns hold SHA-256 hex of random tokens; the tokens
themselves are never stored. `*_sealed` columns hold ciphertext under the state folder's key.

Every type means the same in SQLite and PostgreSQL. JSON is `json` there and not `jsonb`: the text comes
back as it was written, so that a projection has the same bytes for every reader.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Long = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits in both products: SQLite's INTEGER has them, PostgreSQL's has 32."""

CredentialId = String(1400).with_variant(String(1024), "sqlite")
"""Base64url of at most 1023 bytes (WebAuthn 5.8.3); SQLite never looks at lengths."""

# --- the change feed (laws F1, F2) ---------------------------------------------------------------

state = Table(
    "state",
    metadata,
    Column("name", String(64), primary_key=True),  # epoch, seq, floor, release, home, backfill:*
    Column("value", Text, nullable=False),
)

change = Table(
    "change",
    metadata,
    Column("seq", Long, primary_key=True, autoincrement=False),
    Column("tx", Long, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("id", String(255), nullable=False),
    Column("value", JSON(none_as_null=True)),  # the projection; NULL is a tombstone
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index(None, "kind", "id"),
)

projection = Table(
    "projection",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("version", Long, nullable=False),
    Column("value", JSON, nullable=False),
    Index(None, "version"),
)

# --- directory -----------------------------------------------------------------------------------

person = Table(
    "person",
    metadata,
    Column("id", String(128), primary_key=True),  # the username
    Column("handle", LargeBinary(32), nullable=False, unique=True),  # WebAuthn user handle
    Column("name", String(255), nullable=False),
    Column("email", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    Column("external", String(255), unique=True),  # empty since 0004: SQLite drops no unique column
    Column("source", String(64), nullable=False, server_default="local"),  # who keeps this person: scim:okta
    Column("sponsor", String(128)),  # the person who answers for a partner or contractor
    Column("signed_in_at", Float),  # the last time; no change of the feed
    Column("signals", JSON),  # facts for policies: recovered; NULL for none
    Column(
        "groups_unknown", String(64), nullable=False, server_default=text("''")
    ),  # the source that did not list them
)

external_identity = Table(
    "external_identity",  # who somebody is elsewhere; a subject means nothing without its source
    metadata,
    Column("source", String(64), primary_key=True),  # oidc:corp, saml:corp
    Column("subject", String(255), primary_key=True),
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("linked_at", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("issuer", String(255), nullable=False, server_default=text("''")),  # empty: made before 0004
)

upstream_session = Table(
    "upstream_session",  # the session at a provider that a session here came from
    metadata,
    Column("session", ForeignKey("session.id", ondelete="CASCADE"), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("subject", String(255), nullable=False),
    Column("sid", String(255), nullable=False, default=""),  # OIDC `sid`, SAML `SessionIndex`
    Column("issuer", String(255), nullable=False, server_default=text("''")),
    Index(None, "source", "subject"),
)

spent = Table(
    "spent",  # what may be used once: ids of assertions and proofs, until they are too old anyway
    metadata,
    Column("key", String(64), primary_key=True),  # SHA-256 hex of kind and value
    Column("expires_at", Float, nullable=False, index=True),
)

signing_key = Table(
    "signing_key",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("use", String(16), nullable=False),  # oauth, saml
    Column("alg", String(16), nullable=False),
    Column("private_sealed", Text, nullable=False),  # PEM
    Column("public", JSON, nullable=False),  # JWK
    Column("certificate", Text),  # PEM, for SAML
    Column("created_at", Float, nullable=False),
    Column("active_at", Float, nullable=False),  # signs from here; published from its making
    Column("retired_at", Float),  # signs no more; published until what it signed is over
)

group = Table(
    "group",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("created_at", Float, nullable=False),
)

membership = Table(
    "membership",
    metadata,
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("group", ForeignKey("group.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("source", String(64), nullable=False, default="local"),  # local, oidc:<provider>
)

nesting = Table(
    "nesting",
    metadata,
    Column("child", ForeignKey("group.id", ondelete="CASCADE"), primary_key=True),
    Column("parent", ForeignKey("group.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# --- credentials: never leave control ------------------------------------------------------------

password = Table(
    "password",
    metadata,
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, nullable=False),  # argon2id
    Column("set_at", Float, nullable=False),
)

totp = Table(
    "totp",
    metadata,
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("seed_sealed", Text, nullable=False),
    Column("last_step", Integer, nullable=False),  # last accepted 30 s step: no code works twice
    Column("set_at", Float, nullable=False),
)

passkey = Table(
    "passkey",
    metadata,
    Column("id", CredentialId, primary_key=True),  # base64url credential id
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", Long, nullable=False),
    Column("aaguid", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float),
    Column("attested", Boolean, nullable=False, server_default=false()),  # its model was proven
    Column("bound", Boolean, nullable=False, server_default=false()),  # and it cannot leave its device
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("used_at", Float),
)

enrolment_link = Table(
    "enrolment_link",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("person", String(128)),  # NULL: enrols the first administrator
    Column("purpose", String(32), nullable=False),  # first-admin, enrol
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

throttle = Table(
    "throttle",
    metadata,
    Column("key", String(255), primary_key=True),  # account:<id>, address:<ip>
    Column("theoretical_at", Float, nullable=False),  # GCRA's theoretical arrival time
)

# --- sign-in and sessions ------------------------------------------------------------------------

sign_in = Table(
    "sign_in",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # the flow's cookie
    Column("state", String(32), nullable=False),
    Column("person", String(128)),
    Column("data", JSON, nullable=False),  # challenge, return, what must be achieved, methods so far
    Column("expires_at", Float, nullable=False),
)

session = Table(
    "session",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("old_token_hash", String(64), index=True),  # lives 15 s after a rotation
    Column("rotated_at", Float),
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("state", String(16), nullable=False),  # active, ended
    Column("aal", Integer, nullable=False),
    Column("phishing_resistant", Boolean, nullable=False),
    Column("methods", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("auth_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("ended_why", Text),
    Column("ip", String(64), nullable=False),
    Column("user_agent", String(255), nullable=False),
)

app_session = Table(
    "app_session",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("parent", ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("app", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # cookie, token
    Column("name", String(255), nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)

exchange_code = Table(
    "exchange_code",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("session", ForeignKey("session.id", ondelete="CASCADE"), nullable=False),
    Column("app", String(64), nullable=False),
    Column("nonce_hash", String(64), nullable=False),  # binds the code to the browser that asked
    Column("return_to", Text, nullable=False),
    Column("cure", String(64), nullable=False, default=""),
    Column("expires_at", Float, nullable=False),
)

device_code = Table(
    "device_code",  # RFC 8628
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("user_code", String(16), nullable=False, unique=True),
    Column("state", String(16), nullable=False),  # pending, approved, denied
    Column("session", ForeignKey("session.id", ondelete="CASCADE")),  # who approved it
    Column("client", String(255), nullable=False),  # what the client calls itself; shown to the person
    Column("ip", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("polled_at", Float),
    Column("client_id", String(64), nullable=False, server_default="limen-connect"),
    Column("asked", JSON(none_as_null=True)),  # scopes, audiences, key of a client of the bundle
)

# --- gateways ------------------------------------------------------------------------------------

gateway = Table(
    "gateway",
    metadata,
    Column("node", String(64), primary_key=True),
    Column("state", String(16), nullable=False),  # joined, removed
    Column("joined_at", Float, nullable=False),
    Column("certificate_serial", String(64), nullable=False),
    Column("certificate_expires_at", Float, nullable=False),
    Column("assertion_jwk", JSON, nullable=False),  # public key of its identity assertions
    Column("removed_at", Float),
    Column("removed_why", Text),
)

join_token = Table(
    "join_token",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("node", String(64), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Column("actor", String(255), nullable=False),
)

# --- policy, secrets, grants ---------------------------------------------------------------------

bundle = Table(
    "bundle",
    metadata,
    Column("serial", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, index=True),
    Column("files", JSON, nullable=False),
    Column("applied_at", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
)

app_secret = Table(
    "app_secret",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value_sealed", Text, nullable=False),
    Column("set_at", Float, nullable=False),
    Column("actor", String(255), nullable=False),
)

grant = Table(
    "grant",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("principal_type", String(16), nullable=False),
    Column("principal_id", String(128), nullable=False),
    Column("actions", JSON, nullable=False),
    Column("resource_type", String(16), nullable=False),
    Column("resource_id", String(128), nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False, server_default="0"),
)

# --- workloads, proposals, shadow, the journal's keepers -------------------------------------------

workload = Table(
    "workload",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("review_at", Float),  # when its owner must say that it is still needed
    Column("used_at", Float),  # exact to a minute; no change of the feed
    Column("stops_at", Float),  # its owner has left: when it stops, unless somebody takes it over
    Column("review_told_at", Float),  # for which review its owner was told that it is due
)

workload_membership = Table(
    "workload_membership",
    metadata,
    Column("workload", ForeignKey("workload.id", ondelete="CASCADE"), primary_key=True),
    Column("group", ForeignKey("group.id", ondelete="CASCADE"), primary_key=True, index=True),
)

workload_token = Table(
    "workload_token",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("workload", ForeignKey("workload.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Column("actor", String(255), nullable=False),
)

bundle_proposal = Table(
    "bundle_proposal",  # a bundle that waits for a second administrator
    metadata,
    Column("bundle", String(64), primary_key=True),
    Column("files", JSON, nullable=False),
    Column("base", String(64), nullable=False),  # the bundle that it was compared with
    Column("proposed_at", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("approved_at", Float),
    Column("approver", String(255)),
)

shadow = Table(
    "shadow",  # the candidate that is decided beside the active bundle; at most one
    metadata,
    Column("bundle", String(64), primary_key=True),
    Column("files", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
)

legal_hold = Table(
    "legal_hold",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("subject", String(255)),  # NULL holds everything
    Column("reason", Text, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("since", Float, nullable=False),
    Column("ended_at", Float),
)

journal_node = Table(
    "journal_node",  # whose checkpoints are believed: the first key that a node showed
    metadata,
    Column("node", String(64), primary_key=True),
    Column("verifier_key", Text, nullable=False),  # C2SP signed-note verifier key
    Column("first_seen_at", Float, nullable=False),
)

complaint = Table(
    "complaint",  # "this is wrong", from a page that denied or warned
    metadata,
    Column("id", String(64), primary_key=True),
    Column("decision", String(64), nullable=False),
    Column("person", String(128), nullable=False, index=True),
    Column("resource", String(255), nullable=False),
    Column("owner", String(128), nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("answer", Text),
    Column("answered_at", Float),
    Column("answered_by", String(255)),
)
