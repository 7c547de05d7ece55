"""A DuckDB session over the verified local files of a journal's segments.

The session knows which segments hold a stream and hands out relations of events; what is
asked of them lives in the modules around it. It writes nothing and reaches no network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from engine.env.own_directory import OwnDirectory
from engine.journal import epochs
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.model.lineage import Epoch
from engine.query.held import Held, survey
from engine.store.base import Missing

THREADS = 2
MEMORY = "1GB"
LOOKS_MAX = 4
"""How often a read lists the segments anew because one has been merged away under it."""

GONE = (Missing, FileNotFoundError)

_Result = TypeVar("_Result")
Values = Mapping[str, Any] | list[Any] | None


class Session:
    """As-of reads over a journal. Safe for several threads; `refresh` makes new commits visible."""

    def __init__(self, journal: Journal, *, threads: int = THREADS, memory: str = MEMORY) -> None:
        self.journal = journal
        self.held = Held()
        self.kept: dict[Any, Any] = {}  # what was worked out since the last refresh
        self._lock = threading.RLock()
        self._epochs: dict[str, dict[int, Epoch]] = {}
        self._connections = threading.local()
        # What doesn't fit into memory goes to a directory of our own, never to where the user happens to stand.
        self._spill = OwnDirectory("query")
        self._database = duckdb.connect(
            ":memory:",
            config={
                "threads": threads,
                "memory_limit": memory,
                "temp_directory": str(self._spill.path),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "preserve_insertion_order": False,
            },
        )
        try:
            for setting in ("TimeZone = 'UTC'", "parquet_metadata_cache = true"):
                self._database.execute(f"SET GLOBAL {setting}")
            self.refresh()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()
        self._spill.remove()

    def refresh(self) -> None:
        """List the segments again. What was committed since is visible afterwards."""
        with self._lock:
            held = self._survey()
            if held.keys != self.held.keys:
                self.kept.clear()
            self._epochs.clear()
            self.held = held

    def _survey(self) -> Held:
        for _ in range(LOOKS_MAX - 1):
            try:
                return survey(self.journal, self.held)
            except GONE:
                continue
        return survey(self.journal, self.held)

    def epochs(self, stream: str) -> dict[int, Epoch]:
        """The stream's epochs, as of the last refresh."""
        with self._lock:
            known = self._epochs.get(stream)
            if known is None:
                known = self._epochs[stream] = epochs.epochs(self.journal.store, stream)
            return known

    def keep(self, key: Any, make: Callable[[], _Result]) -> _Result:
        """What `make` gave the first time, until the segments change."""
        with self._lock:
            if key not in self.kept:
                self.kept[key] = make()
            found: _Result = self.kept[key]
            return found

    def table(self, query: str, values: Values = None) -> pa.Table:
        """The answer to a query as an Arrow table."""
        connection = self._connection()
        answer = connection.sql(query, params=values) if values else connection.sql(query)
        return answer.to_arrow_table()

    def rows(self, query: str, values: Values = None) -> list[tuple[Any, ...]]:
        """The answer as tuples, for the few rows that Python looks at itself."""
        found: list[tuple[Any, ...]] = self._connection().execute(query, values).fetchall()
        return found

    @contextmanager
    def lent(self, name: str, table: pa.Table) -> Iterator[str]:
        """An Arrow table as a relation, for this thread's queries inside the block. Answers its name."""
        connection = self._connection()
        connection.register(name, table)
        try:
            yield name
        finally:
            connection.unregister(name)

    def _connection(self) -> duckdb.DuckDBPyConnection:
        """This thread's own connection to the one database."""
        connection = getattr(self._connections, "one", None)
        if connection is None:
            connection = self._connections.one = self._database.cursor()
        return connection

    def reading(self, read: Callable[[], _Result]) -> _Result:
        """Run a read; when an object has gone meanwhile, merged into another, list again and repeat."""
        for look in range(LOOKS_MAX):
            try:
                return read()
            except (*GONE, duckdb.IOException) as error:
                if look == LOOKS_MAX - 1:
                    raise Damaged(
                        f"an object of the journal can't be read: {error}", hint="run `bcsctl check`"
                    ) from error
            with self._lock:
                self.kept.clear()
                self.refresh()
        raise AssertionError("unreachable")
