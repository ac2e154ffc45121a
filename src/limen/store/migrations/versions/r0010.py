"""Directories that are read: what each says of whom, and how its reading went."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "source_account",
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("says", sa.String(length=16), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("ends_at", sa.Float()),
        sa.ForeignKeyConstraint(
            ["person"], ["person.id"], name=op.f("fk_source_account_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source", "person", name=op.f("pk_source_account")),
    )
    op.create_index(op.f("ix_source_account_person"), "source_account", ["person"], unique=False)
    op.create_table(
        "source_run",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_run")),
    )
    op.create_index(
        op.f("ix_source_run_source_started_at"), "source_run", ["source", "started_at"], unique=False
    )
