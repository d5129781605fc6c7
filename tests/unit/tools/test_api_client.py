"""Files that open the way to a daemon: a pipe that nobody writes to holds nothing up."""

import os
import threading
import time

import pytest

from monitor.errors import ConfigurationError
from monitor.tools import api_client
from tests.certificates import certificate

URL = "https://localhost:1"


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    monkeypatch.setattr(api_client, "_PIPE_WITHIN", 0.3)


async def problem(**files):
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        async with api_client.open_client(URL, **files):
            pass
    assert time.monotonic() - began < 60
    (found,) = caught.value.problems
    return str(found)


@pytest.mark.parametrize(
    ("option", "holds"),
    [("token_file", "a token"), ("ca_file", "certificates in PEM form")],
)
async def test_a_pipe_that_nobody_writes_to_and_a_directory_are_told(tmp_path, option, holds):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    remedy = f"(name a file that holds {holds}, and that you may read)"
    name = f"--{option.replace('_', '-')}"
    assert await problem(**{option: pipe}) == (
        f"{name}: {pipe} cannot be read: nobody writes to this pipe, or its end does not come "
        f"{remedy}"
    )
    assert await problem(**{option: tmp_path}) == (
        f"{name}: {tmp_path} is not a regular file {remedy}"
    )


async def test_a_token_that_is_pasted_as_the_name_of_its_file_is_not_shown():
    assert "canary" not in await problem(token_file="canary-token-of-a-person")


async def test_a_pipe_that_brings_its_content_is_read(tmp_path):
    """As of a shell's ``<(command)``."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a-token\n",), daemon=True)
    writer.start()
    async with api_client.open_client(URL, pipe) as client:
        assert client._session.headers["Authorization"] == "Bearer a-token"
    writer.join(5)


async def test_an_authority_with_a_comment_that_is_not_ascii_is_taken(tmp_path):
    file = tmp_path / "ca.pem"
    certificate(file, "localhost", 9)
    file.write_bytes("# Größe\n".encode() + file.read_bytes())
    async with api_client.open_client(URL, ca_file=file):
        pass
