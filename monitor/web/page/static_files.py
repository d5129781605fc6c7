"""The page's style, scripts and icon: read once, served from memory, by their names alone."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aiohttp import ETag, hdrs, web

_DIRECTORY = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    type: str
    tag: ETag


class StaticFiles:
    """Serves what lies beside this module; a browser asks each time whether it has changed."""

    def __init__(self) -> None:
        """Read the files."""
        self._files: dict[str, _File] = {}
        for file in _DIRECTORY.iterdir():
            if kind := _TYPES.get(file.suffix):
                body = file.read_bytes()
                self._files[file.name] = _File(body, kind, ETag(sha256(body).hexdigest()[:24]))

    async def get(self, request: web.Request) -> web.Response:
        """One file; 304 to who has it already."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        known = request.if_none_match or ()
        if any(tag.value == file.tag.value for tag in known):
            response = web.Response(status=web.HTTPNotModified.status_code)
        else:
            response = web.Response(body=file.body, content_type=file.type, charset="utf-8")
            response.enable_compression()
        response.etag = file.tag
        response.headers[hdrs.CACHE_CONTROL] = "no-cache"
        return response
