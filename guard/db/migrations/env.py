"""Alembic's environment: runs inside the transaction that `engine.open_store` hands over."""

from alembic import context

from guard.db.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
