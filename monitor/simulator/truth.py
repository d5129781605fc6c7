"""The ground truth: what was so, what was asked, and what was received."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Generic, TextIO, TypeVar

from monitor.simulator.records import ReceivedRecord, RequestRecord, StateRecord, as_json

R = TypeVar("R", StateRecord, RequestRecord, ReceivedRecord)


class Log(Generic[R]):
    """Records in order, numbered from 1; kept in memory and, given a file, on disk at once."""

    def __init__(self, keep: int | None = None, file: TextIO | None = None) -> None:
        """Keep the newest `keep` records in memory, all of them where it is None."""
        self._records: deque[R] = deque(maxlen=keep)
        self._file = file
        self._changed = asyncio.Event()
        self.count = 0

    def append(self, record: R) -> None:
        """Add a record; it is with the operating system when this returns."""
        self.count += 1
        self._records.append(record)
        if self._file:
            line = {"line": self.count} | as_json(record)
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()
        self._changed.set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[R]:
        """Go through the records kept, oldest first, as they are now."""
        return iter(tuple(self._records))

    def __len__(self) -> int:
        """Count the records kept."""
        return len(self._records)

    def after(self, number: int) -> list[tuple[int, R]]:
        """Return the records kept whose number is higher, each with its number."""
        dropped = self.count - len(self._records)
        skip = max(0, number - dropped)
        return list(enumerate(islice(self._records, skip, None), dropped + skip + 1))

    async def wait_for(self, wanted: Callable[[R], bool]) -> R:
        """Return the first record kept that is wanted, waiting until there is one."""
        seen = 0
        while True:
            changed = self._changed
            news, seen = self.after(seen), self.count
            for _, record in news:
                if wanted(record):
                    return record
            await changed.wait()


class Truth:
    """The three logs; close it where they go to a directory too."""

    def __init__(self, keep: int | None = None, directory: Path | None = None) -> None:
        """Append to `truth.jsonl`, `requests.jsonl` and `received.jsonl` in the directory."""
        self._files: list[TextIO] = []
        self.states: Log[StateRecord] = Log(keep, self._open(directory, "truth.jsonl"))
        self.requests: Log[RequestRecord] = Log(keep, self._open(directory, "requests.jsonl"))
        self.received: Log[ReceivedRecord] = Log(keep, self._open(directory, "received.jsonl"))

    def of(self, job: str) -> list[StateRecord]:
        """Return one job's states, oldest first."""
        return [record for record in self.states if record.job == job]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _open(self, directory: Path | None, name: str) -> TextIO | None:
        if directory is None:
            return None
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / name).open("a", encoding="utf-8")
        self._files.append(file)
        return file
