"""The store: tables, migrations, repositories and the change feed."""
