"""A real nginx in front of a server, under a path that it strips or keeps."""

import os
import shutil
from contextlib import asynccontextmanager

import aiohttp
import anyio
import pytest

from tests.ends import ended

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass {upstream}{stripped};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


@asynccontextmanager
async def in_front(directory, upstream, prefix, *, port, strips):
    """Run nginx on ``port``; yield the URL under which it serves ``upstream``.

    A ``proxy_pass`` with a path, if only a slash, strips the prefix.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is not installed")
    directory = directory / f"nginx-{port}"
    directory.mkdir()
    file = directory / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(
            directory=directory,
            port=port,
            prefix=prefix,
            upstream=upstream,
            stripped="/" if strips else "",
        )
    )
    command = [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(file)]
    url = f"http://127.0.0.1:{port}{prefix}"
    async with await anyio.open_process(command, stdout=None, stderr=None) as process:
        try:
            await _answering(f"{url}/healthz")
            yield url
        finally:
            process.terminate()
            await ended(process)


async def _answering(url):
    with anyio.fail_after(90):
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(url):
                        return
                except aiohttp.ClientError:
                    await anyio.sleep(0.05)
