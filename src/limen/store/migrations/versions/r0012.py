"""Providers that people come from: a link and a session name the issuer that they were made with."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for table in ("external_identity", "upstream_session"):
        op.add_column(
            table, sa.Column("issuer", sa.String(255), nullable=False, server_default=sa.text("''"))
        )
