"""Prometheus scrapes over TLS, as a user of the web-config file, and nobody else gets anything."""

import bcrypt
import pytest
import yaml

from monitor import simulator
from tests.acceptance.program import configure, packages, running
from tests.certificates import certificate
from tests.deploy.prometheus_kit import needed, prometheus

pytestmark = pytest.mark.timeout(600)
PASSWORD = "correct horse"
SCENARIO = {"jobs": [{"id": "job", "service": "panorama"}]}


def secured(directory):
    """Write a web-config file with a certificate and one user."""
    certificate(directory / "tls.pem", "monitor.example.com", days=1)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file = directory / "web.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "tls_server_config": {"cert_file": "tls.pem", "key_file": "tls.pem"},
                "basic_auth_users": {"prometheus": hashed},
            }
        )
    )
    return {"listen": "127.0.0.1:0", "web_config_file": str(file)}


def scrape(directory, password):
    return {
        "scheme": "https",
        "tls_config": {
            "ca_file": str(directory / "tls.pem"),
            "server_name": "monitor.example.com",
        },
        "basic_auth": {"username": "prometheus", "password": password},
    }


async def test_a_real_prometheus_scrapes_over_tls_as_a_user(tmp_path):
    needed("prometheus")
    async with simulator.running(SCENARIO) as sim:
        file = configure(tmp_path, sim, watches=[packages()], server=secured(tmp_path))
        async with running("run", "-c", file, directory=tmp_path) as program:
            url = await program.started()
            assert url.startswith("https://")
            target = url.removeprefix("https://")
            settings = scrape(tmp_path, PASSWORD)
            async with prometheus(tmp_path, [target], scrape=settings) as asker:
                ((_, jobs),) = await asker.until_seen('job_monitor_jobs{phase="running"} == 1')
                assert jobs == 1
                (seen,) = await asker.targets()
                assert (seen["health"], seen["scrapeUrl"]) == ("up", f"{url}/metrics")


async def test_a_wrong_password_gets_no_metrics(tmp_path):
    needed("prometheus")
    async with simulator.running(SCENARIO) as sim:
        file = configure(tmp_path, sim, watches=[packages()], server=secured(tmp_path))
        async with running("run", "-c", file, directory=tmp_path) as program:
            target = (await program.started()).removeprefix("https://")
            settings = scrape(tmp_path, "wrong")
            async with prometheus(tmp_path, [target], scrape=settings) as asker:
                await asker.until_seen("up == 0")
                (seen,) = await asker.targets()
                assert "401" in seen["lastError"]
