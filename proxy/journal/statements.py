"""Every statement of the SQLite ledger, one constant each, bound parameters only.

All writes run inside the writer's transaction (BEGIN IMMEDIATE: serialised, so what one statement read still holds when
the next one writes). A reserve is two statements, a close of one grant four, a void two.
"""

from __future__ import annotations

from proxy.journal.port import CALL_COLUMNS

BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
SAVE = "SAVEPOINT job"
KEEP = "RELEASE job"
UNDO = "ROLLBACK TO job"

# --- accounts ---------------------------------------------------------------------------------------------------------

# Never decide on a balance read earlier: the condition is part of the update.
HOLD = "UPDATE accounts SET held = held + ? WHERE id = ? AND balance - held >= ? RETURNING balance - held, number"
HOLD_MORE = "UPDATE accounts SET held = held + ? WHERE number = ? AND balance - held >= ? RETURNING balance - held"
UNHOLD = "UPDATE accounts SET held = held - ? WHERE number = ?"
SETTLE = "UPDATE accounts SET held = held - ?, balance = balance - ? WHERE number = ? RETURNING balance, held"
DEPOSIT = "UPDATE accounts SET balance = balance + ? WHERE number = ? RETURNING balance, held, plan"
READ_ACCOUNT = "SELECT plan, balance, held, number FROM accounts WHERE id = ?"
TAKE_PLAN = "UPDATE accounts SET plan = ? WHERE number = ?"
READ_POINTS = "SELECT balance, held FROM accounts WHERE number = ?"
OPEN_ACCOUNT = """
INSERT INTO accounts (id, namespace, user_id, plan, balance, held, created_at) VALUES (?, ?, ?, ?, 0, 0, ?)
RETURNING number
"""

# --- grants and entries -----------------------------------------------------------------------------------------------

# The common case: the first grant in burn order covers the charge and is not used up by it.
BURN_FIRST = """
UPDATE grants SET remaining = remaining - ?1
WHERE remaining > ?1 AND id = (
    SELECT id FROM grants WHERE account = ?2 AND closed_at IS NULL ORDER BY priority, id LIMIT 1
)
RETURNING id
"""
LIVE_GRANTS = "SELECT id, remaining FROM grants WHERE account = ? AND closed_at IS NULL ORDER BY priority, id"
BURN = "UPDATE grants SET remaining = remaining - ? WHERE id = ?"
USE_UP = "UPDATE grants SET remaining = 0, closed_at = ? WHERE id = ?"
GIVE_BACK = "UPDATE grants SET remaining = remaining + ?, closed_at = NULL WHERE id = ?"
ADD_GRANT = """
INSERT INTO grants (account, amount, remaining, kind, priority, reason, source_ref, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
RETURNING id
"""
READ_GRANT = "SELECT account, amount, kind FROM grants WHERE source_ref IN (?, ?)"
ADD_ENTRY = """
INSERT INTO entries (op_ref, call_id, account, grant_id, kind, points, balance_after, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
SETTLED = "SELECT grant_id, -points FROM entries WHERE call_id = ? AND kind = 'settle' ORDER BY seq"

# --- calls ------------------------------------------------------------------------------------------------------------

OPEN_CALL = """
INSERT INTO calls (
    id, account, namespace, user_id, workspace, prospect, key_id, operation, action, requested_model, stream,
    policy_version, price_version, payer, model, state, points_held, points_if_unknown, points_required,
    points_available, downgraded_from, owner, created_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
REFUSE_CALL = """
INSERT INTO calls (
    id, account, namespace, user_id, workspace, prospect, key_id, operation, action, requested_model, stream,
    policy_version, price_version, state, points_required, points_available, error, error_message, created_at, closed_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'refused', ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
RAISE_CALL = "UPDATE calls SET points_held = ?, points_if_unknown = ? WHERE id = ?"
CLOSE_CALL = """
UPDATE calls SET
    state = 'closed', how = ?, points_charged = ?, model = COALESCE(?, model), upstream = ?, provider = ?,
    upstream_model = ?, input_tokens = ?, output_tokens = ?, cached_input_tokens = ?, usage_estimated = ?,
    cost_nanousd = ?, finish_reasons = ?, attempts = ?, error = ?, first_content_ms = ?, duration_ms = ?, closed_at = ?
WHERE id = ? AND state = 'open'
RETURNING payer, points_held
"""
REFUND_CALL = "UPDATE calls SET how = ?, points_refunded = points_charged WHERE id = ?"
READ_CALL = """
SELECT payer, state, model, points_held, points_charged, points_refunded, points_required, points_available, account
FROM calls WHERE id = ?
"""
WHOLE_CALL = f"SELECT {', '.join(CALL_COLUMNS)} FROM calls WHERE id = ?"  # noqa: S608 - our own names
ABANDONED = "SELECT id, points_if_unknown FROM calls WHERE state = 'open' LIMIT ?"

# --- keys, versions, the store itself ---------------------------------------------------------------------------------

ADD_KEY = """
INSERT INTO keys (
    id, mac, role, namespace, user_id, workspace, operations, models, actions, name, created_at, revoked_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
REVOKE_KEY = "UPDATE keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?"
REPLACE_KEY = (
    "UPDATE keys SET revoked_at = ?, expires_at = ? WHERE id = ? AND revoked_at IS NULL AND expires_at IS NULL"
)
COPY_KEY = """
INSERT INTO keys (id, mac, role, namespace, user_id, workspace, operations, models, actions, name, created_at)
SELECT ?, ?, role, namespace, user_id, workspace, operations, models, actions, name, ? FROM keys WHERE id = ?
ON CONFLICT (id) DO NOTHING
"""
READ_KEY = """
SELECT id, mac, role, namespace, user_id, workspace, operations, models, actions, name, created_at, revoked_at,
    expires_at
FROM keys WHERE id = ?
"""
READ_KEYS = """
SELECT id, mac, role, namespace, user_id, workspace, operations, models, actions, name, created_at, revoked_at,
    expires_at
FROM keys WHERE namespace = COALESCE(?, namespace) ORDER BY created_at, id
"""
KEEP_POLICY_VERSION = """
INSERT INTO policy_versions (version, files, created_at) VALUES (?, ?, ?) ON CONFLICT (version) DO NOTHING
"""
PROBE = "UPDATE probes SET at = ? WHERE id = 1"
LATEST = """
SELECT max(
    COALESCE((SELECT at FROM entries ORDER BY seq DESC LIMIT 1), 0),
    COALESCE((SELECT created_at FROM calls ORDER BY rowid DESC LIMIT 1), 0)
)
"""
