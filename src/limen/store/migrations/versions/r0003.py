"""The journal proper: workloads and their tokens, proposals, shadow, holds, the keepers of proofs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "bundle_proposal",
        sa.Column("bundle", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("base", sa.String(length=64), nullable=False),
        sa.Column("proposed_at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("approved_at", sa.Float(), nullable=True),
        sa.Column("approver", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("bundle", name=op.f("pk_bundle_proposal")),
    )
    op.create_table(
        "complaint",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=128), nullable=False),
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.Column("answered_by", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_complaint")),
    )
    op.create_index(op.f("ix_complaint_owner"), "complaint", ["owner"], unique=False)
    op.create_index(op.f("ix_complaint_person"), "complaint", ["person"], unique=False)
    op.create_table(
        "journal_node",
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("verifier_key", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_journal_node")),
    )
    op.create_table(
        "legal_hold",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_hold")),
    )
    op.create_table(
        "shadow",
        sa.Column("bundle", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bundle", name=op.f("pk_shadow")),
    )
    op.create_table(
        "workload",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("quarantined", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workload")),
    )
    op.create_table(
        "workload_membership",
        sa.Column("workload", sa.String(length=128), nullable=False),
        sa.Column("group", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["group"], ["group.id"], name=op.f("fk_workload_membership_group"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workload"], ["workload.id"], name=op.f("fk_workload_membership_workload"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workload", "group", name=op.f("pk_workload_membership")),
    )
    op.create_index(op.f("ix_workload_membership_group"), "workload_membership", ["group"], unique=False)
    op.create_table(
        "workload_token",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("workload", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload"], ["workload.id"], name=op.f("fk_workload_token_workload"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_workload_token")),
        sa.UniqueConstraint("id", name=op.f("uq_workload_token_id")),
    )
    op.create_index(op.f("ix_workload_token_workload"), "workload_token", ["workload"], unique=False)
