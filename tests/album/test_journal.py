"""The journal of a folder of results, and of photographs named one by one."""

import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest

from nedr.album import journal
from nedr.album.journal import Record
from nedr.errors import UsageError
from nedr.pictures import atomic


def record(k=0, settings="A", at=1.0, **files):
    """Of a photograph k.jpg, which becomes k.jpg."""
    return Record(f"{k}.jpg", f"/trip/{k}.jpg", 9, "1", "digest", settings, files or {f"{k}.jpg": "made"}, {}, at)


def lines(*records):
    """What earlier versions and runs on many machines wrote."""
    written = {"0.jpg": [4, "1"]}
    return "".join(journal.line(each) + journal.written_line(each, written) for each in records)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / journal.FOLDER).mkdir()
    return tmp_path


def test_old_journals_are_taken_over_once_in_the_order_of_their_times_not_names(folder):
    (folder / ".nedr/z-first.jsonl").write_text(lines(record(settings="A", at=0)).replace(', "at": 0', ""))
    (folder / ".nedr/a-second.jsonl").write_text(lines(record(settings="B", at=0)).replace(', "at": 0', ""))
    os.utime(folder / ".nedr/z-first.jsonl", (1000, 1000))
    os.utime(folder / ".nedr/a-second.jsonl", (2000, 2000))
    with journal.open_album(folder, writing=False) as album:
        assert [(known.settings, known.at) for known, _ in album.records()] == [("B", 2000)]
    assert len(list(folder.glob(".nedr/*.jsonl"))) == 2
    with journal.open_album(folder) as album:
        assert [known.settings for known, _ in album.records()] == ["B"]
    assert not list(folder.glob(".nedr/*.jsonl"))
    with journal.open_album(folder) as album:
        assert [(known.settings, written) for known, written in album.records()] == [("B", {"0.jpg": [4, "1"]})]


def test_a_map_known_only_to_the_older_of_two_journals_is_still_ours(folder):
    (folder / "map.png").write_bytes(b"drawn")
    earlier = record(settings="A", at=1, **{"0.jpg": "made", "map.png": journal.digest(b"drawn")})
    for name, known in (("z-first", earlier), ("a-second", record(settings="B", at=2))):
        (folder / f".nedr/{name}.jsonl").write_text(lines(known))
        os.utime(folder / f".nedr/{name}.jsonl", (known.at, known.at))
    with journal.open_album(folder) as album:
        assert album.may_replace(folder / "0.jpg", Path("/trip/0.jpg"), "", folder / "map.png")


def test_what_is_older_than_what_is_known_changes_nothing(folder):
    with journal.open_album(folder) as album:
        album.begin(record(settings="B", at=5))
        album.take_over([(record(settings="A", at=4), None), (record(settings="A", at=4), {"0.jpg": (4, "1")})])
        assert album.records() == [(record(settings="B", at=5), None)]


def test_torn_lines_and_lines_of_other_versions_are_passed_over(folder):
    torn = '{"result": "a"}\nno JSON\n[1]\n' + lines(record()) + journal.line(record(1))[:40]
    (folder / ".nedr/album.jsonl").write_text(torn)
    with journal.open_album(folder) as album:
        assert [known.result for known, _ in album.records()] == ["0.jpg"]


def test_a_line_says_when(folder):
    assert json.loads(journal.line(record(at=7)))["at"] == 7
    assert asdict(next(journal.read_lines(journal.line(record(at=7))))[0])["at"] == 7


def test_a_kill_before_the_last_results_are_written_down_does_nothing_again(folder, monkeypatch):
    photo = folder / "trip.jpg"
    photo.write_bytes(b"hazy")
    results = [folder / f"{k}.jpg" for k in range(3)]
    monkeypatch.setattr(journal, "_flushed", nullcontext)
    with journal.open_album(folder) as album:
        for result in results:
            made = {result.name: journal.digest(b"clear")}
            known = Record(result.name, str(photo), *journal.stamp(photo), journal.digest(b"hazy"), "A", made)
            album.begin(known)
            result.write_bytes(b"clear")
            album.done(known)
    with journal.open_album(folder) as album:
        results[1].write_bytes(b"mine")
        assert [written is None for _, written in album.records()] == [False, False, True]
        assert [album.finished(result, photo, "A") is not None for result in results] == [True, True, True]
        results[2].write_bytes(b"torn")
        assert album.finished(results[2], photo, "A") is None


