"""A fault of the program in the midst of a reload leaves no half of each configuration."""

import anyio
import pytest

from monitor import simulator
from monitor.app import Daemon
from monitor.config import Settings
from monitor.errors import ConfigurationError
from monitor.polling.manager import PollManager
from tests.acceptance import ledger
from tests.acceptance.program import SECRET, configure, disks, packages, until, webhook


async def test_a_fault_after_the_sinks_were_placed_puts_the_former_ones_back(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    jobs = [{"id": "pkg", "service": "panorama"}]
    receivers = {"hook": {"secrets": [SECRET]}, "other": {}}
    apply = PollManager.apply

    def faulty(self, settings, *others):
        if "other" in settings.sinks:
            raise KeyError("of ours")
        apply(self, settings, *others)

    monkeypatch.setattr(PollManager, "apply", faulty)
    stop, ready = anyio.Event(), anyio.Event()
    async with simulator.running({"jobs": jobs, "receivers": receivers}) as sim:

        def load():
            return Settings.model_validate_json((tmp_path / "monitor.yaml").read_text())

        configure(tmp_path, sim, watches=[packages()])
        daemon = Daemon(load(), load=load)
        with anyio.fail_after(90):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(daemon.run, stop, lambda _: ready.set())
                await ready.wait()
                await until(lambda: ledger.transitions(tmp_path / "state.db"))
                other = {"other": webhook(sim, "other")}
                configure(tmp_path, sim, watches=[disks()], sinks=other)
                with pytest.raises(ConfigurationError, match="KeyError"):
                    await daemon.reloader.reload()
                assert list(daemon.settings.sinks) == ["hook"]
                sim.change("pkg", Status="FAILED")
                await until(lambda: sim.truth.received.count == 1)
                stop.set()
        assert [each.name for each in sim.truth.received] == ["hook"]
