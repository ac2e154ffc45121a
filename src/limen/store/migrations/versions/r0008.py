"""Clients that sign in through Limen: codes, tokens, logouts that they have yet to hear of."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column(
        "device_code",
        sa.Column("client_id", sa.String(64), nullable=False, server_default="limen-connect"),
    )
    op.add_column("device_code", sa.Column("asked", sa.JSON(none_as_null=True)))
    op.create_table(
        "oauth_authorization",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("sid", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("audiences", sa.JSON(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("jkt", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("redeemed_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["session.id"], name=op.f("fk_oauth_authorization_session"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_authorization")),
    )
    for column in ("client", "session", "person", "ended_at"):
        op.create_index(op.f(f"ix_oauth_authorization_{column}"), "oauth_authorization", [column])
    op.create_table(
        "oauth_token",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("authorization", sa.String(length=64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["authorization"],
            ["oauth_authorization.id"],
            name=op.f("fk_oauth_token_authorization"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_oauth_token")),
    )
    op.create_index(op.f("ix_oauth_token_authorization"), "oauth_token", ["authorization"])
    op.create_index(op.f("ix_oauth_token_expires_at"), "oauth_token", ["expires_at"])
    op.create_table(
        "logout_notice",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("sid", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logout_notice")),
    )
    op.create_index(op.f("ix_logout_notice_person"), "logout_notice", ["person"])
    op.create_index(op.f("ix_logout_notice_next_at"), "logout_notice", ["next_at"])
