"""The first step of a sample: the network's own files, downloaded and converted, or made with random weights."""

from __future__ import annotations

from pathlib import Path

from magicmind.errors import Error
from magicmind.zoo.fetch import Report, obtain
from magicmind.zoo.workspace import RANDOM, Request


def quiet(what: str, done: int, total: int) -> None:
    """No progress."""


def export(
    request: Request, report: Report = quiet, *, given: Path | None = None, url: str | None = None
) -> list[Path]:
    """The files that the build reads, made unless they are there.

    given: a folder of the user's with published files. url: another address of the first of them.
    Raises Error that names the file that is missing, its address, and where it belongs.
    """
    source = request.sample.source
    folder = request.models
    files = [folder / name for name in source.files]
    if all(path.exists() for path in files):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    if request.weights == RANDOM:
        if not can_be_random(request):
            raise Error(
                f"{request.sample.name} has no random weights: its files hold trained ones",
                hint="magicmind zoo export without --weights random",
            )
        report("random weights", 0, 0)
        source.make_random(folder, request.seed)
        return files
    for number, download in enumerate(source.downloads):
        obtain(download, folder, report, given=given, url=url if number == 0 else None)
    report("converting", 0, 0)
    source.convert(folder)
    return files


def can_be_random(request: Request) -> bool:
    """Whether the network can be made without any download."""
    source = request.sample.source
    return bool(getattr(source, "random", "") or getattr(source, "make", ""))


def source_files(request: Request) -> dict[str, Path]:
    """The files by name, the user's own where given. Raises Error for those that are not there."""
    found = {name: request.files.get(name, request.models / name) for name in request.sample.source.files}
    missing = [path for path in found.values() if not path.exists()]
    if missing:
        extra = f" --weights {RANDOM}" if request.weights == RANDOM else ""
        raise Error(
            f"{missing[0]} is not there", hint=f"magicmind zoo export {request.sample.name}{extra} gets the network"
        )
    return found
