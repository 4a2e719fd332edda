"""Downloads with pooch: files that are checked, continued where they broke off, and taken from any mirror that answers.

Where nothing answers, the message says which file belongs where, and from which address.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicmind.errors import Error, MissingExtraError

Report = Callable[[str, int, int], None]
"""Called with (what, done, total); total 0 where it is not known."""


@dataclass(frozen=True)
class Download:
    """A published file. `urls` are tried in order; none where it cannot be fetched, and then `origin` says where from.

    sha256: all of its digits, or as many of the first as are published.
    member: where the download is an archive, the file in it that is wanted; sums and size are the archive's.
    """

    name: str
    urls: tuple[str, ...] = ()
    sha256: str = ""
    size: int | None = None
    member: str = ""
    origin: str = ""

    def check(self, path: Path) -> None:
        """Raises Error for a file of another size or sum."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            raise Error(f"{path} has {size:,} bytes instead of {self.size:,}", hint="remove it and export again")
        if self.sha256:
            found = sha256(path)
            if not found.startswith(self.sha256):
                raise Error(
                    f"{path} is not the published file: its sha256 is {found}, not {self.sha256}",
                    hint="remove it and export again, or say which file you mean with --model",
                )


def sha256(path: Path) -> str:
    """The file's sum as text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def obtain(
    wanted: Download, folder: Path, report: Report, *, given: Path | None = None, url: str | None = None
) -> Path:
    """Path of the file in `folder`: what is there already, a copy from the folder `given`, or downloaded.

    url: an address of the user's, instead of the published ones. Raises Error, MissingExtraError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / wanted.name
    if target.exists():
        if not wanted.member:
            wanted.check(target)
        return target
    if given is not None:
        return _copy(wanted, given, target)
    failures = []
    for address in (url,) if url else wanted.urls:
        try:
            return _fetch(wanted, address, target, report)
        except Error:
            raise
        except Exception as error:  # requests, urllib3, OSError: whatever goes wrong, the next mirror may work
            failures.append(f"  {address}\n    {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    raise Error(_nowhere(wanted, target, failures), hint="--from FOLDER takes files from a folder of yours")


def _nowhere(wanted: Download, target: Path, failures: list[str]) -> str:
    tried = "\n".join(["it cannot be downloaded:", *failures]) if failures else "it has no public address"
    source = wanted.origin or (wanted.urls[0] if wanted.urls else "")
    inside = f" (unpack {wanted.member} from the archive)" if wanted.member else ""
    return f"{wanted.name} is missing; {tried}\n  get it from {source}{inside}\n  and put it at {target}"


def _copy(wanted: Download, given: Path, target: Path) -> Path:
    source = given / wanted.name
    if not source.exists():
        raise Error(_nowhere(wanted, target, [f"  {source}\n    no such file"]))
    if not wanted.member:
        wanted.check(source)
    shutil.copyfile(source, target)
    return target


def _fetch(wanted: Download, url: str, target: Path, report: Report) -> Path:
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise MissingExtraError("downloading needs pooch", hint="pip install 'magicmind[zoo]'") from error
    pooch.get_logger().setLevel("WARNING")  # progress is the report's; its advice on checksums is not for users
    name = url.rsplit("/", 1)[-1].partition("?")[0] if wanted.member else wanted.name
    known = f"sha256:{wanted.sha256}" if len(wanted.sha256) == 64 else None
    try:
        path = Path(
            pooch.retrieve(url, known, fname=name, path=target.parent, downloader=Continuing(report, target.parent))
        )
    except ValueError as error:  # the sum
        raise Error(f"{url}: {error}", hint="try again, or another address with --url") from error
    wanted.check(path)
    if wanted.member:
        _unpack(path, wanted.member, target)
    return target


def _unpack(archive: Path, member: str, target: Path) -> None:
    draft = target.with_name(f".{target.name}.draft")
    try:
        with tarfile.open(archive) as tar, draft.open("wb") as file:
            found = tar.extractfile(member)
            if found is None:
                raise KeyError(member)
            shutil.copyfileobj(found, file)
    except (KeyError, tarfile.TarError, EOFError) as error:
        draft.unlink(missing_ok=True)
        raise Error(f"{archive} does not hold {member}: {error}", hint="remove it and export again") from error
    draft.replace(target)


@dataclass(frozen=True)
class Continuing:
    """A downloader of pooch: what came of an earlier try stays in `NAME.part`, and only the rest is asked for."""

    report: Report
    folder: Path
    seconds: float = 30.0
    """Longest silence of a server."""

    def __call__(self, url: str, output_file: str | Path, _: Any) -> None:
        import requests

        name = url.rsplit("/", 1)[-1].partition("?")[0] or "download"
        part = self.folder / f"{name}.part"
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=self.seconds) as answer:
            if answer.status_code == 416:  # nothing is missing, or the file has changed: its sum tells
                os.replace(part, output_file)
                return
            answer.raise_for_status()
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise ValueError("the server answers with a page instead of the file")
            continued = answer.status_code == 206
            done = have if continued else 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if continued else "wb") as file:
                for piece in answer.iter_content(1 << 16):
                    file.write(piece)
                    done += len(piece)
                    self.report(name, done, total)
        if total and done < total:
            raise OSError(f"{done:,} of {total:,} bytes arrived; the rest is asked for next time")
        os.replace(part, output_file)
