"""A file is written whole or not at all, and nothing that exists is lost."""

import os
import sys

import pytest

from nedr.errors import NedrError, UsageError
from nedr.pictures import atomic


def test_writes_the_bytes_and_leaves_nothing_else(tmp_path):
    atomic.write(tmp_path / "a.png", b"data")
    assert (tmp_path / "a.png").read_bytes() == b"data"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_takes_the_longest_name_the_file_system_does(tmp_path):
    name = "x" * 251 + ".png"
    atomic.write(tmp_path / name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"


def test_an_existing_file_stays_unless_overwriting_is_allowed(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists"):
        atomic.write(target, b"new")
    assert target.read_bytes() == b"old"
    atomic.write(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_made_in_the_meantime_stays(tmp_path, monkeypatch, links):
    target = tmp_path / "a.png"
    link = os.link

    def late(source, destination):
        target.write_bytes(b"somebody else's")
        if not links:
            raise PermissionError(1, "Operation not permitted")
        link(source, destination)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(UsageError, match="exists"):
        atomic.write(target, b"ours")
    assert target.read_bytes() == b"somebody else's"
    assert len(list(tmp_path.iterdir())) == 1


def test_file_systems_without_links_are_written_to(tmp_path, monkeypatch):
    def refuse(source, destination):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    atomic.write(tmp_path / "a.png", b"data")
    assert (tmp_path / "a.png").read_bytes() == b"data"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_the_folder_as_it_was(tmp_path, monkeypatch, overwrite, existing):
    if existing:
        (tmp_path / "a.png").write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NedrError, match="exists" if existing and not overwrite else "No space left"):
        atomic.write(tmp_path / "a.png", b"data", overwrite=overwrite)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"a.png": b"old"} if existing else {})


def test_an_interruption_leaves_no_part(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path / "a.png", b"data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overwrite", [True, False])
def test_wrong_targets_are_usage_errors_of_one_line(tmp_path, overwrite):
    (tmp_path / "file").write_bytes(b"x")
    for target in (tmp_path, tmp_path / "missing" / "a.png", tmp_path / "file" / "a.png"):
        with pytest.raises(UsageError, match=r"^[^\n]+$"):
            atomic.write(target, b"data", overwrite=overwrite)
    with pytest.raises(NedrError):
        atomic.write(tmp_path / "nul\0.png", b"data", overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_and_links_stay_when_overwriting(tmp_path):
    target, link = tmp_path / "a.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with pytest.raises(UsageError, match="exists"):
        atomic.write(link, b"new")
    atomic.write(link, b"new", overwrite=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_new_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write(tmp_path / "a.png", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