def test_a_result_is_ours_until_somebody_changes_it(folder):
    photo, result = folder / "trip.jpg", folder / "0.jpg"
    photo.write_bytes(b"hazy"), result.write_bytes(b"clear")
    known = Record("0.jpg", str(photo), *journal.stamp(photo), journal.digest(b"hazy"), "A", {"0.jpg": "?"})
    with journal.open_album(folder) as album:
        album.begin(known)
        assert album.finished(result, photo, "A") is None  # begun, and not what was to be written
        album.done(known)
        assert album.finished(result, photo, "A") == known
        assert album.finished(result, photo, "B") is None
        assert album.may_replace(result, photo, "", result)
        result.write_bytes(b"retouched")
        assert album.finished(result, photo, "A") == known
        assert album.finished(result, photo, "A", untouched=True) is None
        assert not album.may_replace(result, photo, "", result)


def test_a_photograph_that_was_replaced_in_place_is_not_ours_to_replace_again(folder):
    photo = folder / "a.jpg"
    photo.write_bytes(b"hazy")
    known = Record("a.jpg", str(photo), *journal.stamp(photo), journal.digest(b"hazy"), "A", {"a.jpg": "?"})
    with journal.open_album(folder) as album:
        album.begin(known)
        album.done(known)
        assert not album.may_replace(photo, photo, "", photo)


def test_an_earlier_map_stays_known_as_ours(folder):
    photo = folder / "trip.jpg"
    for name in ("trip.jpg", "0.jpg", "map.png"):
        (folder / name).write_bytes(b"1")
    with journal.open_album(folder) as album:
        for files in ({"0.jpg": "?", "map.png": "?"}, {"0.jpg": "?"}):
            known = Record("0.jpg", str(photo), 1, "1", "digest", "A", files)
            album.begin(known)
            album.done(known)
        assert album.may_replace(folder / "0.jpg", photo, "", folder / "map.png")


def test_names_that_are_no_text_are_kept(folder):
    name = os.fsdecode(b"\xff.jpg") if sys.platform != "win32" else "x.jpg"
    known = Record(name, f"/{name}", 1, "1", "digest", "A", {name: "made"}, {}, 1.0)
    with journal.open_album(folder) as album:
        album.begin(known)
        assert album.records() == [(known, None)]


def test_one_run_at_a_time_writes_to_a_folder_and_others_may_look(folder):
    with journal.open_album(folder) as album:
        album.begin(record())
        with pytest.raises(UsageError, match="another nedr is writing"), journal.open_album(folder):
            pass
        with journal.open_album(folder, writing=False) as looking:
            assert len(looking.records()) == 1
    with journal.open_album(folder):
        pass


def test_a_killed_run_does_not_keep_others_out(folder):
    code = f"""
import os, pathlib
from nedr.album import journal
with journal.open_album(pathlib.Path({str(folder)!r})) as album:
    os._exit(9)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 9
    with journal.open_album(folder):
        pass


def test_two_writers_lose_nothing():
    """The user's own journal may be written by several commands at once."""

    def write(first):
        with journal.open_own() as own:
            for k in range(first, first + 40):
                own.begin(record(f"two-writers-{k}", at=2e9))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with journal.open_own(writing=False) as own:
        assert sum("two-writers" in known.result for known, _ in own.records()) == 80


def test_the_own_journal_forgets_and_without_a_place_it_lasts_for_the_run_alone(monkeypatch, tmp_path):
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME"
    monkeypatch.setenv(variable, str(tmp_path))
    with journal.open_own() as own:
        own.begin(record(at=1.0))
    with journal.open_own() as own:
        assert own.records() == []
    (tmp_path / "file").write_text("text")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    for _ in range(2):
        with journal.open_own() as own:
            assert own.records() == []
            own.begin(record(at=2e9))


def test_unfinished_files_of_the_living_stay_and_those_of_the_dead_go(folder):
    code = f"""
import os, pathlib
from nedr.pictures import atomic
with atomic.part(pathlib.Path({str(folder)!r}) / "dead.jpg") as file:
    file.write_bytes(b"half")
    os._exit(9)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment)
    [dead] = folder.glob(atomic.PARTS)
    old, foreign = folder / ".nedr-0123456789abcdef.part", folder / ".nedr-00000000-1-0123456789ab.part"
    old.write_bytes(b"half"), foreign.write_bytes(b"half")
    os.utime(old, (1, 1))
    with atomic.part(folder / "alive.jpg") as alive:
        alive.write_bytes(b"whole")
        with journal.open_album(folder):
            assert not dead.exists()
            assert not old.exists()
            assert foreign.exists()
    assert (folder / "alive.jpg").read_bytes() == b"whole"
