import sqlite3

import pytest
import sqlalchemy as sa

from monitor.stores import sqlite


class Cursor:
    """It refuses as SQLite does while another connection gives the file a log."""

    def __init__(self, refusals, words="database is locked"):
        self.left, self.words, self.asked = refusals, words, 0

    def execute(self, statement):
        assert statement == "PRAGMA journal_mode = WAL"
        self.asked += 1
        if self.left:
            self.left -= 1
            raise sqlite3.OperationalError(self.words)


async def asked(cursor):
    await sa.util.greenlet_spawn(sqlite._ask_for_log, cursor)


async def test_a_log_is_asked_for_again_while_another_connection_makes_it():
    cursor = Cursor(2)
    await asked(cursor)
    assert cursor.asked == 3


async def test_what_stays_locked_and_what_fails_otherwise_is_an_error(monkeypatch):
    monkeypatch.setattr(sqlite, "_MOST_TRIES", 4)
    for cursor, tries in ((Cursor(99), 4), (Cursor(1, "disk I/O error"), 1)):
        with pytest.raises(sqlite3.OperationalError, match=cursor.words):
            await asked(cursor)
        assert cursor.asked == tries
