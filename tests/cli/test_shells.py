"""What shells do to a call: patterns, pipes, closed streams, the same call again, completion, mistyped words."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nedr.album.sources import expand_sources
from nedr.cli import main as cli
from nedr.errors import UsageError

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def photograph(path, shift=0):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(80 + shift, 220, 40 * 60).reshape(40, 60)
    Image.fromarray(np.stack([ramp, ramp * 0.9, ramp * 0.8], axis=2).astype(np.uint8)).save(path)
    return path


def names():
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


# The same call again


def test_the_same_pattern_again_does_no_work_and_takes_no_result_for_a_photograph(folder, nedr):
    photograph("a.png"), photograph("b.png")
    assert nedr("a.png", "b.png", "--map")[0] == 0
    made = {name: Path(name).stat().st_mtime_ns for name in names()}
    status, out, err = nedr(*sorted(names()), "--map")  # what the shell makes of *.png
    assert status == 0
    assert [line.split()[0] for line in out] == ["a.png", "b.png"]
    assert all(line.endswith("(done before)") for line in out)
    assert err == [
        "nedr: left out, since they are results: a.dehazed.png, a.transmission.png, b.dehazed.png, b.transmission.png"
    ]
    assert {name: Path(name).stat().st_mtime_ns for name in names()} == made


def test_a_single_result_is_taken_as_it_is_meant(folder, nedr):
    photograph("a.png"), photograph("a.dehazed.png")
    assert nedr("a.dehazed.png")[0] == 0
    assert "a.dehazed.dehazed.png" in names()


@pytest.mark.parametrize("words", [["--strength", "0.6"], ["--compare"], ["--map"], ["--strength", "0.3", "--map"]])
def test_after_a_first_result_the_next_call_does_what_it_is_asked(folder, nedr, words):
    photograph("a.png")
    assert nedr("a.png")[0] == 0
    first = Path("a.dehazed.png").read_bytes()
    status, _, err = nedr("a.png", *words)
    assert (status, err) == (0, [])
    expected = {"a.png", "a.dehazed.png"} | {f"a.{name}.png" for name in ("compare",) if "--compare" in words}
    assert names() == expected | ({"a.transmission.png"} if "--map" in words else set())
    assert (Path("a.dehazed.png").read_bytes() == first) == ("--strength" not in words)


def test_what_somebody_changed_since_stays(folder, nedr):
    photograph("a.png")
    nedr("a.png")
    photograph("a.dehazed.png", 50)  # retouched
    status, _, err = nedr("a.png", "--strength", "0.6")
    assert status == 2
    assert "--overwrite" in err[0]
    status, out, _ = nedr("a.png", "--overwrite")
    assert (status, out) == (0, ["a.png -> a.dehazed.png"])


def test_another_photograph_under_the_old_name_is_dehazed_again(folder, nedr):
    photograph("a.png")
    nedr("a.png")
    photograph("a.png", 30)
    assert nedr("a.png")[:2] == (0, ["a.png -> a.dehazed.png"])


def test_an_empty_dry_run_says_so(folder, nedr):
    photograph("trip/a.png")
    nedr("trip", "-o", "out")
    assert nedr("trip", "-o", "out", "--dry-run") == (0, [], ["nedr: nothing to do: all photographs are finished"])


# Patterns that no shell has expanded


def test_patterns_are_expanded(folder, nedr):
    for name in ("a.jpg", "b.jpg", "trip/c.jpg", "trip/deep/d.jpg", "trip/@eaDir/d.jpg", "trip/.hidden/e.jpg"):
        photograph(name)
    Path("a[1].jpg").write_bytes(Path("a.jpg").read_bytes())
    assert expand_sources(["[ab].jpg"]).paths == ["a.jpg", "b.jpg"]
    assert expand_sources(["a[1].jpg"]).paths == ["a[1].jpg"]
    found = [Path(path).as_posix() for path in expand_sources(["trip/**/*.jpg"]).paths]
    assert found == ["trip/c.jpg", "trip/deep/d.jpg"]
    assert expand_sources([f"../{folder.name}/*/.hidden/*.jpg"]).paths == [f"../{folder.name}/trip/.hidden/e.jpg"]
    assert nedr("[ab].jpg")[0] == 0
    assert expand_sources(["*.jpg"]).results == ["a.dehazed.jpg", "b.dehazed.jpg"]
    with pytest.raises(UsageError, match=r"no file matches \*\.heic"):
        expand_sources(["*.heic"])


def test_an_address_is_told_from_a_file(folder, nedr):
    status, _, err = nedr("https://example.org/a.jpg")
    assert (status, len(err)) == (2, 1)
    assert "download it first" in err[0]


# Folders


@posix
def test_pipes_and_devices_in_a_folder_are_left_alone(folder, nedr):
    photograph("trip/a.png")
    os.mkfifo("trip/b.png")
    assert nedr("trip", "-o", "out")[0] == 0
    assert {path.name for path in Path("out").glob("*.png")} == {"a.png"}


def test_thumbnails_bins_and_hidden_folders_are_left_out(folder, nedr):
    for name in ("a.png", "@eaDir/a.png", "#recycle/b.png", "$RECYCLE.BIN/c.png", ".Trash-1000/d.png", "deep/e.png"):
        photograph(Path("trip") / name)
    assert nedr("trip", "-o", "out")[0] == 0
    assert {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")} == {"a.png", "deep/e.png"}


def test_pictures_that_are_not_read_are_named_and_fail_nothing(folder, nedr):
    photograph("trip/a.png")
    for name in ("b.XCF", "c.psd"):
        Path("trip", name).write_bytes(b"a picture of another kind")
    status, _, err = nedr("trip", "-o", "out", "--report", "report.csv")
    assert status == 0
    assert err[0] == "nedr: left out, since .psd and .xcf files are not read: trip/b.XCF, trip/c.psd"
    assert "1 dehazed, 0 done before, 0 failed, 2 not read in" in err[1]
    assert "trip/b.XCF,unread," in Path("report.csv").read_text()


def test_sidecars_travel_along(folder, nedr):
    for name in ("a.png", "b.png"):
        photograph(Path("trip") / name)
    Path("trip/a.xmp").write_text("about a")
    Path("trip/b.png.XMP").write_text("about b")
    Path("trip/c.xmp").write_text("about nothing")
    status, _, err = nedr("trip", "-o", "out")
    assert status == 0
    assert "2 dehazed, 0 done before, 0 failed, 2 sidecars copied in" in err[0]
    assert Path("out/a.xmp").read_text() == "about a"
    assert Path("out/b.png.XMP").read_text() == "about b"
    assert not Path("out/c.xmp").exists()
    Path("trip/a.xmp").write_text("more about a")
    assert nedr("trip", "-o", "out")[0] == 0
    assert Path("out/a.xmp").read_text() == "more about a"


def test_the_time_of_the_photograph_can_be_kept(folder, nedr):
    photo = photograph("a.png")
    os.utime(photo, ns=(10**18, 10**18))
    assert nedr("a.png", "--keep-time", "--map")[0] == 0
    assert {Path(name).stat().st_mtime_ns for name in ("a.dehazed.png", "a.transmission.png")} == {10**18}
    assert nedr("a.png", "--keep-time", "--map")[1][0].endswith("(done before)")
    assert nedr("a.png", "--strength", "0.5")[0] == 0  # still known as ours
    assert Path("a.dehazed.png").stat().st_mtime_ns != 10**18


# Pipes and closed streams


def shell(command, weights, **options):
    return subprocess.run(
        ["bash", "-c", command.format(nedr=f'"{sys.executable}" -m nedr', w=f'--weights "{weights}"')],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=120,
        **options,
    )


@posix
def test_the_output_of_a_command_is_a_photograph(folder, weights):
    photograph("a.png")
    done = shell("{nedr} <(cat a.png) {w} > b.png; {nedr} <(cat a.png) -o c.png {w}; {nedr} a.png {w}", weights)
    assert done.stderr == b""
    assert Path("b.png").read_bytes() == Path("c.png").read_bytes() == Path("a.dehazed.png").read_bytes()
    assert shell("{nedr} - -o c.png {w} < a.png", weights).returncode == 2  # it exists


@posix
def test_a_named_pipe_without_a_writer_can_be_left(folder, weights):
    os.mkfifo("a.png")
    command = [sys.executable, "-m", "nedr", "a.png", "-o", "b.png", "--weights", str(weights)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=-1) as process:
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert not Path("b.png").exists()


@posix
def test_closed_streams_do_no_harm(folder, weights):
    photograph("a.png")
    assert shell("{nedr} a.png --map {w} <&- >&- 2>&-", weights).returncode == 0
    assert Image.open("a.dehazed.png").size == Image.open("a.transmission.png").size == (60, 40)
    done = shell("{nedr} missing.png {w} 2>&-", weights)
    assert (done.returncode, done.stdout) == (2, b"")


# Ctrl-C

LOST = """
import sys, time, weakref
from nedr.cli import info, main
from nedr.cli.verb import Verb

