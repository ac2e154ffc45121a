"""Strong by default: proven passkeys, recovery, notices."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("passkey", sa.Column("attested", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("passkey", sa.Column("bound", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "notice",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("queued_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "channel", name=op.f("pk_notice")),
    )
    op.create_index(op.f("ix_notice_person"), "notice", ["person"], unique=False)
    op.create_index(op.f("ix_notice_next_at"), "notice", ["next_at"], unique=False)
    _create_recovery()


def _create_recovery() -> None:
    op.create_table(
        "recovery",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=True),
        sa.Column("name_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("approval_hash", sa.String(length=64), nullable=False),
        sa.Column("mail_hash", sa.String(length=64), nullable=True),
        sa.Column("mailed", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("ip", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=255), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("announced_at", sa.Float(), nullable=True),
        sa.Column("how", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery")),
        sa.UniqueConstraint("approval_hash", name=op.f("uq_recovery_approval_hash")),
        sa.UniqueConstraint("mail_hash", name=op.f("uq_recovery_mail_hash")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_recovery_token_hash")),
    )
    op.create_index(op.f("ix_recovery_person"), "recovery", ["person"], unique=False)
    op.create_table(
        "recovered",
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("how", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["person"], ["person.id"], name=op.f("fk_recovered_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_recovered")),
    )
    op.create_index(op.f("ix_recovered_until"), "recovered", ["until"], unique=False)
