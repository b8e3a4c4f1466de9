import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nedr.album import pipes
from nedr.cli import main as cli
from nedr.errors import ImageError, UsageError
from nedr.inference.dehazer import Dehazer
from nedr.video.temporal import VideoDehazer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def nedr(weights):
    def run(*words, data=b""):
        command = [sys.executable, "-m", "nedr", *words, "--weights", str(weights)]
        return subprocess.run(command, input=data, capture_output=True, env=ENVIRONMENT)

    return run


def ramp(height, width, shift=0):
    values = np.linspace(80 + shift, 220, height * width).reshape(height, width)
    return np.stack([values, values * 0.9, values * 0.8], axis=2).astype(np.uint8)


def file_of(kind):
    held = io.BytesIO()
    Image.fromarray(ramp(40, 60)).save(held, kind)
    return held.getvalue()


def test_a_picture_goes_through_and_nothing_else(nedr, weights):
    done = nedr("-", data=file_of("PNG"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(done.stdout))), Dehazer(weights).dehaze(ramp(40, 60)))
    assert nedr("-", "--strength", "0", data=file_of("JPEG")).stdout == file_of("JPEG")


def test_the_format_can_be_asked_for(nedr):
    done = nedr("-", "--format", "webp", data=file_of("JPEG"))
    assert Image.open(io.BytesIO(done.stdout)).format == "WEBP"
    assert nedr("-", "--format", "heic", data=file_of("JPEG")).returncode == 2


def test_what_is_no_picture_is_told_on_stderr_alone(nedr):
    done = nedr("-", data=b"text")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"nedr: standard input is not a picture")


@pytest.mark.parametrize(
    "words",
    [
        ["-", "a.jpg"],
        ["-", "--map"],
        ["-", "--json"],
        ["a.jpg", "--raw", "4x4"],
        ["-", "--raw", "4x4", "--format", "png"],
    ],
)
def test_a_pipe_goes_alone(nedr, words):
    done = nedr(*words)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_option_that_a_pipe_has_no_use_for_is_named(nedr):
    done = nedr("-", "--codec", "av1", "--keep-time")
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith(b"(leave out --keep-time, --codec)")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes files")
def test_a_closed_input_is_a_wrong_call(weights):
    command = f'"{sys.executable}" -m nedr - --weights "{weights}" <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, env=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1


def test_frames_larger_than_memory_are_one_line(weights, monkeypatch, capsys):
    class Endless:
        buffer = None

        def read(self, size):
            raise MemoryError

    Endless.buffer = Endless()
    monkeypatch.setattr(sys, "stdin", Endless())
    assert cli.main(["-", "--raw", "999999x999999", "--weights", str(weights)]) == 1
    assert capsys.readouterr().err == "nedr: this needs more memory than there is\n"


def test_raw_frames_come_out_as_a_video(nedr, weights):
    frames = [ramp(20, 30, shift) for shift in (0, 2, 4)]
    done = nedr("-", "--raw", "30x20", data=b"".join(frame.tobytes() for frame in frames))
    assert (done.returncode, done.stderr) == (0, b"")
    found = np.frombuffer(done.stdout, np.uint8).reshape(3, 20, 30, 3)
    assert np.array_equal(found, list(VideoDehazer(Dehazer(weights))(frames)))
    assert np.array_equal(found[0], Dehazer(weights).dehaze(frames[0]))
    assert not np.array_equal(found[2], Dehazer(weights).dehaze(frames[2]))  # on its own, as it would flicker


def test_a_short_last_frame_is_an_error_behind_the_others(nedr):
    done = nedr("-", "--raw", "30x20", data=bytes(30 * 20 * 3 + 7))
    assert done.returncode == 1
    assert len(done.stdout) == 30 * 20 * 3
    assert b"frame 2 ends after 7 of 1800 bytes" in done.stderr


def test_no_frame_at_all_is_an_error(nedr):
    assert nedr("-", "--raw", "30x20").returncode == 1


def test_frames_arrive_in_pieces_and_leave_before_the_next_is_read(weights):
    class Trickle(io.RawIOBase):
        """Gives few bytes at a time, and looks at what was written before each new frame."""

        def __init__(self, frames, size):
            self.left, self.size, self.given, self.seen = frames * size, size, 0, []

        def read(self, size=-1):
            if self.given % self.size == 0:
                self.seen.append(target.tell())
            count = min(size, self.left, 1000)
            self.left -= count
            self.given += count
            return bytes(count)

    target, source = io.BytesIO(), Trickle(3, 30 * 20 * 3)
    assert pipes.frames(source, target, Dehazer(weights), (30, 20), strength=1) == 3
    assert source.seen == [0, 1800, 3600, 5400]


def test_a_reader_that_leaves_is_no_noise(weights):
    command = [sys.executable, "-m", "nedr", "-", "--raw", "200x200", "--weights", str(weights)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, env=ENVIRONMENT) as process:
        process.stdin.write(bytes(200 * 200 * 3))
        process.stdin.flush()
        process.stdout.read(10)
        process.stdout.close()
        try:
            for _ in range(50):
                process.stdin.write(bytes(200 * 200 * 3))
            process.stdin.close()
        except BrokenPipeError:
            process.stdin = None
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("text", ["1280", "0x10", "10x-5", "10*5", "x", "10x10x3"])
def test_a_size_is_two_numbers(text):
    with pytest.raises(UsageError):
        pipes.frame_size(text)


def test_sizes_are_width_and_height():
    assert pipes.frame_size("1280x720") == (1280, 720)
    with pytest.raises(ImageError):
        pipes.frames(io.BytesIO(b"abc"), io.BytesIO(), Dehazer(method="dcp"), (2, 2), strength=1)
