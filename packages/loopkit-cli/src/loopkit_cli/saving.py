"""Writing artifacts to a folder, and never outside it. Their names are hostile data: other programs write them too.

Every file is made anew in the folder that was opened once, so no link can lead elsewhere; nothing is overwritten.
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
"""A letter or digit of any script, then more of them and a few signs; no separator, no control character."""


def save(artifacts: Sequence[Artifact], folder: str) -> list[str]:
    """Write each artifact to a file in ``folder``, all or none, and give the paths.

    A file that is there already with the same content is left as it is.

    Raises:
        UnusableOption: the folder cannot be made or written to.
        Refused: a file of that name is there with another content; nothing was written.
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
    """Give each artifact a file name of its own: the stored one where it is harmless, else one made here."""
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
    """Tell whether the folder holds the file with this content.

    Raises:
        Refused: there is something else of that name.
    """

    def without_following(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)

    try:
        with open(name, "rb", opener=without_following) as file:
            found = os.fstat(file.fileno())
            is_same = stat.S_ISREG(found.st_mode) and found.st_size == len(content) and file.read() == content
    except FileNotFoundError:
        return False
    except OSError as error:  # a link, a folder, a file that may not be read
        raise Refused(f"{name!r} is there already and is no such file; nothing was saved") from error
    if not is_same:
        raise Refused(f"{name!r} is there already with another content; nothing was saved")
    return True


def _write(folder: int, name: str, content: bytes) -> None:
    """Make the file, which must not be there; whatever goes wrong leaves none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
