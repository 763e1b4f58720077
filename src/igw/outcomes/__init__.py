"""How requests went: reservations that always end, and who is told. Both response modes feed the same ledger."""
