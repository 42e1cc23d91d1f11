"""The ledger and the records: accounts, grants, calls, entries, keys, policy versions, and the view ai_usage_logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

ENTRIES_NEVER_CHANGE = (
    "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END",
    "CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END",
)

# created_at is written as datetime('now', ...) writes it, so that texts compare; with its offset, so that it is not
# taken for local time elsewhere.
AI_USAGE_LOGS = """
CREATE VIEW ai_usage_logs AS
SELECT id,
       user_id,
       workspace AS workspace_id,
       prospect AS prospect_id,
       action,
       provider,
       model,
       input_tokens AS tokens_prompt,
       output_tokens AS tokens_completion,
       input_tokens + output_tokens AS tokens_total,
       cost_nanousd / 1e9 AS cost_usd,
       strftime('%Y-%m-%d %H:%M:%f', created_at / 1e3, 'unixepoch') || '+00:00' AS created_at
FROM calls
WHERE state = 'closed' AND provider IS NOT NULL AND how NOT IN ('failed', 'left_before_content')
"""


def upgrade() -> None:
    _accounts()
    _grants()
    _calls()
    _entries()
    _keys()
    _versions_and_probes()
    for statement in ENTRIES_NEVER_CHANGE:
        op.execute(statement)
    op.execute(AI_USAGE_LOGS)


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text, primary_key=True),
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
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
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
    live = sa.text("closed_at IS NULL")
    op.create_index("ix_grants_live", "grants", ["account", "priority", "id"], sqlite_where=live)


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.Text, primary_key=True),
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
    op.create_index("ix_calls_open", "calls", ["owner"], sqlite_where=sa.text("state = 'open'"))
    op.create_index("ix_calls_account", "calls", ["account", "created_at"])


def asked() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text),
        sa.Column("prospect", sa.Text),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("action", sa.Text),
        sa.Column("requested_model", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("upstream", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("upstream_model", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("how", sa.Text),
    )


def points() -> tuple[sa.Column[int], ...]:
    return (
        sa.Column("points_held", Int, nullable=False, server_default="0"),
        sa.Column("points_if_unknown", Int, nullable=False, server_default="0"),
        sa.Column("points_charged", Int, nullable=False, server_default="0"),
        sa.Column("points_refunded", Int, nullable=False, server_default="0"),
        sa.Column("points_required", Int),
        sa.Column("points_available", Int),
    )


def answered() -> tuple[sa.Column[str] | sa.Column[int], ...]:
    return (
        sa.Column("owner", sa.Text),
        sa.Column("policy_version", sa.Text, nullable=False),
        sa.Column("price_version", sa.Text),
        sa.Column("downgraded_from", sa.Text),
        sa.Column("stream", Int, nullable=False),
        sa.Column("attempts", sa.Text),
        sa.Column("finish_reasons", sa.Text),
        sa.Column("input_tokens", Int),
        sa.Column("output_tokens", Int),
        sa.Column("cached_input_tokens", Int),
        sa.Column("usage_estimated", Int, nullable=False, server_default="0"),
        sa.Column("cost_nanousd", Int),
        sa.Column("error", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("first_content_ms", Int),
        sa.Column("duration_ms", Int),
    )


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("seq", Int, primary_key=True),
        sa.Column("op_ref", sa.Text, nullable=False, unique=True),
        sa.Column("call_id", sa.Text, sa.ForeignKey("calls.id")),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
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
    op.create_index("ix_entries_account", "entries", ["account", "seq", "points"])
    op.create_index("ix_entries_call", "entries", ["call_id", "kind", "points"])


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("workspace", sa.Text),
        sa.Column("operations", sa.Text),
        sa.Column("models", sa.Text),
        sa.Column("actions", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("created_at", Int, nullable=False),
        sa.Column("revoked_at", Int),
        sqlite_strict=True,
    )


def _versions_and_probes() -> None:
    op.create_table(
        "policy_versions",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("files", sa.Text, nullable=False),
        sa.Column("created_at", Int, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "probes",
        sa.Column("id", Int, primary_key=True),
        sa.Column("at", Int, nullable=False),
        sa.CheckConstraint("id = 1", name="single"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO probes (id, at) VALUES (1, 0)")