class Thing:
    pass

def lost(reference):
    raise KeyboardInterrupt

def run(arguments):
    thing = Thing()
    reference = weakref.ref(thing, lost)
    del thing  # the callback raises, and Python can only report it
    time.sleep(60)
    return 0

main.VERBS["info"] = Verb("", lambda parser: None, run)
sys.exit(main.main(["info"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="a sleep cannot be interrupted on Windows")
def test_an_interrupt_that_python_cannot_raise_is_delivered_again():
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, "nedr: interrupted\n")


# Words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.png", "--strenght", "0.6"], "nedr dehaze has no --strenght; did you mean --strength?"),
        (["info", "a.png", "--jsn"], "nedr info has no --jsn; did you mean --json?"),
        (["a.png", "--force"], "nedr dehaze has no --force; did you mean --overwrite?"),
        (["haze", "a.png", "-y"], "nedr haze has no -y; did you mean --overwrite?"),
        (["a.png", "-j", "4"], "nedr dehaze has no -j; did you mean --workers?"),
        (["a.png", "--qqq"], "nedr dehaze has no --qqq; see nedr dehaze --help"),
        (["a.png", "--strength", "much"], "expected a number, found 'much' (see nedr dehaze --help)"),
        (
            ["a.png", "--quality", "0"],
            "expected fast, balanced, best or a whole number from 1 to 100, found '0' (see nedr dehaze --help)",
        ),
        (["weights", "verfy"], "invalid choice: 'verfy'"),
        (["wieghts", "list"], "did you mean 'weights'?"),
    ],
)
def test_a_wrong_word_gets_one_line_with_the_nearest_right_one(capsys, words, expected):
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize("words", [["help"], ["help", "train"]])
def test_help_is_a_command_too(capsys, words):
    with pytest.raises(SystemExit) as leaving:
        cli.main(words)
    assert leaving.value.code == 0
    assert "usage: nedr" in capsys.readouterr().out


