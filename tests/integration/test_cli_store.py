"""``store copy`` and ``store check``, as processes of their own."""

import json
import sqlite3
from contextlib import closing

import pytest

from monitor.stores.store import open_store
from tests.acceptance.program import run
from tests.contracts.store_examples import SettableClock, entry

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def config(tmp_path):
    """A configuration whose store has three jobs."""
    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        for number in (1, 2, 3):
            await store.record(entry(number))
    file = tmp_path / "monitor.yaml"
    sinks = {"ops": {"type": "log", "path": str(tmp_path / "ops.log")}}
    file.write_text(json.dumps({"store": f"sqlite://{tmp_path}/state.db", "sinks": sinks}))
    return file


async def test_a_store_is_copied_once(tmp_path, config):
    copy = ("store", "copy", f"sqlite://{tmp_path}/state.db", "sqlite:new.db")
    code, out, err = await run(*copy, directory=tmp_path)
    assert (code, err) == (0, "")
    assert out == "Copied 9 rows. The target is the store now: start the daemon with it.\n"
    code, out, _ = await run("store", "check", "sqlite:new.db", directory=tmp_path)
    assert (code, out.splitlines()[-1]) == (0, "The store is in order.")
    code, out, err = await run(*copy, directory=tmp_path)
    assert (code, out) == (74, "")
    assert "new.db: it is not empty: it has rows in jobs, " in err


async def test_the_stores_of_two_configurations_are_copied(tmp_path, config):
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({"store": f"sqlite://{tmp_path}/new.db"}))
    copy = ("store", "copy", "--source-config", config, "-c", other)
    code, out, err = await run(*copy, directory=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("Copied 9 rows. ")
    code, out, err = await run(*copy, directory=tmp_path)
    assert (code, out) == (74, "")
    assert "new.db: it is not empty: it has rows in jobs, " in err
    assert "(the copy of this ledger has ended: start the daemon with it)" in err


MISTAKES = {
    (): "error: SOURCE: is missing (write the URL of a store, or --source-config FILE)\n",
    ("sqlite:a.db",): "error: there is no configuration (name a file with --config or ",
    ("sqlite:a.db", "sqlite:b.db", "-c", "any.yaml"): "error: --config: stands beside TARGET (",
    ("sqlite:a.db", "sqlite:b.db", "--source-config", "any.yaml"): (
        "error: --source-config: stands beside SOURCE (write SOURCE or --source-config)\n"
    ),
}


@pytest.mark.parametrize("arguments", MISTAKES)
async def test_a_copy_of_no_store_or_of_two_is_refused(tmp_path, arguments):
    code, out, err = await run("store", "copy", *arguments, directory=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(MISTAKES[arguments])
    assert not [*tmp_path.glob("*.db*")]


async def test_a_store_is_checked_and_what_is_wrong_is_named(tmp_path, config):
    code, out, err = await run("store", "check", "-c", config, directory=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "The store is in order."
    assert ["transitions", "3"] in [line.split() for line in out.splitlines()]
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("UPDATE jobs SET sequence = 0 WHERE id = 'job-2'")
        connection.commit()
    code, out, _ = await run("store", "check", "-c", config, directory=tmp_path)
    problem = "1 transitions are newer than the snapshot of their job: 2"
    assert (code, out.splitlines()[-1]) == (1, problem)
    code, out, _ = await run("store", "check", "-c", config, "-o", "json", directory=tmp_path)
    assert (code, json.loads(out)["problems"]) == (1, [problem])
    assert json.loads(out)["rows"]["jobs"] == 3


@pytest.mark.parametrize(
    "url", ["mysql://h/db", "sqlite:missing.db", "postgresql://u:hunter2@[h/d"]
)
async def test_a_store_that_cannot_be_opened_is_named_without_its_password(tmp_path, url):
    code, out, err = await run("store", "check", url, directory=tmp_path)
    assert code in {2, 74}
    assert (out, "hunter2" in err) == ("", False)
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
