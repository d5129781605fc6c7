"""Turns observations into the snapshots and transitions of the ledger."""
