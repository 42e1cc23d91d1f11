"""The schema as SQLAlchemy Core metadata, for migrations and reports. The proxy itself never imports it (47 MB, 250 ms).

Integers only: points are whole, times Unix milliseconds, cost nano-dollars; the tables are STRICT, so SQLite refuses
anything else. What a row may be is checked by the tables themselves where one row tells; ``verify`` checks the rest.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

Int = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    # What grants, entries and calls name it by: it stays when the user's name is erased, so the books never hold a name.
    Column("number", Int, primary_key=True),
    Column("id", Text, nullable=False, unique=True),  # namespace/user
    Column("namespace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("balance", Int, nullable=False),
    Column("held", Int, nullable=False),
    Column("created_at", Int, nullable=False),
    CheckConstraint("0 <= held AND held <= balance", name="held"),
    sqlite_strict=True,
)

grants = Table(
    "grants",
    metadata,
    Column("id", Int, primary_key=True),  # rises with creation
    Column("account", Int, ForeignKey("accounts.number"), nullable=False),
    Column("amount", Int, nullable=False),
    Column("remaining", Int, nullable=False),
    Column("kind", Text, nullable=False),
    Column("priority", Int, nullable=False),  # the lowest is burnt first
    Column("reason", Text),
    Column("source_ref", Text, unique=True),
    Column("created_at", Int, nullable=False),
    Column("closed_at", Int),
    CheckConstraint("kind IN ('plan', 'pack', 'promo', 'adjust')", name="kind"),
    CheckConstraint("amount > 0 AND 0 <= remaining AND remaining <= amount", name="remaining"),
    CheckConstraint("closed_at IS NULL OR remaining = 0", name="closed"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("payer", Int, ForeignKey("accounts.number")),  # NULL when refused: such a caller may have no account
    Column("account", Text, nullable=False),  # this and the next four are erased with the user
    Column("namespace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("workspace", Text),
    Column("prospect", Text),
    Column("key_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("action", Text),
    Column("requested_model", Text, nullable=False),
    Column("model", Text),  # held for, then: whose content the client got
    Column("upstream", Text),  # this and the next two: who answered; NULL when nobody did
    Column("provider", Text),
    Column("upstream_model", Text),
    Column("state", Text, nullable=False),
    Column("how", Text),  # call.How; NULL while open and when refused
    Column("points_held", Int, nullable=False, server_default="0"),
    Column("points_if_unknown", Int, nullable=False, server_default="0"),
    Column("points_charged", Int, nullable=False, server_default="0"),
    Column("points_refunded", Int, nullable=False, server_default="0"),
    Column(
        "points_required", Int
    ),  # what the decision turned on: the first offer's price; refused: the cheapest offer's
    Column("points_available", Int),  # what the payer could spend at that moment
    Column("owner", Text),
    Column("policy_version", Text, nullable=False),
    Column("price_version", Text),
    Column("downgraded_from", Text),
    Column("stream", Int, nullable=False),
    Column("attempts", Text),  # JSON list
    Column("finish_reasons", Text),  # JSON list
    Column("input_tokens", Int),
    Column("output_tokens", Int),
    Column("cached_input_tokens", Int),
    Column("usage_estimated", Int, nullable=False, server_default="0"),
    Column("cost_nanousd", Int),  # NULL: unknown, never taken for 0
    Column("error", Text),
    Column("error_message", Text),
    Column("first_content_ms", Int),
    Column("duration_ms", Int),
    Column("created_at", Int, nullable=False),
    Column("closed_at", Int),
    CheckConstraint("state IN ('open', 'closed', 'refused')", name="state"),
    CheckConstraint("(state = 'open') = (closed_at IS NULL) AND (state = 'closed') = (how IS NOT NULL)", name="ended"),
    CheckConstraint("0 <= points_if_unknown AND points_if_unknown <= points_held", name="if_unknown"),
    CheckConstraint("0 <= points_charged AND points_charged <= points_held", name="charged"),
    CheckConstraint("0 <= points_refunded AND points_refunded <= points_charged", name="refunded"),
    sqlite_strict=True,
)

entries = Table(
    "entries",
    metadata,
    Column("seq", Int, primary_key=True),
    Column("op_ref", Text, nullable=False, unique=True),  # grant:<grant>, settle:<call>:<n>, refund:<call>:<n>
    Column("call_id", Text),  # no foreign key: entries stay when the rows of old calls are pruned
    Column("account", Int, ForeignKey("accounts.number"), nullable=False),
    Column("grant_id", Int, ForeignKey("grants.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("points", Int, nullable=False),  # signed
    Column("balance_after", Int, nullable=False),
    Column("at", Int, nullable=False),
    CheckConstraint("kind IN ('grant', 'settle', 'refund')", name="kind"),
    CheckConstraint("CASE kind WHEN 'settle' THEN points < 0 ELSE points > 0 END", name="points"),
    CheckConstraint("(kind = 'grant') = (call_id IS NULL)", name="call"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("mac", LargeBinary, nullable=False),
    Column("role", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("user_id", Text),
    Column("workspace", Text),
    Column("operations", Text),  # this and the next two: a JSON list; NULL: not narrowed
    Column("models", Text),
    Column("actions", Text),
    Column("name", Text),
    Column("created_at", Int, nullable=False),
    Column("revoked_at", Int),
    Column("expires_at", Int),  # of a key that another took the place of
    sqlite_strict=True,
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("version", Text, primary_key=True),
    Column("files", Text, nullable=False),  # JSON object: path -> text
    Column("created_at", Int, nullable=False),
    sqlite_strict=True,
)

pruned = Table(
    "pruned",  # what calls that were pruned had been charged, by the month (UTC) they were closed in: their entries stay
    metadata,
    Column("payer", Int, ForeignKey("accounts.number"), primary_key=True),
    Column("period", Text, primary_key=True),  # 2026-11
    Column("calls", Int, nullable=False),
    Column("charged", Int, nullable=False),
    Column("refunded", Int, nullable=False),
    CheckConstraint("0 <= refunded AND refunded <= charged", name="refunded"),
    sqlite_strict=True,
)

erasures = Table(
    "erasures",  # users whose calls are being erased; a row goes when the last of them is done
    metadata,
    Column("account", Text, primary_key=True),
    Column(
        "calls_to", Int, primary_key=True
    ),  # the last row of calls that is this user's: the name is free again behind it
    Column("pseudonym", Text, nullable=False),
    sqlite_strict=True,
)

refusal_counts = Table(
    "refusal_counts",  # refusals beyond those written one by one
    metadata,
    Column("minute", Int, primary_key=True),  # its first Unix millisecond
    Column("source", Text, primary_key=True),  # the key's id; "" when there was no valid key
    Column("reason", Text, primary_key=True),
    Column("count", Int, nullable=False),
    sqlite_strict=True,
)

bodies = Table(
    "bodies",  # what was asked and answered, when the operator wants it kept
    metadata,
    Column("call_id", Text, ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    Column("request", Text),
    Column("response", Text),
    Column("request_cut", Int, nullable=False),  # 1: longer than what is kept of it
    Column("response_cut", Int, nullable=False),
    sqlite_strict=True,
)

probes = Table(
    "probes",  # one row, written to find out whether the file takes writes
    metadata,
    Column("id", Int, primary_key=True),
    Column("at", Int, nullable=False),
    CheckConstraint("id = 1", name="single"),
    sqlite_strict=True,
)

Index("ix_grants_live", grants.c.account, grants.c.priority, grants.c.id, sqlite_where=grants.c.closed_at.is_(None))
Index("ix_grants_account", grants.c.account, grants.c.id)
Index("ix_calls_open", calls.c.id, sqlite_where=calls.c.state == "open")
Index("ix_calls_account", calls.c.account, calls.c.id)
Index("ix_calls_namespace", calls.c.namespace, calls.c.id)
Index("ix_keys_user", keys.c.namespace, keys.c.user_id)
Index("ix_entries_account", entries.c.account, entries.c.seq, entries.c.points)  # covers the sums of verify
Index("ix_entries_call", entries.c.call_id, entries.c.kind, entries.c.points)  # covers the sums of verify
