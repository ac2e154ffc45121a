"""SCIM: clients, and their resources."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "scim_resource",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("user_name", sa.String(length=255), nullable=True),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("display", sa.String(length=255), nullable=False),
        sa.Column("owned", sa.Boolean(), nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("modified_at", sa.Float(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scim_resource")),
    )
    for unique, *columns in (
        (False, "target"),
        (False, "client", "kind", "id"),
        (True, "client", "user_name"),
        (False, "client", "external_id"),
    ):
        name = op.f(f"ix_scim_resource_{'_'.join(columns)}")
        op.create_index(name, "scim_resource", columns, unique=unique)
    _create_parts()
    _create_tokens()


def _create_parts() -> None:
    op.create_table(
        "scim_value",
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["resource"], ["scim_resource.id"], name=op.f("fk_scim_value_resource"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("resource", "name", "value", name=op.f("pk_scim_value")),
    )
    op.create_index(op.f("ix_scim_value_name_value"), "scim_value", ["name", "value"], unique=False)
    op.create_table(
        "scim_member",
        sa.Column("group", sa.String(length=64), nullable=False),
        sa.Column("member", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["group"], ["scim_resource.id"], name=op.f("fk_scim_member_group"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["scim_resource.id"], name=op.f("fk_scim_member_member"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group", "member", name=op.f("pk_scim_member")),
    )
    op.create_index(op.f("ix_scim_member_member"), "scim_member", ["member"], unique=False)


def _create_tokens() -> None:
    op.create_table(
        "scim_token",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_scim_token")),
        sa.UniqueConstraint("id", name=op.f("uq_scim_token_id")),
    )
    op.create_index(op.f("ix_scim_token_client"), "scim_token", ["client"], unique=False)
