"""What a service's model says of a listing: its rows, its paging, and what a row shows.

Botocore's paginators come first. Where an operation has none, a token of the usual name in both
the request and the response does, and the only list of the response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.model import ListShape

from monitor.aws import service_models
from monitor.sources.declaration import NextForm, PageSizeForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.loaders import Loader
    from botocore.model import OperationModel

_TOKENS = ("nexttoken", "marker", "nextmarker", "pagetoken", "nextpagetoken", "startingtoken")
_SIZES = ("maxresults", "maxrecords", "maxitems", "limit", "pagesize")
_LARGEST_PAGE = 1000
"""Rows; a model that allows more says so of a number that nobody means."""


class Paginators:
    """The SDK's paginators of one service; none if it has no file of them."""

    def __init__(self, models: Loader, service: str) -> None:
        """Read them."""
        try:
            version = service_models.api_version(service)
            found = models.load_service_model(service, "paginators-1", api_version=version)
        except (DataNotFoundError, UnknownServiceError, OSError, ValueError):
            found = {}
        self._known: Mapping[str, Mapping[str, Any]] = found.get("pagination", {})

    def items(self, operation: OperationModel) -> str | None:
        """Return the path to the rows of a page, if one is plain."""
        output = operation.output_shape
        lists = [
            name
            for name, member in (output.members.items() if output else ())
            if isinstance(member, ListShape)
        ]
        given = self._known.get(operation.name, {}).get("result_key", lists)
        paths = [given] if isinstance(given, str) else list(given)
        # Of several, those that are lists; a paginator also counts totals.
        paths = [path for path in paths if "." in path or path in lists]
        return str(paths[0]) if len(paths) == 1 else None

    def next_page(self, operation: OperationModel) -> NextForm | None:
        """Return the way to the next page; ``None`` where nothing says that there is one."""
        known = self._known.get(operation.name)
        if known:
            param, token = known["input_token"], known["output_token"]
            if not isinstance(param, str) or not isinstance(token, str):
                return None  # a marker of several values, which a listing must spell out
            if more := known.get("more_results"):
                # Some give the marker of the last row on the last page too.
                token = f"({more}) && ({token}) || `null`"
            return NextForm(param=param, path=token)
        given, output = operation.input_shape, operation.output_shape
        params = {name.lower(): name for name in given.members} if given else {}
        paths = {name.lower(): name for name in output.members} if output else {}
        param = next((params[name] for name in _TOKENS if name in params), None)
        token = next((paths[name] for name in _TOKENS if name in paths), None)
        return NextForm(param=param, path=token) if param and token else None

    def page_size(self, operation: OperationModel) -> PageSizeForm | None:
        """Return the largest page that the model allows; ``None`` leaves it to the service."""
        shape = operation.input_shape
        known = self._known.get(operation.name, {}).get("limit_key")
        for name, member in shape.members.items() if shape else ():
            is_size = name == known if known else name.lower() in _SIZES
            most = member.metadata.get("max")
            if is_size and member.type_name == "integer" and most and most <= _LARGEST_PAGE:
                return PageSizeForm(param=name, value=most)
        return None
