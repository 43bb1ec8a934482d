"""Writes that are whole or not there."""

import errno
from pathlib import Path

import pytest

from skysift.files import DiskFull, atomic


def write(path, text):
    with atomic(path) as temporary:
        temporary.write_text(text)


def write_folder(path, **texts):
    with atomic(path) as temporary:
        temporary.mkdir()
        for name, text in texts.items():
            (temporary / name).write_text(text)


def tree(folder):
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_file_replaces_a_file(tmp_path):
    write(tmp_path / "new" / "a.nc", "first")
    write(tmp_path / "new" / "a.nc", "second")
    assert tree(tmp_path) == {"new/a.nc": "second"}


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with atomic(tmp_path / "a.fits.gz") as temporary:
        assert temporary.name.endswith("a.fits.gz")
        assert temporary.parent == tmp_path
        temporary.touch()


def test_a_folder_replaces_a_folder(tmp_path):
    write_folder(tmp_path / "a.zarr", x="1", y="2")
    write_folder(tmp_path / "a.zarr", x="3")
    assert tree(tmp_path) == {"a.zarr/x": "3"}


@pytest.mark.parametrize("first", [write, write_folder])
@pytest.mark.parametrize("halved", ["file", "folder"])
def test_disk_full_keeps_what_was_there(tmp_path, first, halved):
    path = tmp_path / "a"
    first(path, text="old")
    before = tree(tmp_path)

    def full():
        with atomic(path) as temporary:
            if halved == "folder":
                temporary.mkdir()
            (temporary / "part" if halved == "folder" else temporary).write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match=r"disk full while writing .*a: .* MB free"):
        full()
    assert tree(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path):
    write_folder(tmp_path / "folder", x="1")
    write(tmp_path / "file", "2")
    with pytest.raises(ValueError, match=r"output: cannot write .*folder: .*Choose a folder"):
        write(tmp_path / "folder", "3")
    with pytest.raises(ValueError, match=r"output: cannot write .*file: a file stands where"):
        write_folder(tmp_path / "file", x="4")
    assert tree(tmp_path) == {"folder/x": "1", "file": "2"}
    assert len(list(tmp_path.iterdir())) == 2


def test_folders_that_cannot_be_made_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="a file stands where a folder should be"):
        write(tmp_path / "file" / "a.nc", "1")

    def refuse(self, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ValueError, match="Permission denied"):
        write(tmp_path / "a.nc", "1")
