"""Artifacts as files in a folder, never outside it. File names are hostile data: other programs write them too.

The folder is opened once and every file is created new in it, so no link can lead elsewhere; nothing is overwritten.
"""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loopkit.core.journal import Artifact
from loopkit.errors import UnusableOption
from loopkit_cli.exits import Refused

_HARMLESS: Final = re.compile(r"\w[\w()+,=@. -]{0,99}")
"""Safe file name: a letter or digit of any script, then letters, digits and a few signs; no separator."""


def save(artifacts: Sequence[Artifact], folder: str) -> list[str]:
    """Write each artifact to a file in ``folder``, all or none, and return the paths.

    A file that already exists with the same content is left as it is.

    Raises:
        UnusableOption: the folder cannot be created or written to.
        Refused: a file of that name exists with other content; nothing was written.
    """
    named = list(zip(_names(artifacts), artifacts, strict=True))
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UnusableOption(f"--save {folder}: {error.strerror or error}") from error
    try:
        new = [(name, artifact) for name, artifact in named if not _is_there(opened, name, artifact.content.encode())]
        for name, artifact in new:
            _write(opened, name, artifact.content.encode())
    except OSError as error:
        raise UnusableOption(f"--save {folder}: {error.strerror or error}") from error
    finally:
        os.close(opened)
    return [str(Path(folder) / name) for name, _ in named]


def _names(artifacts: Sequence[Artifact]) -> list[str]:
    """Return a distinct file name for each artifact: the stored one when it is safe, else one made of the artifact."""
    names: list[str] = []
    taken: set[str] = set()
    for artifact in artifacts:
        name = artifact.filename
        if not _HARMLESS.fullmatch(name) or len(name.encode()) > 200 or name.casefold() in taken:
            name = f"attempt-{artifact.attempt}.{artifact.artifact_type}.{artifact.id}.txt"
        names.append(name)
        taken.add(name.casefold())
    return names


def _is_there(folder: int, name: str, content: bytes) -> bool:
    """Return True when the folder has the file with this content, False when it has no such file.

    Raises:
        Refused: something else of that name exists.
    """

    def without_following(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)

    try:
        with open(name, "rb", opener=without_following) as file:
            status = os.fstat(file.fileno())
            is_same = stat.S_ISREG(status.st_mode) and status.st_size == len(content) and file.read() == content
    except FileNotFoundError:
        return False
    except OSError as error:  # a link, a folder, a file that may not be read
        raise Refused(f"{name!r} already exists and is not a readable regular file; nothing was saved") from error
    if not is_same:
        raise Refused(f"{name!r} already exists with other content; nothing was saved")
    return True


def _write(folder: int, name: str, content: bytes) -> None:
    """Create the file, which must not exist; an error leaves no file behind."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
