"""Run by Alembic, on the connection and in the transaction that the store hands in."""

from alembic import context

from monitor.stores import schema

context.configure(
    connection=context.config.attributes["connection"], target_metadata=schema.metadata
)
with context.begin_transaction():
    context.run_migrations()
