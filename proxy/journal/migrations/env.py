"""What Alembic runs a migration in: one transaction on the connection that ``migrate`` hands over."""

from alembic import context

from proxy.journal.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's DDL is transactional; a migration that dies half way leaves nothing behind
)
with context.begin_transaction():
    context.run_migrations()
