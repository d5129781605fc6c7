"""Tables that fit the terminal."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from monitor.cli.commands import jobs
from monitor.cli.tables import Column, Look, Table, age, cut, lines, width
from monitor.model import Phase, Severity

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-0.4), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(minutes=3, seconds=59), "3m"),
        (timedelta(hours=2), "2h"),
        (timedelta(hours=2, minutes=5), "2h5m"),
        (timedelta(days=1, hours=3, minutes=59), "1d3h"),
        (timedelta(days=4, hours=7), "4d"),
        (timedelta(days=400), "400d"),
        (timedelta(minutes=-5), "in 5m"),
    ],
)
def test_an_age_is_short(passed, text):
    assert age(passed.total_seconds()) == text


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("a b c d", 5, "a b…"),
        ("日本語です", 6, "日本…"),
        ("é" * 4, 3, "éé…"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
        ("gone", 0, ""),
    ],
)
def test_text_is_cut_to_columns_not_to_letters(text, columns, shown):
    assert cut(text, columns) == shown
    assert width(cut(text, columns)) <= max(columns, 0)


def job(**changes):
    facts: dict[str, object] = {
        "key": "panorama.package-import/prod/us-east-1/people-counter-20260301",
        "type": "panorama.package-import",
        "account": "prod",
        "region": "us-east-1",
        "id": "people-counter-20260301",
        "state": "PENDING",
        "phase": Phase.RUNNING,
        "severity": Severity.INFO,
        "reason": None,
        "changed_at": NOW - timedelta(hours=2, minutes=5),
        "last_look_at": NOW - timedelta(seconds=9),
        "stuck": False,
        "missing": False,
        "blind": False,
        "watch": "packages",
        "labels": {"team": "vision"},
        "acknowledged": None,
        "silenced": [],
    }
    return SimpleNamespace(**facts | changes)


def shown(*given, **look):
    return lines(jobs.table("LAST POLL"), given, Look(NOW, **look))


REASON = "The model archive has no descriptor, and so nothing can be imported from it."


def test_without_a_terminal_everything_is_written():
    head, row = shown(job(reason=REASON))
    assert head.split("  ")[0] == "TYPE"
    assert row.split()[:9] == [
        *("panorama.package-import", "prod", "us-east-1", "people-counter-20260301"),
        *("PENDING", "running", "2h5m", "9s", "-"),
    ]
    assert row.endswith(REASON)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(columns):
    found = shown(job(stuck=True, reason=REASON), job(id="x" * 90), width=columns)
    assert max(map(len, found)) <= columns


def test_a_narrow_terminal_keeps_what_tells_jobs_apart():
    head, first, second = shown(
        job(stuck=True, reason=REASON), job(id="cam-2", state="FAILED"), width=80
    )
    # All are in one account and region: they tell nothing apart.
    assert head.split() == ["TYPE", "ID", "STATE", "PHASE", "AGE", "FLAGS", "REASON"]
    assert "people-counter" in first
    assert "stuck" in first
    assert first.endswith("…")
    assert second.split() == ["panora…", "cam-2", "FAILED", "running", "2h5m", "-", "-"] or (
        second.split()[1:4] == ["cam-2", "FAILED", "running"]
    )


def test_places_that_differ_are_kept_before_the_reason():
    given = [job(reason=REASON), job(account="stage", type="importexport.job")]
    head = shown(*given, width=80)[0]
    assert "ACCOUNT" in head
    assert "REASON" not in head


def test_a_wide_terminal_shows_all_without_an_ellipsis():
    head, row = shown(job(stuck=True, missing=True, reason=REASON), width=200)
    assert head.split() == [
        *("TYPE", "ACCOUNT", "REGION", "ID", "STATE", "PHASE", "AGE", "LAST", "POLL", "FLAGS"),
        "REASON",
    ]
    assert "stuck,missing" in row
    assert "…" not in row


def test_the_wide_form_has_exact_times_and_more_columns():
    head, row = shown(job(), wide=True)
    assert "SINCE" in head
    assert "AGE" not in head
    assert "2026-03-01T09:55:00.000Z" in row
    assert "packages" in row
    assert "team=vision" in row


def test_colours_change_nothing_but_the_colour():
    given = [job(severity=Severity.ERROR, state="FAILED", phase=Phase.FAILED, stuck=True)]
    coloured = "\n".join(shown(*given, colours=True))
    assert "\x1b[31m" in coloured
    assert "\x1b[33m" in coloured
    plain = coloured
    for code in ("\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert plain == "\n".join(shown(*given))


def test_what_a_service_sends_cannot_steer_the_terminal():
    row = shown(job(id="a\x1b[31mb\nc"))[1]
    assert "\x1b" not in row
    assert "\n" not in row


def test_what_cannot_be_spared_stays_however_narrow():
    columns: list[Column[int]] = [Column("A", lambda _: "a" * 30)]
    table = Table(columns, name=str, data=str, empty="")
    assert lines(table, [1], Look(NOW, width=10))[1] == "a" * 30
