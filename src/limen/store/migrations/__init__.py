"""Alembic's scripts. One file a revision, numbered without a gap; none is ever edited after a release.

A new revision: change `tables.py`, write `versions/rNNNN.py` with `op.` calls (through
`op.batch_alter_table` where SQLite must copy a table), add its release to `schema.RELEASES`. The test
`test_the_migrated_schema_equals_the_tables` says what is missing. Long work belongs in a back-fill.
"""
