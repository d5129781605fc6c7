"""``job-monitor jobs``: from the store beside a daemon, and from the daemon itself."""

import json
import re

import pytest

from monitor import simulator
from monitor.cli.commands.jobs import AS_STORED
from tests.acceptance.program import configure, disks, packages, run, running, until

pytestmark = pytest.mark.timeout(600)

PACKAGE, DISK = "panorama.package-import", "importexport.job"
SCENARIO = {
    "jobs": [
        {"id": "pkg-1", "service": "panorama"},
        {"id": "pkg-2", "service": "panorama", "members": {"Status": "FAILED"}},
        {"id": "pkg-3", "service": "panorama", "members": {"Status": "SUCCEEDED"}},
        {"id": "EX1", "service": "importexport"},
    ]
}
WATCHES = [packages(labels={"team": "vision"}), disks(labels={"team": "storage"})]
SHOWN = ["pkg-1", "pkg-2", "pkg-3"]
HEADS = ["TYPE", "ACCOUNT", "REGION", "ID", "STATE", "PHASE", "AGE", "LAST POLL", "FLAGS", "REASON"]
LIVE = (
    *("last_look_at", "interval", "next_look_at", "failing", "finished", "blind"),
    *("acknowledged", "silenced"),
)
"""What only a daemon knows."""


async def _watched(directory, sim, check):
    """Run ``check(options)`` for both ways to ask, while a daemon watches all there is."""
    config = configure(directory, sim, watches=WATCHES)
    async with running("run", "-c", config, directory=directory) as program:
        url = await program.started()
        await until(lambda: len(program.logged("job.transitioned")) >= len(SCENARIO["jobs"]))
        for options in (("-c", config), ("--server", url)):
            await check(options)


async def test_it_lists_what_is_watched(tmp_path):
    async def check(options):
        short = await run("jobs", *options, directory=tmp_path)
        code, out, err = await run("jobs", "list", *options, directory=tmp_path)
        stored = options[0] == "-c"
        assert (code, err.strip()) == (0, AS_STORED if stored else "")
        head, *rows = out.splitlines()
        seen = "LAST STORED" if stored else "LAST POLL"
        assert [name.strip() for name in head.split("  ") if name.strip()] == [
            seen if name == "LAST POLL" else name for name in HEADS
        ]
        found = [row.split() for row in rows]
        assert [row[:6] for row in found] == [
            [DISK, "sim", "us-east-1", "EX1", "NotReceived/Pending", "waiting"],
            [PACKAGE, "sim", "us-east-1", "pkg-1", "PENDING", "running"],
            [PACKAGE, "sim", "us-east-1", "pkg-2", "FAILED", "failed"],
            [PACKAGE, "sim", "us-east-1", "pkg-3", "SUCCEEDED", "succeeded"],
        ]
        for row in found:
            assert re.fullmatch(r"\d+[smh]\w*", row[6])
            assert re.fullmatch(r"\d+[smh]\w*", row[7])
        assert short[0] == 0
        assert [line.split()[:6] for line in short[1].splitlines()[1:]] == [r[:6] for r in found]
        assert "\x1b" not in out

    async with simulator.running(SCENARIO) as sim:
        await _watched(tmp_path, sim, check)


async def test_filters_choose_and_both_ways_tell_the_same(tmp_path):
    told = []

    async def check(options):
        async def ids(*filters):
            more = ("-o", "json", *filters)
            code, out, err = await run("jobs", *options, *more, directory=tmp_path)
            assert (code, err) == (0, ""), err
            found = json.loads(out)
            told.append([{**job, **dict.fromkeys(LIVE)} for job in found])
            return [job["id"] for job in found]

        assert await ids() == ["EX1", *SHOWN]
        assert await ids("--type", "panorama.*") == SHOWN
        assert await ids("--phase", "failed", "--phase", "succeeded") == ["pkg-2", "pkg-3"]
        assert await ids("--label", "team=storage") == ["EX1"]
        assert await ids("-l", "team:storage") == ["EX1"]  # as it was written formerly
        assert await ids("-l", "team=storage", "-l", "team=vision") == []
        assert await ids("--query", "PKG-", "--limit", "2") == ["pkg-1", "pkg-2"]
        assert await ids("--account", "sim", "--region", "us-east-1", "-q", "pkg-3") == ["pkg-3"]
        assert await ids("--phase", "canceled") == []

    async with simulator.running(SCENARIO) as sim:
        await _watched(tmp_path, sim, check)
    half = len(told) // 2
    assert told[:half] == told[half:]
    job = next(each for each in told[0] if each["id"] == "pkg-2")
    assert job["key"] == f"{PACKAGE}/sim/us-east-1/pkg-2"
    assert (job["watch"], job["labels"]) == ("packages", {"team": "vision"})


