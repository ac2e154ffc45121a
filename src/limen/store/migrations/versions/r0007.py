"""Emergency access, and the ends of people's time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "break_glass",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("sealed_at", sa.Float(), nullable=False),
        sa.Column("sealed_by", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("voided_at", sa.Float(), nullable=True),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("session", sa.String(length=64), nullable=True),
        sa.Column("ip", sa.String(length=64), nullable=True),
        sa.Column("ends_at", sa.Float(), nullable=True),
        sa.Column("reviewed_at", sa.Float(), nullable=True),
        sa.Column("reviewed_by", sa.String(length=255), nullable=True),
        sa.Column("review", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass")),
        sa.UniqueConstraint("hash", name=op.f("uq_break_glass_hash")),
    )
    op.create_table(
        "person_care",
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("warned_for", sa.Float(), nullable=True),
        sa.Column("over_for", sa.Float(), nullable=True),
        sa.Column("orphaned_at", sa.Float(), nullable=True),
        sa.Column("sponsor", sa.String(length=128), nullable=True),
        sa.Column("expires_before", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"], ["person.id"], name=op.f("fk_person_care_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_person_care")),
    )
