"""The journal: ledger and records in one commit; reserve, then settle or void, exactly once."""
