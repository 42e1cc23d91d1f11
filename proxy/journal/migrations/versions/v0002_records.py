"""Records an operator can page through, prune and erase.

Accounts get a number, and grants, entries and calls name them by it: an erased user's name is then in no entry, and entries
are never changed. Entries no longer need their call's row, so that old calls can go. SQLite cannot alter these things: the
four tables are copied.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from proxy.journal.migrations.versions.v0001_ledger import AI_USAGE_LOGS, ENTRIES_NEVER_CHANGE, answered, asked, points

revision = "0002"
down_revision = "0001"

Int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

COPIED = ("accounts", "grants", "calls", "entries")

INDEXES = ("ix_grants_live", "ix_calls_open", "ix_calls_account", "ix_entries_account", "ix_entries_call")

COPY_ACCOUNTS = """
INSERT INTO accounts (number, id, namespace, user_id, plan, balance, held, created_at)
SELECT rowid, id, namespace, user_id, plan, balance, held, created_at FROM old_accounts
"""
# The ledger's own source_ref held the name too.
COPY_GRANTS = """
INSERT INTO grants
SELECT g.id, a.number, g.amount, g.remaining, g.kind, g.priority, g.reason,
       CASE g.source_ref WHEN 'plan:' || a.id || ':opening' THEN 'plan:' || a.number || ':opening' ELSE g.source_ref END,
       g.created_at, g.closed_at
FROM old_grants g JOIN accounts a ON a.id = g.account
"""
COPY_CALLS = """
INSERT INTO calls SELECT c.id, CASE c.state WHEN 'refused' THEN NULL ELSE a.number END, c.account, {columns}
FROM old_calls c LEFT JOIN accounts a ON a.id = c.account ORDER BY c.rowid
"""
COPY_ENTRIES = """
INSERT INTO entries SELECT e.seq, e.op_ref, e.call_id, a.number, e.grant_id, e.kind, e.points, e.balance_after, e.at
FROM old_entries e JOIN accounts a ON a.id = e.account
"""


def upgrade() -> None:
    op.execute("DROP VIEW ai_usage_logs")
    op.execute("DROP TRIGGER entries_no_update")
    op.execute("DROP TRIGGER entries_no_delete")
    for index in INDEXES:
        op.drop_index(index)
    op.execute("PRAGMA legacy_alter_table = ON")  # or references would follow the old tables
    for table in COPIED:
        op.rename_table(table, f"old_{table}")
    op.execute("PRAGMA legacy_alter_table = OFF")
    columns = _create()
    op.execute(COPY_ACCOUNTS)
    op.get_bind().exec_driver_sql(COPY_GRANTS)  # as it is: a colon in it begins no parameter
    op.execute(COPY_CALLS.format(columns=", ".join(f"c.{name}" for name in columns)))
    op.execute(COPY_ENTRIES)
    for table in reversed(COPIED):
        op.drop_table(f"old_{table}")
    _records()
    _indexes()
    for statement in ENTRIES_NEVER_CHANGE:
        op.execute(statement)
    op.execute(AI_USAGE_LOGS)


def _create() -> list[str]:
    """The four tables; returns the columns of calls behind ``account``."""
    _accounts()
    _grants()
    calls = _calls()
    _entries()
    names = [column.name for column in calls.columns]
    return names[names.index("account") + 1 :]


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("number", Int, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("balance", Int, nullable=False),
        sa.Column("held", Int, nullable=False),
        sa.Column("created_at", Int, nullable=False),
        sa.CheckConstraint("0 <= held AND held <= balance", name="held"),
        sqlite_strict=True,
    )


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", Int, primary_key=True),
        sa.Column("account", Int, sa.ForeignKey("accounts.number"), nullable=False),
        sa.Column("amount", Int, nullable=False),
        sa.Column("remaining", Int, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("priority", Int, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("source_ref", sa.Text, unique=True),
        sa.Column("created_at", Int, nullable=False),
        sa.Column("closed_at", Int),
        sa.CheckConstraint("kind IN ('plan', 'pack', 'promo', 'adjust')", name="kind"),
        sa.CheckConstraint("amount > 0 AND 0 <= remaining AND remaining <= amount", name="remaining"),
        sa.CheckConstraint("closed_at IS NULL OR remaining = 0", name="closed"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )


def _calls() -> sa.Table:
    return op.create_table(
        "calls",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("payer", Int, sa.ForeignKey("accounts.number")),
        *asked(),
        *points(),
        *answered(),
        sa.Column("created_at", Int, nullable=False),
        sa.Column("closed_at", Int),
        sa.CheckConstraint("state IN ('open', 'closed', 'refused')", name="state"),
        sa.CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (state = 'closed') = (how IS NOT NULL)", name="ended"
        ),
        sa.CheckConstraint("0 <= points_if_unknown AND points_if_unknown <= points_held", name="if_unknown"),
        sa.CheckConstraint("0 <= points_charged AND points_charged <= points_held", name="charged"),
        sa.CheckConstraint("0 <= points_refunded AND points_refunded <= points_charged", name="refunded"),
        sqlite_strict=True,
    )


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("seq", Int, primary_key=True),
        sa.Column("op_ref", sa.Text, nullable=False, unique=True),
        sa.Column("call_id", sa.Text),
        sa.Column("account", Int, sa.ForeignKey("accounts.number"), nullable=False),
        sa.Column("grant_id", Int, sa.ForeignKey("grants.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("points", Int, nullable=False),
        sa.Column("balance_after", Int, nullable=False),
        sa.Column("at", Int, nullable=False),
        sa.CheckConstraint("kind IN ('grant', 'settle', 'refund')", name="kind"),
        sa.CheckConstraint("CASE kind WHEN 'settle' THEN points < 0 ELSE points > 0 END", name="points"),
        sa.CheckConstraint("(kind = 'grant') = (call_id IS NULL)", name="call"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )


def _records() -> None:
    op.add_column("keys", sa.Column("expires_at", Int))
    op.create_table(
        "pruned",
        sa.Column("payer", Int, sa.ForeignKey("accounts.number"), primary_key=True),
        sa.Column("period", sa.Text, primary_key=True),
        sa.Column("calls", Int, nullable=False),
        sa.Column("charged", Int, nullable=False),
        sa.Column("refunded", Int, nullable=False),
        sa.CheckConstraint("0 <= refunded AND refunded <= charged", name="refunded"),
        sqlite_strict=True,
    )
    op.create_table(
        "erasures",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("calls_to", Int, primary_key=True),
        sa.Column("pseudonym", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "refusal_counts",
        sa.Column("minute", Int, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, primary_key=True),
        sa.Column("count", Int, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "bodies",
        sa.Column("call_id", sa.Text, sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("request", sa.Text),
        sa.Column("response", sa.Text),
        sa.Column("request_cut", Int, nullable=False),
        sa.Column("response_cut", Int, nullable=False),
        sqlite_strict=True,
    )


def _indexes() -> None:
    live = sa.text("closed_at IS NULL")
    op.create_index("ix_grants_live", "grants", ["account", "priority", "id"], sqlite_where=live)
    op.create_index("ix_grants_account", "grants", ["account", "id"])
    op.create_index("ix_calls_open", "calls", ["id"], sqlite_where=sa.text("state = 'open'"))
    op.create_index("ix_calls_account", "calls", ["account", "id"])
    op.create_index("ix_calls_namespace", "calls", ["namespace", "id"])
    op.create_index("ix_keys_user", "keys", ["namespace", "user_id"])
    op.create_index("ix_entries_account", "entries", ["account", "seq", "points"])
    op.create_index("ix_entries_call", "entries", ["call_id", "kind", "points"])
