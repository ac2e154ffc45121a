"""SAML, both ways."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "saml_issued",
        sa.Column("session_index", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("name_id", sa.String(length=255), nullable=False),
        sa.Column("issued_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session"], ["session.id"], name=op.f("fk_saml_issued_session_session"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_index", name=op.f("pk_saml_issued")),
    )
    op.create_index(op.f("ix_saml_issued_session"), "saml_issued", ["session"], unique=False)
    op.create_index(op.f("ix_saml_issued_ends_at"), "saml_issued", ["ends_at"], unique=False)
    op.create_index(op.f("ix_saml_issued_client_name_id"), "saml_issued", ["client", "name_id"], unique=False)
