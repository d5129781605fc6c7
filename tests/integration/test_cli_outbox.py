"""The commands on the outbox, as processes of their own, on a store that nobody else uses."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from monitor.model import DeliveryStatus, Parking, Settlement
from monitor.stores.store import open_store
from tests.acceptance.program import run
from tests.contracts.sink_kit import receiving, replying
from tests.contracts.store_examples import SettableClock, dead, delivered, entry

pytestmark = pytest.mark.timeout(600)

COMMANDS = (
    ("deliveries", "list"),
    ("deliveries", "show", "1"),
    ("transitions", "list"),
    ("sinks", "list"),
    ("sinks", "resume", "ops"),
    ("replay", "--sink", "ops"),
)
SECRET_PATH = "/services/T000/hunter2"


@pytest.fixture
def config(tmp_path):
    hook = {
        "type": "webhook",
        "url": f"http://127.0.0.1:9{SECRET_PATH}",
        "allow_http": True,
        "allow_networks": ["127.0.0.0/8"],
    }
    file = tmp_path / "monitor.yaml"
    sinks = {"ops": {"type": "log", "path": str(tmp_path / "ops.log")}, "hook": hook}
    file.write_text(json.dumps({"store": f"sqlite://{tmp_path}/state.db", "sinks": sinks}))
    return file


@pytest.fixture
async def filled(tmp_path):
    """A store with one delivery of each status."""
    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        for number in (1, 2, 3):
            await store.record(entry(number))
        one, two, _ = await store.due("ops", SettableClock().now(), 3)
        await store.settle(delivered(one))
        await store.settle(dead(two, error="the receiver said no"))
        await store.park(Parking("hook", datetime(2026, 3, 1, tzinfo=UTC), "gone\x1b[31m"))


@pytest.fixture
async def older(tmp_path, filled):
    """The same with one dead delivery for a sink that is no longer configured."""
    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        await store.record(entry(4, sinks=("old",)))
        (one,) = await store.due("old", SettableClock().now(), 1)
        await store.settle(dead(one))


async def _json(*arguments, tmp_path, config):
    code, out, err = await run(
        *arguments, "-c", config, "--output", "json", directory=tmp_path, TERM="dumb"
    )
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_no_command_makes_a_store(tmp_path, config, command):
    before = set(tmp_path.iterdir())
    code, out, err = await run(*command, "-c", config, directory=tmp_path)
    assert (code, out) == (74, "")
    assert (
        err == f"error: store {tmp_path}/state.db: there is none yet (job-monitor run makes it)\n"
    )
    assert {path for path in tmp_path.iterdir() if path.suffix not in {".out", ".err"}} == before


@pytest.mark.parametrize(
    "command",
    [("deliveries",), ("transitions",), ("sinks",), *COMMANDS, ("send-test", "ops")],
    ids=" ".join,
)
async def test_every_command_explains_itself(tmp_path, command):
    code, out, err = await run(*command, "--help", directory=tmp_path, TERM="dumb")
    assert (code, err) == (0, "")
    assert "Usage:" in out


@pytest.mark.usefixtures("filled")
async def test_deliveries_are_listed_as_they_stand(tmp_path, config):
    place = {"tmp_path": tmp_path, "config": config}
    rows = await _json("deliveries", "list", **place)
    told = [(row["status"], row["attempts"]) for row in rows]
    assert told == [("pending", 0), ("dead", 1), ("delivered", 1)]
    (row,) = await _json("deliveries", "list", "--job", "job-2", "--status", "dead", **place)
    assert row["last_error"] == "the receiver said no"
    code, out, _ = await run("deliveries", "list", "-c", config, directory=tmp_path)
    assert code == 0
    assert out.splitlines()[0].split()[:4] == ["ID", "SINK", "STATUS", "ATTEMPTS"]
    assert [line.split()[2:4] for line in out.splitlines()[1:]] == [
        ["pending", "0"],
        ["dead", "1"],
        ["delivered", "1"],
    ]


@pytest.mark.usefixtures("filled")
async def test_one_delivery_is_shown_with_its_event(tmp_path, config):
    code, out, err = await run("deliveries", "show", "2", "-c", config, directory=tmp_path)
    assert (code, err) == (0, "")
    assert "the receiver said no" in out
    assert '"specversion": "1.0"' in out
    code, out, err = await run("deliveries", "show", "99", "-c", config, directory=tmp_path)
    assert (code, out, err) == (1, "", "error: there is no delivery 99\n")


@pytest.mark.usefixtures("filled")
async def test_transitions_are_listed_in_their_order(tmp_path, config):
    rows = await _json("transitions", "list", "--limit", "2", tmp_path=tmp_path, config=config)
    assert [row["position"] for row in rows] == [2, 3]
    none = ("transitions", "list", "--since", "1h", "--kind", "job.*")
    code, out, _ = await run(*none, "-c", config, directory=tmp_path)
    assert (code, out) == (0, "There are no such transitions.\n")


@pytest.mark.usefixtures("filled")
async def test_a_parked_sink_is_shown_and_resumed(tmp_path, config):
    rows = {
        row["name"]: row for row in await _json("sinks", "list", tmp_path=tmp_path, config=config)
    }
    assert (rows["ops"]["health"], rows["ops"]["pending"], rows["ops"]["dead"]) == ("ok", 1, 1)
    assert rows["hook"]["health"] == "parked"
    code, out, _ = await run("sinks", "list", "-c", config, directory=tmp_path)
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["ops", "log", "active"],
        ["hook", "webhook", "parked"],
    ]
    assert "\x1b" not in out
    for told in ("hook is resumed.\n", "hook was not parked.\n"):
        code, out, err = await run("sinks", "resume", "hook", "-c", config, directory=tmp_path)
        assert (code, out, err) == (0, told, "")


async def test_a_resumed_sink_that_refuses_everything_again_is_not_said_to_be_resumed(
    tmp_path, config
):
    again = Parking("hook", datetime(2026, 3, 1, tzinfo=UTC), "answered 404")
    refused = []

    async def refuse(store):
        while await store.parkings():  # noqa: ASYNC110 -- another process resumes the sink
            await anyio.sleep(0.02)
        refused.extend(await store.due("hook", SettableClock().now(), 4))
        for each in refused:
            await store.settle(dead(each))
        await anyio.sleep(0.1)
        await store.park(again)

    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        for number in range(1, 6):
            await store.record(entry(number, sinks=("hook",)))
        await store.park(again)
        async with anyio.create_task_group() as daemon:
            daemon.start_soon(refuse, store)
            with anyio.fail_after(60):
                code, out, err = await run(
                    "sinks", "resume", "hook", "-c", config, directory=tmp_path
                )
    assert len(refused) == 4
    assert (code, out) == (1, "")
    assert err == "hook was resumed, and is parked again: answered 404\n"


@pytest.mark.usefixtures("filled")
async def test_times_are_ages_in_tables_and_exact_in_other_forms(tmp_path, config):
    for command in ("deliveries", "transitions", "sinks"):
        code, out, _ = await run(command, "-c", config, directory=tmp_path)
        assert code == 0
        assert re.search(r" \d+d ", out), out
        assert "2026" not in out
        code, out, _ = await run(command, "-c", config, "-o", "wide", directory=tmp_path)
        assert code == 0
        assert re.search(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", out), out
    row, *_ = await _json("deliveries", "list", tmp_path=tmp_path, config=config)
    assert re.fullmatch(r"2026-\S+T\S+Z", row["created_at"])


async def test_what_waits_for_a_parked_sink_has_no_due_time(tmp_path, config, filled):
    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        await store.park(Parking("ops", datetime(2026, 3, 1, tzinfo=UTC), "gone"))
    pending = ("deliveries", "list", "--status", "pending")
    row = await _json("deliveries", "show", "3", tmp_path=tmp_path, config=config)
    assert (row["due_at"], row["waits"]) == (None, "sink is parked")
    for command in (pending, ("deliveries", "show", "3")):
        code, out, _ = await run(*command, "-c", config, directory=tmp_path)
        assert code == 0
        assert "waits: sink is parked" in out


async def test_a_sink_that_takes_others_is_not_called_failing_for_one_retry(
    tmp_path, config, filled
):
    async def status():
        rows = await _json("sinks", "list", tmp_path=tmp_path, config=config)
        (row,) = (row for row in rows if row["name"] == "ops")
        return row["health"], row["failing_since"] is not None, row["last_error"]

    async def record_and_fail(number):
        clock.time += timedelta(seconds=1)
        await store.record(entry(number))
        *_, last = await store.due("ops", store.store_time(), 100)
        await store.settle(Settlement(last, DeliveryStatus.PENDING, clock.time, clock.time, "503"))
        return last

    clock = SettableClock()
    async with open_store(f"sqlite://{tmp_path}/state.db", clock) as store:
        await record_and_fail(11)
    assert await status() == ("failing", True, "503")
    async with open_store(f"sqlite://{tmp_path}/state.db", clock) as store:
        clock.time += timedelta(seconds=1)
        await store.record(entry(12))
        *_, last = await store.due("ops", store.store_time(), 100)
        await store.settle(delivered(last))
    assert await status() == ("ok", False, "503")
    async with open_store(f"sqlite://{tmp_path}/state.db", clock) as store:
        await record_and_fail(13)
    assert await status() == ("failing", True, "503")


@pytest.mark.usefixtures("filled")
async def test_a_resume_after_which_the_sink_parks_again_is_exit_code_1(tmp_path, config):
    async def park_again(store):
        while any(one.sink == "hook" for one in await store.parkings()):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        await store.park(Parking("hook", datetime(2026, 3, 1, tzinfo=UTC), "410 still"))

    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        await store.record(entry(5, sinks=("hook",)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(park_again, store)
            told = await run("sinks", "resume", "hook", "-c", config, directory=tmp_path)
    assert told == (1, "", "hook was resumed, and is parked again: 410 still\n")


@pytest.mark.usefixtures("filled")
async def test_a_dry_run_of_a_replay_names_what_would_be_sent(tmp_path, config):
    dry = ("replay", "--sink", "ops", "--dry-run", "-c", config)
    code, out, err = await run(*dry, directory=tmp_path)
    assert (code, err) == (0, "")
    first, last = out.splitlines()
    assert "job-2" in first
    assert last == "1 transition would be sent to ops again."
    code, out, _ = await run("replay", "--sink", "ops", "-c", config, directory=tmp_path)
    assert (code, out) == (0, "1 transition will be sent to ops again.\n")
    again = ("replay", "--sink", "ops", "--delivered", "--since", "2026-01-01", "-c", config)
    code, out, _ = await run(*again, directory=tmp_path)
    assert (code, out) == (0, "1 transition will be sent to ops again.\n")


@pytest.mark.usefixtures("filled")
async def test_what_was_silenced_or_discarded_is_replayed_on_request(tmp_path, config):
    async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
        await store.record(replace(entry(4, sinks=("ops",)), held=("maintenance:night",)))
        await store.record(entry(5, sinks=("ops",)))
        last = (await store.due("ops", SettableClock().now(), 9))[-1]
        await store.settle(dead(last))
        await store.discard([last.id])

    async def jobs(*options):
        found = await run(
            *("replay", "--sink", "ops", "--dry-run", "-o", "json", "-c", config, *options),
            directory=tmp_path,
        )
        return [one["job"][-5:] for one in json.loads(found[1])["events"]]

    assert await jobs() == ["job-2"]
    assert await jobs("--silenced") == ["job-2", "job-4"]
    assert await jobs("--discarded") == ["job-2", "job-5"]
    assert await jobs("--silenced", "--discarded") == ["job-2", "job-4", "job-5"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "replay --sink opps",
            '--sink: unknown sink "opps" (did you mean "ops"? known: hook, ops)',
        ),
        (
            "replay --sink ops --since soon",
            (
                "--since: is neither an age nor a time"
                " (write an age, such as 2h, or a time, such as 2026-03-01T12:00:00Z)"
            ),
        ),
        ("replay --sink ops --match jobs=x", '--match: unknown key "jobs" (did you mean "job"? '),
        ("replay --sink ops --match kind", "--match: kind has no value (write kind=GLOB)"),
        (
            "replay --sink ops --match phase=failed,faild",
            '--match: unknown phase "faild" (did you mean "failed"? known: canceled, expired,',
        ),
        ("replay --sink ops --match kind=x.*", '--match: unknown kind "x.*" (known: job.'),
        (
            "replay --sink ops --match severity=bad",
            '--match: unknown severity "bad" (known: error,',
        ),
        (
            "replay --sink ops --match type=panorama.package-imprt",
            (
                '--match: unknown type "panorama.package-imprt"'
                ' (did you mean "panorama.package-import"? known: panorama.package-import)'
            ),
        ),
        (
            "replay --sink ops --match account=prd --dry-run",
            '--match: unknown account "prd" (did you mean "prod"? known: default, prod)',
        ),
        (
            "replay --sink ops --match region=us-east1",
            '--match: unknown region "us-east1" (did you mean "us-east-1"? known: us-east-1)',
        ),
        (
            "replay --sink ops --delivered",
            "--delivered: needs --since (add --since 2h or the like)",
        ),
        ("replay --sink old", '--sink: "old" is no longer configured, so nothing would send to it'),
        (
            "deliveries list --sink opps",
            '--sink: unknown sink "opps" (did you mean "ops"? known: hook, old, ops)',
        ),
        (
            "transitions list --kind job.stat_changed",
            '--kind: unknown kind "job.stat_changed" (did you mean "job.state_changed"? known: ',
        ),
        ("sinks resume opps", 'unknown sink "opps" (did you mean "ops"? known: hook, ops)'),
        ("send-test opps", 'unknown sink "opps" (did you mean "ops"? known: hook, ops)'),
    ],
)
@pytest.mark.usefixtures("older")
async def test_a_name_that_nothing_has_is_an_error_that_names_the_known_ones(
    tmp_path, config, wrong, said
):
    known = said.replace("known: hook, ops", "known: hook, old, ops") if "replay" in wrong else said
    code, out, err = await run(*wrong.split(), "-c", config, directory=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {known}")
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("older")
async def test_a_sink_that_is_configured_no_more_can_still_be_asked_for(tmp_path, config):
    (row,) = await _json("deliveries", "list", "--sink", "old", tmp_path=tmp_path, config=config)
    assert row["sink"] == "old"
    dry = ("replay", "--sink", "old", "--dry-run")
    assert (await _json(*dry, tmp_path=tmp_path, config=config))["count"] == 1


@pytest.mark.usefixtures("older")
async def test_names_that_the_store_alone_knows_are_known(tmp_path, config):
    """No watch is configured."""
    for match in (
        "type=panorama.*",
        "account=prod",
        "region=us-*",
        "phase=running",
        "account=,prod",
    ):
        dry = ("replay", "--sink", "ops", "--dry-run", "--match", match)
        assert (await _json(*dry, tmp_path=tmp_path, config=config))["count"] == 1


async def test_a_test_event_goes_through_the_real_sink(tmp_path, config):
    told = await _json("send-test", "ops", tmp_path=tmp_path, config=config)
    assert told["taken"] is True
    (line,) = (tmp_path / "ops.log").read_text().splitlines()
    event = json.loads(line)
    assert event["id"] == told["event_id"]
    assert event["data"]["job"]["labels"] == {"test": "true"}
    assert not (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    ("reply", "code", "line"),
    [
        (
            '{"ok": true}',
            0,
            r'chat accepted the test event \S+ in \S+ s; it answered 200: {"ok": true}',
        ),
        (
            '{"ok":false,"error":"channel_not_found"}',
            1,
            (
                "chat did not accept the test event: rejected: http://127.0.0.1 answered 200, but"
                ' did not take the event: {"ok":false,"error":"channel_not_found"}'
            ),
        ),
    ],
)
async def test_a_test_event_shows_the_start_of_the_reply(tmp_path, reply, code, line):
    async with receiving(replying(200, reply.encode())) as receiver:
        sink = {"type": "webhook", "url": receiver.url, "success": "json.ok"}
        more = {"allow_http": True, "allow_networks": ["127.0.0.0/8"]}
        path = tmp_path / "chat.yaml"
        path.write_text(json.dumps({"sinks": {"chat": sink | more}}))
        told = await run("send-test", "chat", "-c", path, directory=tmp_path)
    assert told[0] == code
    assert re.fullmatch(line.replace("{", r"\{") if code == 0 else re.escape(line), told[1].strip())
    assert len(receiver.requests) == 1


async def test_a_test_event_that_is_not_taken_is_exit_code_1(tmp_path, config):
    code, out, err = await run("send-test", "hook", "-c", config, directory=tmp_path)
    assert (code, err) == (1, "")
    assert out.startswith("hook did not accept the test event: connection: http://127.0.0.1: ")
    assert "hunter2" not in out
