"""Records an operator can page through: an index for each list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("ix_calls_account", "calls")
    op.drop_index("ix_calls_open", "calls")
    op.create_index("ix_calls_account", "calls", ["account", "id"])
    op.create_index("ix_calls_namespace", "calls", ["namespace", "id"])
    op.create_index("ix_calls_open", "calls", ["id"], sqlite_where=sa.text("state = 'open'"))
    op.create_index("ix_grants_account", "grants", ["account", "id"])
