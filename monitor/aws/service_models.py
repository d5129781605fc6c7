"""Service models: our own, which win, and those that the SDK still has."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader
from botocore.model import ServiceModel

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = Path(__file__).with_name("models")
"""Models that ship with this package, as AWS removes services from the SDK."""

_NEEDED_BY_CLIENTS = ("endpoints", "partitions", "_retry", "sdk-default-configuration")
_NEEDED_BY_SERVICE = ("service-2", "endpoint-rule-set-1")


class _Packed(Mapping[str, Any]):
    """A map whose values are kept as JSON, each until it is read.

    The SDK changes what it takes out of the endpoints, so a value is made once.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        # Copied, as what orjson returns keeps the room that it was written in.
        self._packed = {
            key: memoryview(orjson.dumps(value)).tobytes() for key, value in values.items()
        }
        self._unpacked: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._unpacked:
            self._unpacked[key] = orjson.loads(self._packed[key])
        return self._unpacked[key]

    def __contains__(self, key: object) -> bool:
        return key in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


class ModelFiles:
    """Reads model files for the SDK's loader.

    The SDK's own reader parses 1.2 MB of endpoints in 60 ms without letting any other thread run;
    this one takes a tenth of it. Of the 300 services in them few are ever read: the others
    stay packed, in a fifth of the memory.
    """

    def exists(self, file_path: str) -> bool:
        """Whether there is such a file; ``file_path`` comes without its ending."""
        # As text: the SDK asks this of each of its 400 services to know one, and paths take as long
        # as the rest of it.
        return any(os.path.isfile(file_path + ending) for ending in (".json", ".json.gz"))  # noqa: PTH113

    def load_file(self, file_path: str) -> Any:
        """Return the parsed file, or ``None`` if there is none."""
        plain, packed = Path(file_path + ".json"), Path(file_path + ".json.gz")
        if plain.is_file():
            found = orjson.loads(plain.read_bytes())
        elif packed.is_file():
            found = orjson.loads(gzip.decompress(packed.read_bytes()))
        else:
            return None
        for partition in found["partitions"] if plain.name == "endpoints.json" else ():
            partition["services"] = _Packed(partition["services"])
        return found


def loader(environ: Mapping[str, str] = os.environ) -> Loader:
    """Return a loader that searches our models, ``AWS_DATA_PATH``, then at the SDK's."""
    theirs = [os.path.expanduser(part) for part in environ.get("AWS_DATA_PATH", "").split(":")]  # noqa: PTH111  # the loader takes text
    return Loader(extra_search_paths=[str(OWN), *filter(None, theirs)], file_loader=ModelFiles())


def api_version(service: str) -> str | None:
    """Return the version of our own model of a service, to be preferred to a later one."""
    versions = sorted(path.name for path in (OWN / service).glob("*") if path.is_dir())
    return versions[-1] if versions else None


def service_model(models: Loader, service: str) -> ServiceModel:
    """Load a service's model.

    Raises:
        UnknownServiceError: no search path has it.
    """
    data = models.load_service_model(service, "service-2", api_version=api_version(service))
    return ServiceModel(data, service_name=service)


def warm_up(models: Loader, *services: str) -> None:
    """Read from disk what clients of these services need; blocking."""
    for name in _NEEDED_BY_CLIENTS:
        models.load_data(name)
    for service in services:
        for name in _NEEDED_BY_SERVICE:
            # A service without a rule set, or unknown, fails where its client is made.
            with suppress(DataNotFoundError, UnknownServiceError):
                models.load_service_model(service, name, api_version=api_version(service))
