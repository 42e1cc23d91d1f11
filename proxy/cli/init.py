"""``orch init``: a commented configuration to begin with, written where nothing is yet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli import show
from proxy.config.files import packaged_config, packaged_policies
from proxy.errors import BadRequest

app = typer.Typer(rich_markup_mode=None, add_completion=False)

NEXT = """\
Next:
  orch check{config}         says what is wrong with it, if anything is
  orch doctor{config}        says what is missing on this machine
  orch serve{config}         serves it; with a provider's key in the environment (OPENAI_API_KEY …) real models answer
"""


@app.command(epilog="Example: orch init my-proxy")
def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIRECTORY]", help="Made if it is not there.")] = Path(),
    json: show.JsonOption = False,
) -> None:
    """Write config.yaml and policies/ into a directory, commented, ready to serve. Nothing that is there is overwritten."""
    texts = {directory / "config.yaml": packaged_config().read_text(encoding="utf-8")} | {
        directory / "policies" / file.name: file.read_text(encoding="utf-8")
        for file in sorted(packaged_policies().parent.glob("*.yaml"))
    }
    _refuse_to_overwrite(texts)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
    if show.form(json) is show.Form.JSON:
        show.as_json({"written": [str(path) for path in texts]})
        return
    for path in texts:
        print(f"wrote {path}")
    here = directory.resolve() == Path.cwd()
    print(NEXT.format(config="" if here else f" --config {directory / 'config.yaml'}"), end="")


def _write(path: Path, text: str) -> None:
    """The whole text in a new file, or no file."""
    stream = path.open("x", encoding="utf-8")  # x: not even what was made in this moment is overwritten
    try:
        with stream:
            stream.write(text)
    except OSError as error:
        path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def _refuse_to_overwrite(paths: Iterable[Path]) -> None:
    found = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if found:
        are = "is there already" if len(found) == 1 else "are there already"
        raise BadRequest(f"{', '.join(found)} {are}; nothing was written: name another directory, or move them away")
