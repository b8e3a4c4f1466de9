import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import standin
from PIL import Image

from nedr.album import journal, plan, report
from nedr.album import run as album
from nedr.cli import main as cli
from nedr.errors import NedrError
from nedr.inference.dehazer import Dehazer
from nedr.pictures import atomic, images
from nedr.pictures.job import Job

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def photograph(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(90, 220, 40 * 60).reshape(40, 60)
    pixels = np.stack([ramp, ramp * 0.95 + 8, np.full_like(ramp, 60 + seed % 190)], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def results(folder):
    """Every file of a folder of results by its name there, apart from the journals."""
    found = (path for path in Path(folder).rglob("*") if path.is_file() and journal.FOLDER not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


def known(folder):
    """What the journal of a folder says: {result: (record, whether it was written)}."""
    with journal.open_album(Path(folder), writing=False) as album:
        return {record.result: (record, written is not None) for record, written in album.records()}


# The tree


NAMES = ["a.jpg", "deep/er/b.PNG", "Dunst über München/c d.webp", "霧/ضباب.tif", "two.dots.bmp"]


def test_the_same_tree_comes_out(folder, nedr, weights):
    for name in NAMES:
        photograph(folder / "trip" / name)
    status, out, err = nedr("trip", "-o", "out")
    assert (status, len(out)) == (0, len(NAMES))
    assert results("out") == set(NAMES)
    assert err[0].startswith(f"nedr: {len(NAMES)} dehazed, 0 done before, 0 failed in ")
    expected = Dehazer(weights).dehaze(np.asarray(Image.open("trip/deep/er/b.PNG")))
    assert np.array_equal(np.asarray(Image.open("out/deep/er/b.PNG")), expected)


def test_without_an_output_the_results_lie_in_a_folder_beside(folder, nedr, monkeypatch):
    photograph(folder / "trip/a.png")
    assert nedr("trip/")[0] == 0
    assert results("trip.dehazed") == {"a.png"}
    monkeypatch.chdir("trip")
    assert nedr(".")[1] == []


def test_photographs_and_folders_mix(folder, nedr):
    for name in ("one/2024/a.png", "two/2024/a.png", "b.png"):
        photograph(folder / name)
    assert nedr("one/2024", "b.png", "two/2024", "-o", "out")[0] == 0
    assert results("out") == {"2024/a.png", "2024~2/a.png", "b.dehazed.png"}
    assert nedr("one", "b.png", "-o", "more")[0] == 0
    assert results("more") == {"2024/a.png", "b.dehazed.png"}


def test_an_output_inside_the_folder_is_never_read(folder, nedr):
    photograph(folder / "trip/sub/a.png")
    for _ in range(2):
        assert nedr("trip", "-o", "trip/out")[0] == 0
    assert nedr("trip", "-o", "trip/again")[0] == 0
    assert results("trip") == {"sub/a.png", "out/sub/a.png", "again/sub/a.png"}


def test_results_beside_their_photographs_are_never_read(folder, nedr):
    photograph(folder / "trip/a.png"), photograph(folder / "trip/b.dehazed.png")
    assert nedr("trip/a.png", "--map", "--compare")[0] == 0
    assert nedr("trip", "-o", "out")[0] == 0
    assert results("out") == {"a.png", "b.dehazed.png"}  # there is no b that the latter would be the result of


def test_a_folder_into_itself_or_into_a_file_is_refused(folder, nedr):
    photo = photograph(folder / "trip/a.png")
    before = photo.read_bytes()
    assert nedr("trip", "-o", "trip/../trip")[0] == 2
    assert nedr("trip", "trip/", "-o", "out")[0] == 2
    (folder / "file").write_text("text")
    assert nedr("trip", "-o", "file")[0] == 2
    assert photo.read_bytes() == before
    assert results(folder) == {"trip/a.png", "file"}


def test_links_in_circles_end_and_each_folder_is_read_once(folder, nedr):
    photograph(folder / "trip/z/a.png")
    (folder / "trip/b").symlink_to(folder / "trip/z")
    (folder / "trip/z/up").symlink_to("..")
    photograph(folder / "far/c.png")
    (folder / "trip/far").symlink_to(folder / "far")
    assert nedr("trip", "-o", "out")[0] == 0
    assert results("out") == {"z/a.png", "far/c.png"}


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")
def test_a_link_to_itself_costs_nothing_but_itself(folder, nedr):
    photograph(folder / "trip/a.png")
    for name in ("loop", "loop.jpg"):
        (folder / "trip" / name).symlink_to(name)
    status, _, err = nedr("trip", "-o", "out")
    assert status == 1
    assert "loop.jpg" in err[0]
    assert "1 dehazed, 0 done before, 1 failed" in err[1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have names in Unicode alone")
def test_names_that_are_no_text_go_through(folder, nedr):
    name = os.fsdecode(b"\xff\xe9t\xe9.png")
    photograph(folder / "trip" / name)
    assert nedr("trip", "-o", "out", "--report", "r.csv", "--json")[0] == 0
    assert results("out") == {name}
    assert nedr("trip", "-o", "out")[2][0].startswith("nedr: 0 dehazed, 1 done before")


def test_names_that_some_disks_hold_for_the_same_stay_apart(folder, nedr):
    for name in ("a.jpg", "A.jpg", "a.png", "u\u0308.png", "\u00fc.png"):
        photograph(folder / "trip" / name)
    assert nedr("trip", "-o", "out", "--map")[0] == 0
    made = results("out")
    assert len(made) == 2 * len(results("trip"))
    assert len({name.casefold() for name in made}) == len(made)
    assert {"a.png", "A.jpg"} < made


def test_a_heif_gives_way_to_the_jpeg_of_its_name(folder, nedr):
    pytest.importorskip("pillow_heif").register_heif_opener()
    photograph(folder / "trip/a.heic", 1, format="HEIF"), photograph(folder / "trip/a.jpg")
    assert nedr("trip", "-o", "out")[0] == 0
    assert results("out") == {"a.jpg", "a~2.jpg"}
    assert nedr("trip/a.jpg", "-o", "alone.jpg")[0] == 0
    assert Path("out/a.jpg").read_bytes() == Path("alone.jpg").read_bytes()


def test_globs_choose_and_hidden_files_and_strangers_are_left(folder, nedr):
    for name in ("a.jpg", "b.PNG", "raw/c.jpg", "sub/raw/d.jpg", ".hidden/e.jpg", "._a.jpg"):
        photograph(folder / "trip" / name)
    (folder / "trip/notes.txt").write_text("text")

    def chosen(*globs):
        return {line.partition(" -> ")[0].removeprefix("trip/") for line in nedr("trip", "--dry-run", *globs)[1]}

    assert chosen() == {"a.jpg", "b.PNG", "raw/c.jpg", "sub/raw/d.jpg"}
    assert chosen("--include", "*.JPG") == {"a.jpg", "raw/c.jpg", "sub/raw/d.jpg"}
    assert chosen("--exclude", "raw") == {"a.jpg", "b.PNG"}
    assert chosen("--include", "raw/*", "--include", "*.png") == {"b.PNG", "raw/c.jpg"}


def test_a_folder_without_photographs_is_said_to_be(folder, nedr):
    (folder / "trip").mkdir()
    status, _, err = nedr("trip", "-o", "out")
    assert status == 2
    assert "trip" in err[0]
    assert not Path("out").exists()


# Again


def test_finished_photographs_are_passed_over_and_changes_are_done_again(folder, nedr):
    for k in range(3):
        photograph(folder / f"trip/{k}.png", k)
    assert len(nedr("trip", "-o", "out")[1]) == 3
    assert nedr("trip", "-o", "out")[1] == []
    os.utime("trip/0.png")  # touched, but the same
    assert nedr("trip", "-o", "out")[1] == []
    photograph(folder / "trip/1.png", 77)
    Path("out/2.png").unlink()
    assert [line[:10] for line in nedr("trip", "-o", "out")[1]] == ["trip/1.png", "trip/2.png"]
    assert len(nedr("trip", "-o", "out", "--strength", "0.5")[1]) == 3
    assert nedr("trip", "-o", "out", "--strength", "0.5")[1] == []
    assert len(nedr("trip", "-o", "out", "--strength", "0.5", "--method", "cap")[1]) == 3


def test_a_map_of_earlier_is_still_ours(folder, nedr):
    photograph(folder / "trip/a.png")
    for words in (["--map"], [], ["--map"]):
        assert nedr("trip", "-o", "out", "--strength", "0.5", *words)[0] == 0
    Path("out/a.transmission.png").write_bytes(b"mine")
    assert nedr("trip", "-o", "out", "--map")[0] == 2
    assert Path("out/a.transmission.png").read_bytes() == b"mine"


def test_other_weights_do_the_work_again(folder, nedr, tmp_path_factory):
    photograph(folder / "trip/a.png")
    assert len(nedr("trip", "-o", "out")[1]) == 1
    other = standin.write(tmp_path_factory.mktemp("other") / "standin.onnx", view=64)
    assert cli.main(["trip", "-o", "out", "--weights", str(other)]) == 0
    assert cli.main(["trip", "-o", "out", "--weights", str(other), "--json"]) == 0


def test_what_somebody_else_wrote_stays(folder, nedr):
    photograph(folder / "trip/a.png"), photograph(folder / "trip/b.png")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"precious")
    assert nedr("trip", "-o", "out")[0] == 1
    assert Path("out/a.png").read_bytes() == b"precious"
    Path("out/b.png").write_bytes(b"retouched")  # by hand, after it was cleared
    assert nedr("trip", "-o", "out", "--strength", "0.5")[0] == 2
    assert Path("out/b.png").read_bytes() == b"retouched"
    assert nedr("trip", "-o", "out", "--strength", "0.5", "--overwrite")[0] == 0


def test_the_results_of_another_folder_are_not_replaced(folder, nedr):
    photograph(folder / "one/a.png", 1), photograph(folder / "two/a.png", 2)
    assert nedr("one", "-o", "out")[0] == 0
    before = Path("out/a.png").read_bytes()
    assert nedr("two", "-o", "out")[0] == 2
    assert Path("out/a.png").read_bytes() == before


def test_a_moved_folder_is_known_again(folder, nedr):
    photograph(folder / "trip/a.png")
    nedr("trip", "-o", "out")
    Path("trip").rename("journey")
    assert nedr("journey", "-o", "out")[:2] == (0, [])


def test_the_limit_counts_what_is_done_now(folder, nedr):
    for k in range(5):
        photograph(folder / f"trip/{k}.png", k)
    for expected in (2, 2, 1, 0):
        assert len(nedr("trip", "-o", "out", "--limit", "2")[1]) == expected


def test_a_dry_run_writes_nothing(folder, nedr):
    photograph(folder / "trip/a.png")
    assert nedr("trip", "-o", "out", "--dry-run")[1] == [f"trip/a.png -> {Path('out/a.png')}"]
    assert results(folder) == {"trip/a.png"}


# What fails


def test_bad_files_are_named_and_the_rest_is_done(folder, nedr):
    for k in range(6):
        photograph(folder / f"trip/{k}.jpg", k)
    (folder / "trip/empty.jpg").write_bytes(b"")
    (folder / "trip/gone.png").symlink_to("nowhere.png")
    status, _, err = nedr("trip", "-o", "out", "--report", "r.json")
    assert status == 1
    assert {"empty.jpg", "gone.png"} == {
        name for name in ("empty.jpg", "gone.png", "0.jpg") if name in "".join(err[:2])
    }
    assert "6 dehazed, 0 done before, 2 failed" in err[-1]
    rows = {row["photo"]: row for row in json.loads(Path("r.json").read_text())}
    assert len(rows) == 8
    assert rows["trip/empty.jpg"]["outcome"] == "failed"
    assert "0 bytes" in rows["trip/empty.jpg"]["error"]
    assert rows["trip/0.jpg"]["density"] == 1.5


def test_an_exception_of_another_kind_fails_its_file_alone_and_is_told_with_its_place(folder, nedr, monkeypatch):
    for k in range(3):
        photograph(folder / f"trip/{k}.png", k)
    real = album.one.describe

    def odd(picture, field):
        if picture.pixels[0, 0, 2] == 61:
            raise ZeroDivisionError("division by zero")
        return real(picture, field)

    monkeypatch.setattr(album.one, "describe", odd)
    status, out, err = nedr("trip", "-o", "out", "--report", "r.json")
    assert (status, len(out)) == (1, 2)
    assert len(err) == 2
    row = json.loads(Path("r.json").read_text())[1]
    assert row["outcome"] == "failed"
    assert re.fullmatch(
        r"trip/1.png: a fault of nedr, ZeroDivisionError in nedr/album/one.py, line \d+: division by zero", row["error"]
    )


def test_the_report_as_a_table_keeps_what_was_done_before(folder, nedr):
    photograph(folder / "trip/a.png"), photograph(folder / "trip/b, c.png")
    for state in ("done", "skipped"):
        assert nedr("trip", "-o", "out", "--report", "r.csv")[0] == 0
        rows = list(csv.DictReader(Path("r.csv").read_text().splitlines()))
        assert tuple(rows[0]) == report.COLUMNS
        assert [(row["outcome"], row["density"]) for row in rows] == [(state, "1.5")] * 2
    assert nedr("trip", "-o", "out", "--report", "r.txt")[0] == 2


def test_a_full_disk_stops_the_run(folder, nedr, monkeypatch):
    for k in range(40):
        photograph(folder / f"trip/{k:02}.png", k)

    def full(part, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_fill", full)
        status, _, err = nedr("trip", "-o", "out", "--workers", "2")
    assert status == 1
    assert len(err) == 2
    assert "No space left" in err[0]
    assert "39 left" in err[1]
    assert results("out") == set()
    assert nedr("trip", "-o", "out")[0] == 0
    assert len(results("out")) == 40


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is read-only to the superuser")
def test_a_read_only_output_is_said_before_any_work(folder, nedr):
    photograph(folder / "trip/a.png")
    Path("out").mkdir(mode=0o555)
    status, _, err = nedr("trip", "-o", "out")
    assert status == 2
    assert "may not be written" in err[0]


def test_an_output_that_cannot_be_made_is_said_before_any_work(folder, nedr):
    photograph(folder / "trip/a.png")
    (folder / "file").write_text("text")
    status, out, err = nedr("trip", "-o", "file/out")
    assert (status, out) == (2, [])
    assert "file/out" in err[0]


def test_two_runs_into_one_folder_are_refused(folder, nedr):
    photograph(folder / "trip/a.png")
    with journal.open_album(Path("out")):
        status, _, err = nedr("trip", "-o", "out")
    assert status == 2
    assert "another nedr" in err[0]


def test_a_photograph_that_changes_meanwhile_is_left_for_the_next_run(folder, nedr, monkeypatch):
    photo = photograph(folder / "trip/a.png")
    real = album.one.render

    def slow(*words, **options):
        made = real(*words, **options)
        photograph(photo, 99)
        os.utime(photo, (1, 1))
        return made

    monkeypatch.setattr(album.one, "render", slow)
    assert nedr("trip", "-o", "out")[0] == 1
    assert results("out") == set()


# Stopped


FILES, BAD = 120, 10


@pytest.fixture
def tree(folder):
    """120 files, ten of them broken."""
    for k in range(FILES):
        photo = photograph(folder / f"trip/{k % 7}/{k % 3}/{k:03}.jpg", k)
        if k % (FILES // BAD) == 5:
            photo.write_bytes(photo.read_bytes()[:200])
    return folder


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_run_killed_twice_is_finished_by_another(tree, weights):
    command = [sys.executable, "-m", "nedr", "trip", "-o", "out", "--weights", str(weights), "--report", "r.json"]
    command += ["--workers", "2"]
    options = {"stdout": -1, "stderr": -1, "text": True, "cwd": tree, "env": ENVIRONMENT}
    finished_before: dict[str, tuple[int, int]] = {}
    for count in (15, 20):
        with subprocess.Popen(command, **options) as process:
            for _ in range(count):
                assert process.stdout.readline()
            process.kill()
        assert process.returncode == -signal.SIGKILL
        made = {name for name in results("out") if not name.endswith(".part")}
        assert len(finished_before) + count <= len(made) < FILES - BAD
        for name in made:
            images.read(tree / "out" / name)  # whole
        assert {name: written(tree / "out" / name) for name in finished_before} == finished_before  # none twice
        finished_before = {name: written(tree / "out" / name) for name in made}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tree, env=ENVIRONMENT)
    assert done.returncode == 1
    assert {name: written(tree / "out" / name) for name in finished_before} == finished_before
    rows = json.loads((tree / "r.json").read_text())
    assert {row["photo"] for row in rows if row["outcome"] == "failed"} == broken(tree)
    assert len([line for line in done.stderr.splitlines() if any(photo in line for photo in broken(tree))]) == BAD
    assert {row["result"] for row in rows if not row["error"]} == {f"out/{name}" for name in results("out")}
    assert len(results("out")) == FILES - BAD  # nothing half written is left either
    noted = [written for _, written in known("out").values()]
    assert len(noted) == FILES - BAD
    assert noted.count(False) <= 2 * 2  # a kill between the last name and its note costs the note alone
    dehazer = Dehazer(weights)
    for row in rows:
        if not row["error"]:
            assert (tree / row["result"]).read_bytes() == dehazer.dehaze((tree / row["photo"]).read_bytes())


def written(path):
    """What tells whether a file was written again."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def broken(tree):
    return {path.relative_to(tree).as_posix() for path in (tree / "trip").rglob("*.jpg") if path.stat().st_size == 200}


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a process on Windows")
def test_ctrl_c_finishes_what_was_begun_and_reports(tree, weights):
    command = [sys.executable, "-m", "nedr", "trip", "-o", "out", "--weights", str(weights), "--report", "r.json"]
    options = {"stdout": -1, "stderr": -1, "text": True, "cwd": tree, "env": ENVIRONMENT}
    with subprocess.Popen(command, **options) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert " left in " in err
    assert 1 <= len(results("out")) < FILES - BAD
    assert not [name for name in results("out") if name.endswith(".part")]
    rows = json.loads((tree / "r.json").read_text())
    assert len(rows) == FILES
    done = [row for row in rows if row["outcome"] == "done"]
    assert {row["result"].removeprefix("out/") for row in done} == results("out")
    assert 0 < sum(row["outcome"] == "left" and row["result"] is None for row in rows) < FILES


def test_a_file_finished_just_before_the_kill_is_not_done_again(folder, nedr):
    photograph(folder / "trip/a.png")
    nedr("trip", "-o", "out")
    with sqlite3.connect("out/.nedr/album.sqlite") as database:
        database.execute("UPDATE photographs SET written = 0")
        database.execute("UPDATE files SET size = NULL, stamp = NULL")
    assert nedr("trip", "-o", "out")[:2] == (0, [])
    Path("out/a.png").write_bytes(b"")
    assert nedr("trip", "-o", "out")[0] == 2  # unlike what was to be written: somebody else's
    Path("out/a.png").unlink()
    assert len(nedr("trip", "-o", "out")[1]) == 1


# At once


def test_work_is_done_at_once_and_told_in_order():
    meeting = threading.Barrier(3, timeout=30)

    def work(item):
        if item < 3:
            meeting.wait()  # passes when three are at work together
        return item

    assert list(album.at_once(work, range(50), 3)) == list(range(50))


def test_not_much_is_begun_ahead():
    begun = []
    done = album.at_once(lambda item: begun.append(item) or time.sleep(0.001), range(1000), 2)
    next(done)
    done.close()
    assert len(begun) <= 2 * 4 + 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to a thread")
def test_a_signal_that_another_thread_is_given_ends_the_work():
    """Some systems hand Ctrl-C to any thread of a process, and the main one sleeps on."""
    leaving, in_time = threading.Event(), []

    def work(item):
        time.sleep(0.5)  # the main thread is waiting by then
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        in_time.append(leaving.wait(10))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(album.at_once(work, [1], 1, leave=leaving.set))
    finally:
        signal.signal(signal.SIGINT, before)
    assert in_time == [True]


# The bar


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the bar sees."""
    now = [100.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    return now


def done(photo, state="done"):
    return album.Outcome(plan.Task(Job(Path(photo), Path("out") / Path(photo).name)), state)


def test_the_bar_says_how_far_how_fast_and_how_long(clock):
    bar = report.Progress(40, Terminal())
    for k in range(10):
        bar.count(done(f"{k}.jpg", "failed" if k == 3 else "done"))
    clock[0] += 20
    assert bar.line() == "[#####...............] 10 of 40  0.5/s  1:00 left  1 failed"


def test_the_bar_names_the_files_at_work_and_moves_while_they_are_large(clock):
    bar = report.Progress(4, Terminal())
    for name in ("a.tif", "b.tif", "c.tif"):
        bar.frame(name, 0, None)
    assert bar.line() == "[....................] 0 of 4  a.tif 0:00  b.tif 0:00  and 1 more"
    clock[0] += 9
    assert "a.tif 0:09  b.tif 0:09" in bar.line()
    bar.count(done("trip/a.tif"))
    assert "a.tif" not in bar.line()


def test_the_bar_counts_frames_from_the_first_which_comes_late(clock):
    bar = report.Progress(3, Terminal())
    bar.frame("a.mp4", 0, None)
    for number in range(1, 50):
        clock[0] = 110 + number / 10
        bar.frame("a.mp4", number, 200)
    assert bar.line().endswith("a.mp4: 49 of 200 frames  10.0 frames/s  0:15 left")
    bar.count(done("trip/b.jpg"))
    assert "a.mp4" in bar.line()
    bar.count(done("trip/a.mp4"))
    clock[0] = 120
    assert bar.line() == "[#############.......] 2 of 3  0.1/s  0:10 left"


@pytest.mark.parametrize("total", [0, 1, 2])
def test_two_videos_without_a_folder_have_a_bar(clock, total):
    bar = report.Progress(total, Terminal())
    for name in ("a.mp4", "b.mp4")[:total]:
        bar.frame(name, 1, 10)
    with bar.hidden():
        pass
    assert bar.is_drawn == (total > 0)


def test_the_bar_is_drawn_on_a_terminal_alone_and_fits_there(folder, nedr, monkeypatch):
    for k in range(3):
        photograph(folder / f"trip/{k}.png", k)
    _, _, err = nedr("trip", "-o", "out")
    assert "\r" not in "".join(err)
    monkeypatch.setattr(report.shutil, "get_terminal_size", lambda: os.terminal_size((30, 20)))
    screen = Terminal()
    with report.Progress(3, screen) as bar, bar.hidden():
        pass
    assert screen.text == "\r\x1b[K\r[....................] 0 of 3\x1b[K\r\x1b[K"


# The watch


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a process on Windows")
def test_the_watch_clears_what_arrives_when_it_is_complete(folder, weights):
    pytest.importorskip("watchfiles")
    photo = photograph(folder / "elsewhere.png")
    photograph(folder / "trip/first.png")
    command = [sys.executable, "-m", "nedr", "trip", "-o", "out", "--watch", "--weights", str(weights)]
    options = {"stdout": -1, "stderr": -1, "text": True, "cwd": folder, "env": ENVIRONMENT}
    with subprocess.Popen(command, **options) as process:
        try:
            assert "first.png" in process.stdout.readline()
            data = photo.read_bytes()
            with (folder / "trip/slow.png").open("wb", buffering=0) as slow:
                for at in range(0, len(data), len(data) // 3 + 1):
                    slow.write(data[at : at + len(data) // 3 + 1])
                    time.sleep(0.5)
            photograph(folder / "trip/new/deep.png")
            assert {"slow.png", "deep.png"} == {
                process.stdout.readline().split()[0].rpartition("/")[2] for _ in range(2)
            }
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()  # a failure above must not leave the test waiting for it
    assert process.returncode == 130
    assert "failed" not in err.replace("0 failed", "")
    assert results("out") == {"first.png", "slow.png", "new/deep.png"}


def test_a_file_is_complete_when_it_stays_as_it_is(tmp_path):
    from nedr.album import watch

    now = [0.0]
    complete = watch.Complete(2.0, clock=lambda: now[0])
    path = tmp_path / "a.png"
    assert not complete(path)
    for now[0], data, expected in ((0, b"1", False), (1, b"1", False), (1.5, b"12", False), (3, None, False)):
        if data is not None and not (path.exists() and path.read_bytes() == data):
            path.write_bytes(data)
        assert complete(path) == expected
    now[0] = 3.5
    assert complete(path)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"no database" * 99)])
def test_a_journal_that_cannot_be_read_is_an_error_of_ours(tmp_path, make):
    (tmp_path / ".nedr").mkdir()
    make(tmp_path / ".nedr" / journal.DATABASE)
    for writing in (True, False):
        with pytest.raises(NedrError, match="remove it"), journal.open_album(tmp_path, writing=writing):
            pass


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [("av", ["a.mp4"], "video"), ("watchfiles", ["trip", "--watch"], "watch"), ("ray", None, "ray")],
)
def test_an_extra_that_is_missing_is_named(folder, package, words, extra):
    photograph(folder / "trip/a.png")
    (folder / "a.mp4").write_bytes(b"a video")
    call = "import nedr; nedr.ray" if words is None else f"from nedr.cli.main import main; sys.exit(main({words!r}))"
    code = f"import sys; sys.modules[{package!r}] = None; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    assert done.returncode == 1
    assert f"pip install '{ROOT}[{extra}]'" in done.stderr.splitlines()[-1]


def test_a_video_that_is_not_there_is_said_to_be_missing_not_its_extra(folder):
    code = "import sys; sys.modules['av'] = None; from nedr.cli.main import main; sys.exit(main(['b.mp4']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (2, "nedr: b.mp4 does not exist; expected a picture file\n")
