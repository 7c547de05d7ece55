"""What a group can protect: one class a kind of source. A source without a name is called by its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FilesSource:
    """Directories and files with all that is below them, but for what `exclude` names.

    Patterns are those of `engine.tree.match`.
    """

    kind: ClassVar[str] = "files"
    name: str
    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostgresqlSource:
    """A PostgreSQL cluster as Debian names them: VERSION/NAME."""

    kind: ClassVar[str] = "postgresql"
    name: str
    cluster: str


@dataclass(frozen=True, slots=True)
class MariadbSource:
    """A MariaDB or MySQL server, by its data directory."""

    kind: ClassVar[str] = "mariadb"
    name: str
    datadir: str


@dataclass(frozen=True, slots=True)
class MaildirSource:
    """A tree of maildirs."""

    kind: ClassVar[str] = "maildir"
    name: str
    path: str


Source = FilesSource | PostgresqlSource | MariadbSource | MaildirSource
SOURCE_KINDS = ("files", "maildir", "mariadb", "postgresql")
