"""The tables of identity: recovery, clients, SCIM, directories, SAML, machines, emergency access.

They stand beside those of `tables`, in one `metadata` and under its rules.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from limen.store.tables import metadata

every_table = metadata
"""What the schema is made of and compared with: whoever has it from here has these tables in it."""

# --- notices and recovery ---------------------------------------------------------------------------

notice = Table(
    "notice",  # to be sent; gone once it was
    metadata,
    Column("id", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),  # smtp, webhook
    Column("person", String(128), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("sealed", Text, nullable=False),  # address and facts
    Column("queued_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("next_at", Float, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
)

recovery = Table(
    "recovery",  # somebody says that they cannot sign in any more
    metadata,
    Column("id", String(64), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),  # of the browser that asks
    Column("person", String(128), index=True),  # NULL: nobody, or nobody who can recover; told alike
    Column("name_hash", String(64), nullable=False),  # of the name that was typed
    Column("state", String(16), nullable=False),
    Column("approval_hash", String(64), nullable=False, unique=True),  # of the words that an approver is told
    Column("mail_hash", String(64), unique=True),  # of the link that was mailed and not used yet
    Column("mailed", Boolean, nullable=False),  # this browser opened the link
    Column("failures", Integer, nullable=False),
    Column("ip", String(64), nullable=False),
    Column("agent", String(255), nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("announced_at", Float),
    Column("how", String(64), nullable=False),  # what was shown, or who approved
)

recovered = Table(
    "recovered",  # whose trust is lower for a while
    metadata,
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("at", Float, nullable=False),
    Column("until", Float, nullable=False, index=True),
    Column("how", String(255), nullable=False),
)

# --- clients that sign in through Limen (r0008) ----------------------------------------------------

oauth_authorization = Table(
    "oauth_authorization",  # a person's sign-in at a client; its tokens end with it, and it with its session
    metadata,
    Column("id", String(64), primary_key=True),
    Column("client", String(64), nullable=False, index=True),
    Column("session", ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("person", String(128), nullable=False, index=True),
    Column("sid", String(64), nullable=False),  # the session, as this client knows it
    Column("scopes", JSON, nullable=False),
    Column("audiences", JSON, nullable=False),  # APIs that tokens may be for
    Column("nonce", Text, nullable=False),
    Column("jkt", String(64), nullable=False),  # key that refresh tokens are bound to (RFC 9449), or empty
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("redeemed_at", Float),  # the client has tokens
    Column("ended_at", Float, index=True),
    Column("ended_why", Text),
)

oauth_token = Table(
    "oauth_token",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # code, refresh, access
    Column(
        "authorization", ForeignKey("oauth_authorization.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("data", JSON, nullable=False),  # of a code: what it was asked with
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("used_at", Float),  # used twice, it ends its authorization
)

logout_notice = Table(
    "logout_notice",  # logout tokens that clients have yet to take (OIDC Back-Channel Logout 1.0)
    metadata,
    Column("id", String(64), primary_key=True),
    Column("client", String(64), nullable=False),
    Column("person", String(128), nullable=False, index=True),
    Column("sid", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
)

# --- SCIM: what clients provision (r0005) ----------------------------------------------------------

scim_resource = Table(
    "scim_resource",  # what a client wrote of a person or group; the directory has what follows of it
    metadata,
    Column("id", String(64), primary_key=True),
    Column("client", String(64), nullable=False),
    Column("kind", String(8), nullable=False),  # User, Group
    Column("target", String(128), nullable=False, index=True),  # the username, or the group
    Column("user_name", String(255)),  # as it is compared; NULL of groups
    Column("external_id", String(255)),
    Column("display", String(255), nullable=False),
    Column("owned", Boolean, nullable=False),  # the client made the target
    Column("locked", Boolean, nullable=False),  # the client suspended the person
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("modified_at", Float, nullable=False),
    Column("document", Text, nullable=False),  # JSON
    Index(None, "client", "kind", "id"),
    Index(None, "client", "user_name", unique=True),
    Index(None, "client", "external_id"),
)

scim_value = Table(
    "scim_value",  # what is looked for often: names and addresses, as they are compared
    metadata,
    Column("resource", ForeignKey("scim_resource.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(16), primary_key=True),  # display, email
    Column("value", String(255), primary_key=True),
    Index(None, "name", "value"),
)

scim_member = Table(
    "scim_member",
    metadata,
    Column("group", ForeignKey("scim_resource.id", ondelete="CASCADE"), primary_key=True),
    Column("member", ForeignKey("scim_resource.id", ondelete="CASCADE"), primary_key=True, index=True),
)

scim_token = Table(
    "scim_token",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("client", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),  # exact to a minute
    Column("actor", String(255), nullable=False),
)

# --- directories that are read -------------------------------------------------------------------

source_account = Table(
    "source_account",  # what a directory says of somebody here, as of its last whole reading
    metadata,
    Column("source", String(64), primary_key=True),  # ldap:corp
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("says", String(16), nullable=False),  # active, disabled, gone
    Column("email", String(255), nullable=False),
    Column("since", Float, nullable=False),  # it says so
    Column("suspended", Boolean, nullable=False),  # the person is suspended because of it
    Column("ends_at", Float),  # when it lets the account expire
)

source_run = Table(
    "source_run",  # the last readings of each directory
    metadata,
    Column("id", String(64), primary_key=True),
    Column("source", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("outcome", String(16), nullable=False),  # applied, stopped, failed
    Column("why", Text, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("problems", JSON, nullable=False),
    Column("actor", String(255), nullable=False),
    Index(None, "source", "started_at"),
)

# --- SAML ----------------------------------------------------------------------------------------

saml_issued = Table(
    "saml_issued",  # which app was told of which session, until it asks again
    metadata,
    Column("session_index", String(64), primary_key=True),
    Column("session", ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("client", String(64), nullable=False),
    Column("name_id", String(255), nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False, index=True),
    Index(None, "client", "name_id"),
)

# --- machines ------------------------------------------------------------------------------------

workload_credential = Table(
    "workload_credential",  # by which a workload proves itself at the token endpoint
    metadata,
    Column("id", String(64), primary_key=True),
    Column("workload", ForeignKey("workload.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),  # key, secret
    Column("proof", String(128), nullable=False, unique=True),  # thumbprint of the key, hash of the secret
    Column("public", JSON),  # of a key: its public half, a JWK
    Column("name", String(255), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Column("actor", String(255), nullable=False),
)

workload_session = Table(
    "workload_session",  # a workload's short-lived access
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("workload", ForeignKey("workload.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("methods", JSON, nullable=False),
    Column("apps", JSON, nullable=False),
    Column("jkt", String(64), nullable=False),
    Column("x5t", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("about", Text, nullable=False),  # who it was on the other side: a key, a token's subject
    Column("ip", String(64), nullable=False),
)

# --- emergency access, and the ends of people's time -----------------------------------------------

break_glass = Table(
    "break_glass",  # sealed credentials and their uses; one of them is good
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # MAC of the credential
    Column("person", String(128), nullable=False),  # who it makes of whoever has it
    Column("sealed_at", Float, nullable=False),
    Column("sealed_by", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("voided_at", Float),  # another was sealed, or it was withdrawn
    Column("used_at", Float),
    Column("session", String(64)),
    Column("ip", String(64)),
    Column("ends_at", Float),  # of the session that its use began
    Column("reviewed_at", Float),
    Column("reviewed_by", String(255)),
    Column("review", Text),
)

person_care = Table(
    "person_care",  # what was said and done about the end of somebody's time
    metadata,
    Column("person", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("warned_for", Float),  # the end that they were told of
    Column("over_for", Float),  # the end that was noted when it had come
    Column("orphaned_at", Float),  # since when nobody answers for them
    Column("sponsor", String(128)),  # who did
    Column("expires_before", Float),  # their end before that brought it forward
)
