"""The durable memory: one ledger over SQLite or PostgreSQL."""
