"""Files: reads what an operator wrote and remembers what it looked like, so that a change can be told from a touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import proxy
from proxy.config.environment import Environment
from proxy.config.positions import FILE_BYTES_MAX, decode, read_yaml
from proxy.config.tree import Node
from proxy.errors import Problem


@dataclass(slots=True)
class Files:
    """The files of one load. ``stamps`` has every path looked at: a digest of what was read, None where nothing could be."""

    environment: Environment
    problems: list[Problem]
    stamps: dict[Path, str | None] = field(default_factory=dict)

    def exists(self, path: Path) -> bool:
        """Whether there is a file to read. What stands in its place, or cannot be looked at, counts: ``read`` tells why."""
        self.stamps.setdefault(path, None)
        try:
            mode = path.stat().st_mode
            return S_ISREG(mode) or S_ISDIR(mode)  # a mount of a file that is not there makes a directory of it
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
            return False
        except OSError:
            return True

    def read(self, path: Path) -> tuple[str, Node] | None:
        """The file's text and its tree with all references followed; None, with every problem noted, if it has none."""
        file = shown(path)
        try:
            raw = _bytes(path)
        except OSError as error:
            self.stamps[path] = None
            self.problems.append(Problem(file, 1, 1, "", _unreadable(error)))
            return None
        self.stamps[path] = _digest(raw)
        text = decode(raw, file, self.problems)
        node = None if text is None else read_yaml(text, file, self.problems)
        if text is None or node is None:
            return None
        return text, self.environment.expand(node, self.problems)


def stamps(paths: Iterable[Path]) -> dict[Path, str | None]:
    """What the files look like now, as ``Files`` would have noted it."""
    found: dict[Path, str | None] = {}
    for path in paths:
        try:
            found[path] = _digest(_bytes(path))
        except OSError:
            found[path] = None
    return found


def shown(path: Path) -> str:
    """The path as messages name it: relative to the working directory where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(path)


def packaged_policies() -> Path:
    """The chain that comes with the package: ``proxy/_policies`` in an installed wheel, ``/policies`` in a checkout."""
    package = Path(proxy.__file__).parent
    packaged = package / "_policies"
    return (packaged if packaged.is_dir() else package.parent / "policies") / "default.yaml"


def packaged_config() -> Path:
    """The configuration that a new one begins as: ``proxy/_config.yaml`` in an installed wheel, /config.yaml in a checkout."""
    package = Path(proxy.__file__).parent
    packaged = package / "_config.yaml"
    return packaged if packaged.is_file() else package.parent / "config.yaml"


def _unreadable(error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "is a directory: a file is needed here"
    return f"cannot be read: {error.strerror or 'unknown error'}"


def _bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(FILE_BYTES_MAX + 1)


def _digest(raw: bytes) -> str:
    return sha256(raw).hexdigest()
