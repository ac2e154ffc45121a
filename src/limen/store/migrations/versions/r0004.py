"""Identity: who somebody is elsewhere, who keeps and answers for them, keys that sign, what is used once."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("person", sa.Column("source", sa.String(64), nullable=False, server_default="local"))
    op.add_column("person", sa.Column("sponsor", sa.String(128)))
    op.add_column("person", sa.Column("signed_in_at", sa.Float()))
    op.add_column("person", sa.Column("signals", sa.JSON()))
    op.add_column("person", sa.Column("groups_unknown", sa.String(64), nullable=False, server_default=""))
    op.add_column("workload", sa.Column("expires_at", sa.Float()))
    op.add_column("workload", sa.Column("review_at", sa.Float()))
    op.add_column("workload", sa.Column("used_at", sa.Float()))
    op.create_table(
        "external_identity",
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("linked_at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False, server_default=sa.text("''")),
        sa.ForeignKeyConstraint(
            ["person"], ["person.id"], name=op.f("fk_external_identity_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source", "subject", name=op.f("pk_external_identity")),
    )
    op.create_index(op.f("ix_external_identity_person"), "external_identity", ["person"], unique=False)
    op.create_table(
        "upstream_session",
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("sid", sa.String(length=255), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False, server_default=sa.text("''")),
        sa.ForeignKeyConstraint(
            ["session"], ["session.id"], name=op.f("fk_upstream_session_session"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "source", name=op.f("pk_upstream_session")),
    )
    op.create_index(
        op.f("ix_upstream_session_source_subject"), "upstream_session", ["source", "subject"], unique=False
    )
    op.create_table(
        "spent",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_spent")),
    )
    op.create_index(op.f("ix_spent_expires_at"), "spent", ["expires_at"], unique=False)
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("use", sa.String(length=16), nullable=False),
        sa.Column("alg", sa.String(length=16), nullable=False),
        sa.Column("private_sealed", sa.Text(), nullable=False),
        sa.Column("public", sa.JSON(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("active_at", sa.Float(), nullable=False),
        sa.Column("retired_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_key")),
    )
    _move_identities()


def _move_identities() -> None:
    """`<provider>:<sub>` of the column that was, into the table that is."""
    person = sa.table("person", sa.column("id"), sa.column("external"), sa.column("source"))
    identity = sa.table(
        "external_identity",
        *(sa.column(name) for name in ("source", "subject", "person", "linked_at", "actor")),
    )
    connection = op.get_bind()
    known = connection.execute(
        sa.select(person.c.id, person.c.external).where(person.c.external.is_not(None))
    )
    for username, external in known.all():
        provider, _, subject = external.partition(":")
        row = {"source": f"oidc:{provider}", "subject": subject, "person": username}
        connection.execute(sa.insert(identity).values(**row, linked_at=0.0, actor="limen"))
    connection.execute(sa.update(person).values(external=None))