async def test_unknown_names_are_errors_that_name_the_known_ones(tmp_path):
    async def check(options):
        for filters, said in (
            (("--type", "panorama.x*"), f"known: {DISK}, {PACKAGE}"),
            (("--account", "simm"), "known: default, sim"),
            (("--region", "mars"), "known: us-east-1"),
            (("--label", "taem=vision"), "known: team"),
            (("--label", "team=visoin"), "known: storage, vision"),
            (("--label", "team"), "--label: must be written name=value"),
            (("--phase", "late"), "'late' is not one of 'waiting', 'running'"),
            (("--query", "a\nb"), "--query: holds a control character"),
        ):
            code, out, err = await run("jobs", *options, *filters, directory=tmp_path)
            assert (code, out) == (2, ""), filters
            assert len(err.splitlines()) == 1
            assert said in err
        code, out, err = await run("jobs", *options, "--phase", "canceled", directory=tmp_path)
        assert (code, out, err) == (0, "There are no such jobs.\n", "")
        code, out, err = await run("jobs", *options, "--limit", "3", directory=tmp_path)
        assert code == 0
        assert err.splitlines()[-1] == "3 of 4 jobs are shown; see --limit."
        assert len(out.splitlines()) == 1 + 3

    async with simulator.running(SCENARIO) as sim:
        await _watched(tmp_path, sim, check)


async def test_more_than_a_page_is_asked_for_page_by_page(tmp_path):
    many = 620
    jobs = [{"id": f"pkg-{n:03}", "service": "panorama"} for n in range(many)]
    watches = [packages(interval="60s")]
    async with simulator.running({"jobs": jobs}) as sim:
        config = configure(tmp_path, sim, watches=watches)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(program.logged("job.transitioned")) >= many)
            more = ("--server", url, "-o", "json", "--limit", "610")
            code, out, err = await run("jobs", *more, directory=tmp_path)
    assert (code, err) == (0, "")
    assert [job["id"] for job in json.loads(out)] == [f"pkg-{n:03}" for n in range(610)]


async def test_the_store_tells_of_jobs_that_no_watch_follows_any_more(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim, watches=WATCHES)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(program.logged("job.transitioned")) >= 4)
        config = configure(tmp_path, sim, watches=WATCHES[:1])
        arguments = ("jobs", "-c", config, "--type", DISK, "-o", "json")
        code, out, err = await run(*arguments, directory=tmp_path)
    assert (code, err) == (0, "")
    (job,) = json.loads(out)
    assert (job["id"], job["watch"], job["labels"]) == ("EX1", None, {})


async def test_a_daemon_that_is_not_there_is_exit_code_69(tmp_path):
    code, out, err = await run("jobs", "--server", "http://127.0.0.1:9", directory=tmp_path)
    assert (code, out) == (69, "")
    assert err == "error: http://127.0.0.1:9 is unreachable: connection refused\n"


async def test_what_is_no_daemon_is_exit_code_69(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await run("jobs", "--server", sim.receiver_url, directory=tmp_path)
    assert (code, out) == (69, "")
    assert len(err.splitlines()) == 1
    assert "not as a job monitor does" in err


async def test_a_store_that_is_not_there_is_exit_code_74(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        code, out, err = await run("jobs", "-c", config, directory=tmp_path)
    assert (code, out) == (74, "")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lst",), "no such command 'lst'. Did you mean 'list'?"),
        (("list", "this"), "got unexpected extra argument(s) (this)"),
        (("--limitt", "3"), "no such option --limitt (did you mean --limit?"),
        ((), "there is no configuration"),
    ],
)
async def test_wrong_usage_is_one_line(tmp_path, arguments, said):
    code, out, err = await run("jobs", *arguments, directory=tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err