def completed(shell, line, tmp_path):
    """What a shell offers at the end of a line."""
    script = tmp_path / "script"
    script.write_text(subprocess.run([sys.executable, "-m", "nedr", "completion", shell], env=ENVIRONMENT, check=True,
                                     capture_output=True, text=True).stdout)  # fmt: skip
    if shell == "bash":
        words = line.split(" ")
        given = " ".join(f"'{word}'" for word in words)
        code = f"source {script}; COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _nedr; echo ${{COMPREPLY[@]}}"
    elif shell == "fish":
        code = f"source {script}; complete -C'{line}'"
    else:
        code = f"compdef() {{ }}; source {script}"
    done = subprocess.run([shell, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return {each.split("\t")[0] for each in done.stdout.replace(" ", "\n" if shell == "bash" else " ").splitlines()}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_shells_complete_commands_and_options(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    assert completed(shell, "nedr wei", tmp_path) == {"weights"}
    assert completed(shell, "nedr a.jpg --stre", tmp_path) == {"--strength"}
    assert completed(shell, "nedr train --dep", tmp_path) == {"--depth"}
    assert {"list", "verify", "path"} <= completed(shell, "nedr weights ", tmp_path)


def test_zsh_can_read_its_script(tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("no zsh")
    assert completed("zsh", "", tmp_path) == set()
