"""Machines: what they prove themselves by, their sessions, and what becomes of those whose owner leaves."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("workload", sa.Column("stops_at", sa.Float()))
    op.add_column("workload", sa.Column("review_told_at", sa.Float()))
    op.create_table(
        "workload_credential",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("workload", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("proof", sa.String(length=128), nullable=False),
        sa.Column("public", sa.JSON(), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload"], ["workload.id"], name=op.f("fk_workload_credential_workload"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workload_credential")),
        sa.UniqueConstraint("proof", name=op.f("uq_workload_credential_proof")),
    )
    op.create_index(
        op.f("ix_workload_credential_workload"), "workload_credential", ["workload"], unique=False
    )
    op.create_table(
        "workload_session",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("workload", sa.String(length=128), nullable=False),
        sa.Column("methods", sa.JSON(), nullable=False),
        sa.Column("apps", sa.JSON(), nullable=False),
        sa.Column("jkt", sa.String(length=64), nullable=False),
        sa.Column("x5t", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("ip", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload"], ["workload.id"], name=op.f("fk_workload_session_workload"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_workload_session")),
    )
    op.create_index(op.f("ix_workload_session_expires_at"), "workload_session", ["expires_at"], unique=False)
    op.create_index(op.f("ix_workload_session_workload"), "workload_session", ["workload"], unique=False)
