"""Writing files so that an interrupted or failed write leaves nothing that looks complete."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EISDIR)


class DiskFull(OSError):
    """The disk or the quota is full; says where, what is needed and what is free."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name in the same folder that replaces `path` only when the block succeeds.

    The temporary name keeps the suffix, because writers choose compression by it. A folder replaces
    a folder, a file a file.

    Args:
        path: file or folder to write.

    Yields:
        The name to write to.

    Raises:
        ValueError: if the folder cannot be written.
        DiskFull: if the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_dir() and path.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif path.parent.is_dir():
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: str | Path, need: int | None = None) -> Iterator[None]:
    """Turn what the operating system says of a failed write into what a user can act on.

    Args:
        path: what is being written.
        need: bytes that the whole product takes, where known.

    Raises:
        ValueError: if `path` cannot be written at all.
        DiskFull: if the disk or the quota is full.
    """
    try:
        yield
    except DiskFull:
        raise
    except OSError as error:
        if error.errno in _FULL or "No space left" in str(error):
            raise disk_full(path, need) from error
        blocked = isinstance(error, (FileExistsError, NotADirectoryError))
        if blocked or error.errno in _REFUSED:
            reason = "a file stands where a folder should be" if blocked else error.strerror
            raise ValueError(
                f"output: cannot write {path}: {reason}. Choose a folder that you may write to."
            ) from error
        raise


def require_space(path: str | Path, need: int) -> None:
    """Check before a long run that its product fits on the disk.

    Raises:
        DiskFull: if less than `need` bytes are free where `path` will be.
    """
    if free_bytes(path) < need:
        raise disk_full(path, need)


def disk_full(path: str | Path, need: int | None) -> DiskFull:
    """The error of a full disk, naming the path, the need and what is free."""
    wanted = "" if need is None else f" about {_megabytes(need)} needed,"
    message = (
        f"disk full while writing {path}:{wanted} {_megabytes(free_bytes(path))} free. Nothing was "
        "kept; free some space or choose another folder."
    )
    return DiskFull(errno.ENOSPC, message)


def free_bytes(path: str | Path) -> int:
    """Free bytes on the file system that holds `path`, which need not exist yet."""
    folder = Path(path).absolute()
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
