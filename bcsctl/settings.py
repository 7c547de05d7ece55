"""Where things are: settings in rising order from defaults, bcs.toml, the environment BCS_*, flags.

bcs.toml lies beside the policies. Paths in it count from its own directory. Keys: `home`, `policies`, `site`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bcsctl.sites import remote_site
from engine.model.errors import UsageError

if TYPE_CHECKING:
    from engine.env.credentials import Credential
    from engine.env.endpoint import Endpoint

FILE = "bcs.toml"
KEYS = ("home", "policies", "site")

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` is BCS_HOME, absolute and without links; `policies` is what commands work on that are given no PATHS.

    `site` is the remote site that the command is about; None for the one at `home`.
    """

    home: Path
    policies: tuple[Path, ...]
    site: Credential | None = None

    @property
    def journal(self) -> Path:
        return self._place("journal", self.home / "journal")

    @property
    def master_key(self) -> Path:
        return self._place("master_key", self.home / "keys" / "master.key")

    @property
    def endpoint(self) -> Endpoint:
        """Where the site's node answers."""
        from engine.env.endpoint import UnixEndpoint

        return UnixEndpoint(self.socket) if self.site is None else self.site.endpoint()

    @property
    def socket(self) -> Path:
        return self.home / "run" / "node.sock"

    def _place(self, name: str, otherwise: Path) -> Path:
        """A path that the settings of a deployed node may say."""
        if not (self.home / "node" / "node.json").exists():
            return otherwise
        from engine.node.settings import read_settings

        found: Path = getattr(read_settings(self.home), name)
        return found


def home_option(command: _Command) -> _Command:
    """`--home DIR` on a command, as parameter `home`."""
    return click.option(
        "--home", metavar="DIR", help="Where the embedded site keeps everything (default: BCS_HOME, bcs.toml)."
    )(command)


def settings(home: str | None = None, paths: Sequence[str] = ()) -> Settings:
    """The settings that hold for a command with these flags. UsageError for a bad bcs.toml."""
    file = find_file(paths)
    written = read_file(file) if file else {}
    chosen = home or os.environ.get("BCS_HOME") or written.get("home") or default_home()
    policies = os.environ.get("BCS_POLICIES") or written.get("policies")
    # Processes, units and sockets are known by this path: a home that is reached by a link too must have one name.
    place = Path(os.path.realpath(Path(chosen).expanduser()))
    here = Settings(place, _policies(paths, policies, file))
    site = remote_site(here.journal, home_given=home is not None, written=written.get("site"))
    return replace(here, site=site)


def default_home() -> str:
    return "/var/lib/bcs" if os.geteuid() == 0 else "~/.local/share/bcs"


def find_file(paths: Sequence[str]) -> Path | None:
    """The bcs.toml in or beside the first path that has one; in a git repository, anywhere above it too."""
    for given in paths or (".",):
        start = Path(given).absolute()
        above = (start, *start.parents)
        root = next((index for index, folder in enumerate(above) if (folder / ".git").exists()), 1 if paths else 0)
        for folder in above[: root + 1]:
            if (folder / FILE).is_file():
                return folder / FILE
    return None


def read_file(file: Path) -> dict[str, str]:
    """The values of a bcs.toml, its paths made absolute."""
    import tomllib

    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read: {error}", hint='it holds lines like: home = "/srv/bcs"') from None
    for key, value in values.items():
        if key not in KEYS:
            raise UsageError(f"{file}: unknown key '{key}'", hint=f"keys are {', '.join(KEYS)}")
        if not isinstance(value, str) or not value:
            what = "a name" if key == "site" else "a path"
            raise UsageError(f"{file}: '{key}' is not {what}", hint=f'write {key} = "{what.replace(" ", "/")}"')
    return {
        key: value if key == "site" else str(file.parent / Path(value).expanduser()) for key, value in values.items()
    }


def _policies(paths: Sequence[str], written: str | None, file: Path | None) -> tuple[Path, ...]:
    if paths:
        # A repository that says where its policies are may be named as a whole.
        return tuple(_inside(Path(path), written, file) for path in paths)
    if written:
        return (_from_here(Path(written).expanduser()),)
    if file is None and Path("policies").is_dir():
        return (Path("policies"),)
    return (file.parent if file else Path("."),)


def _inside(path: Path, written: str | None, file: Path | None) -> Path:
    named_whole = written is not None and file is not None and path.absolute() == file.parent
    return _from_here(Path(written)) if named_whole and written else path


def _from_here(path: Path) -> Path:
    """A path below the working directory as people would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
