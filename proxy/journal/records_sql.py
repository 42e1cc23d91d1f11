"""The SQL that prunes, erases, counts refusals and keeps bodies; like ``statements``, inside the writer's transaction."""

from __future__ import annotations

# --- pruning ----------------------------------------------------------------------------------------------------------

# Ids are in the order of time, so this begins at the oldest row and ends at its page. Open calls have no closed_at.
PRUNE_CALLS = """
DELETE FROM calls WHERE rowid IN (SELECT rowid FROM calls WHERE id < ? AND closed_at < ? ORDER BY id LIMIT ?)
RETURNING payer, strftime('%Y-%m', closed_at / 1000, 'unixepoch'), points_charged, points_refunded
"""
NOTE_PRUNED = """
INSERT INTO pruned (payer, period, calls, charged, refunded) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (payer, period) DO UPDATE SET
    calls = calls + excluded.calls, charged = charged + excluded.charged, refunded = refunded + excluded.refunded
"""
PRUNE_COUNTS = """
DELETE FROM refusal_counts WHERE rowid IN (SELECT rowid FROM refusal_counts WHERE minute < ? ORDER BY minute LIMIT ?)
"""

# --- erasing ----------------------------------------------------------------------------------------------------------

RUNNING = "SELECT COUNT(*) FROM calls INDEXED BY ix_calls_open WHERE state = 'open' AND account = ?"
LAST_CALL = "SELECT MAX(rowid) FROM calls WHERE account = ? AND rowid > ?"
RENAME_ACCOUNT = "UPDATE accounts SET id = ?, user_id = ? WHERE id = ? RETURNING number"
REFS_OF_ACCOUNT = "SELECT id, source_ref FROM grants WHERE account = ?"
ERASE_GRANT = "UPDATE grants SET reason = NULL, source_ref = ? WHERE id = ?"
ERASE_KEYS = """
UPDATE keys SET revoked_at = COALESCE(revoked_at, ?), user_id = ?, workspace = NULL, name = NULL
WHERE namespace = ? AND user_id = ?
RETURNING id
"""
NOTE_ERASURE = "INSERT INTO erasures (account, calls_to, pseudonym) VALUES (?, ?, ?)"
LAST_ERASURE = "SELECT calls_to, pseudonym FROM erasures WHERE account = ? ORDER BY calls_to DESC LIMIT 1"
NEXT_ERASURE = "SELECT account, calls_to, pseudonym FROM erasures ORDER BY account, calls_to LIMIT 1"
CALLS_TO_ERASE = "SELECT rowid, id FROM calls WHERE account = ? AND rowid <= ? LIMIT ?"
# What a caller wrote into a refused request may name anybody.
ERASE_CALL = """
UPDATE calls SET account = ?, user_id = ?, workspace = NULL, prospect = NULL, error_message = NULL,
    action = CASE state WHEN 'refused' THEN NULL ELSE action END,
    requested_model = CASE state WHEN 'refused' THEN '' ELSE requested_model END
WHERE rowid = ?
"""
ERASE_BODIES = "DELETE FROM bodies WHERE call_id = ?"
END_ERASURE = "DELETE FROM erasures WHERE account = ? AND calls_to = ?"

# Not in a transaction: the log still holds pages as they were before.
NO_WAIT = "PRAGMA busy_timeout = 0"
WAIT = "PRAGMA busy_timeout = {ms}"
EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"

# --- counting refusals, keeping bodies --------------------------------------------------------------------------------

COUNT_REFUSALS = """
INSERT INTO refusal_counts (minute, source, reason, count) VALUES (?, ?, ?, ?)
ON CONFLICT (minute, source, reason) DO UPDATE SET count = count + excluded.count
"""
KEEP_BODIES = """
INSERT INTO bodies (call_id, request, response, request_cut, response_cut)
SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM calls WHERE id = ?1)
ON CONFLICT (call_id) DO NOTHING
"""
READ_BODIES = "SELECT call_id, request, response, request_cut, response_cut FROM bodies WHERE call_id = ?"
