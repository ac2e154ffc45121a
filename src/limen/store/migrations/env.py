"""Runs revisions on the connection, and inside the transaction, that `limen.store.schema` hands over."""

from alembic import context

from limen.store.identity_tables import every_table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=every_table,
    render_as_batch=True,
    # The connection is in a transaction already, and SQLite's DDL obeys it.
    transactional_ddl=True,
)
context.run_migrations()
