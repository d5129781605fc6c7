"""What monitor/sinks/apprise.py relies on inside Apprise."""

import inspect

import apprise
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # Apprise's own


def test_notify_takes_a_timeout_and_says_yes_or_no():
    assert "timeout" in inspect.signature(apprise.Apprise.notify).parameters
    assert not apprise.Apprise().notify("body", "title", notify_type="info", timeout=1.0)


def test_an_asset_takes_each_switch_that_keeps_apprise_from_files_redirects_and_templates():
    asset = apprise.AppriseAsset(
        app_id="AWS job monitor",
        allow_templates=False,
        http_redirects=False,
        pem_autogen=False,
        pgp_autogen=False,
        storage_mode="memory",
    )
    switches = (asset.allow_templates, asset.http_redirects, asset.pem_autogen, asset.pgp_autogen)
    assert switches == (False,) * 4


def test_add_refuses_what_is_not_a_url_that_it_knows():
    assert apprise.Apprise().add("nonsense://x") is False
