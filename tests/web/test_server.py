"""`nedr serve` as a process: its address, its warnings, its log and its end."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import nedr
from nedr.cli.main import main

pytest.importorskip("fastapi")

from nedr.web.limits import Limits
from nedr.web.server import _within_descriptors

PHOTO = Path(__file__).parents[2] / "examples" / "temple.jpg"


@contextmanager
def serving(*options, **how):
    """A server's process and port, killed afterwards if it still runs."""
    call = [sys.executable, "-m", "nedr", "serve", "--port", "0", *options]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        try:
            yield process, int(re.fullmatch(r"http://[\d.]+:(\d+)/\n", process.stdout.readline())[1])
        finally:
            process.kill()


def test_a_running_request_is_finished_before_the_end():
    data = PHOTO.read_bytes()
    with serving() as (process, port):
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        caller.putrequest("POST", "/v1/dehaze")
        caller.putheader("Content-Length", str(len(data)))
        caller.endheaders(data[:1000])
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        other.request("GET", "/healthz")  # answered after the first one's head was read
        assert other.getresponse().status == 200
        process.send_signal(signal.SIGTERM)
        assert any(refuses(port) or time.sleep(0.02) for _ in range(500))
        caller.send(data[1000:])
        answer = caller.getresponse()
        assert answer.status == 200
        assert answer.read() == nedr.Dehazer(threads=1).dehaze(data)
        assert process.wait(60) in (0, -signal.SIGTERM)
        lines = [json.loads(line) for line in process.stderr]
        assert {"/healthz", "/v1/dehaze"} <= {line.get("path") for line in lines}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
def test_sigterm_to_all_processes_finishes_what_runs_and_leaves_nothing(tmp_path):
    """As systemd does it, here while a request is at work for sure: its process is stopped until the signal is sent."""
    data = PHOTO.read_bytes()
    with serving("--workers", "1", start_new_session=True, env=os.environ | {"TMPDIR": str(tmp_path)}) as (
        process,
        port,
    ):
        assert asked(port, "POST", "/v1/pictures", data).status == 201
        assert list(tmp_path.glob("nedr-serve-*"))
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for worker in workers:
            os.kill(int(worker), signal.SIGSTOP)
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        caller.request("POST", "/v1/dehaze", data)
        assert any(b"nedr_pictures 1.0" in asked(port, "GET", "/metrics").read() for _ in range(500))
        os.killpg(process.pid, signal.SIGTERM)
        for worker in workers:
            os.kill(int(worker), signal.SIGCONT)
        answer = caller.getresponse()
        assert (answer.status, answer.read()) == (200, nedr.Dehazer(threads=1).dehaze(data))
        assert process.wait(60) in (0, -signal.SIGTERM)
        assert [json.loads(line)["event"] for line in process.stderr]
    assert not list(tmp_path.iterdir())


def asked(port, *what):
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    caller.request(*what)
    return caller.getresponse()


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("options", "warned"),
    [(["--host", "0.0.0.0"], True), (["--host", "0.0.0.0", "--token", "secret"], False), ([], False)],
    ids=["open", "token", "loopback"],
)
def test_a_server_for_all_without_a_token_warns(options, warned, monkeypatch, capsys):
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("nedr.web.log.start", lambda: None)
    assert main(["serve", "--port", "0", *options]) == 0
    said = capsys.readouterr()
    assert ("--token" in said.err) is warned
    assert "secret" not in said.out + said.err


def test_a_taken_port_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("nedr: cannot listen on 127.0.0.1, port ")
    assert not said.out


def test_a_port_that_cannot_be_is_refused(capsys):
    assert main(["serve", "--port", "70000"]) == 2
    assert "65535" in capsys.readouterr().err


def test_on_every_address_it_prints_one_that_others_can_open_and_its_code(monkeypatch, capsys):
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("nedr.web.log.start", lambda: None)
    monkeypatch.setattr("nedr.web.server._outward", lambda family: "192.168.1.7")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["serve", "--port", "0", "--host", "0.0.0.0", "--token", "secret"]) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"http://192\.168\.1\.7:\d+/\n", said.out)
    assert "phone" in said.err
    assert "█" in said.err


def test_open_shows_the_page(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: time.sleep(1))
    monkeypatch.setattr("nedr.web.log.start", lambda: None)
    monkeypatch.setattr("webbrowser.open", shown.append)
    assert main(["serve", "--port", "0", "--open"]) == 0
    assert shown == [capsys.readouterr().out.strip()]


def test_a_token_that_cannot_be_sent_is_refused_at_the_start(capsys):
    assert main(["serve", "--port", "0", "--token", "geheimnisträger"]) == 2
    assert "visible ASCII" in capsys.readouterr().err


def test_connections_leave_descriptors_for_the_work(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    limits = _within_descriptors(Limits())
    assert (limits.connections, limits.per_address) == (192, 192)
