"""What the daemon wrote down, read straight from its SQLite file or its PostgreSQL."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One transition."""

    position: int
    key: str
    sequence: int
    event: dict[str, Any]

    @property
    def data(self):
        return self.event["data"]


class PostgresqlLedger:
    """Stands for the file where the store is a database of a server of the tests."""

    def __init__(self, server, name):
        self._server = server
        self._name = name

    def select(self, statement):
        text = self._server.ask(self._name, f"SELECT json_agg(found) FROM ({statement}) found")
        return [tuple(row.values()) for row in json.loads(text.strip() or "null") or ()]


def _select(file, statement):
    if isinstance(file, PostgresqlLedger):
        return file.select(statement)
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def transitions(file):
    """Every transition, in the order of the commits; none before there is a ledger."""
    if not _made(file):
        return []
    found = _select(file, "SELECT position, key, sequence, event FROM transitions ORDER BY 1")
    return [Row(at, key, number, json.loads(event)) for at, key, number, event in found]


def deliveries(file):
    """(key, sequence, sink) → (status, attempts)."""
    if not _made(file):
        return {}
    found = _select(
        file,
        "SELECT t.key, t.sequence, d.sink, d.status, d.attempts"
        " FROM deliveries d JOIN transitions t USING (position)",
    )
    return {row[:3]: row[3:] for row in found}


def statuses(file):
    """The standing of every delivery, in no order."""
    return [status for status, _ in deliveries(file).values()]


def _made(file):
    if isinstance(file, PostgresqlLedger):
        tables = "SELECT 1 FROM information_schema.tables WHERE table_name = 'deliveries'"
        return bool(file.select(tables))
    return file.exists() and bool(
        _select(file, "SELECT 1 FROM sqlite_master WHERE name = 'deliveries'")
    )
