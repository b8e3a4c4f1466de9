"""Callers who send slowly, or nothing: real connections to a server in a thread."""

import contextlib
import http.client
import select
import socket
import threading
import time
from functools import partial

import pytest

pytest.importorskip("fastapi")
import uvicorn

from nedr.web.app import application
from nedr.web.connections import Census, Connection
from nedr.web.limits import Limits

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def serving(app=None, census=None, **limits):
    """A server's port."""
    bounds = Limits(**limits)
    census = Census(bounds) if census is None else census
    config = uvicorn.Config(
        app or application(limits=bounds), http=partial(Connection, census=census), log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as bound:
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


def connected(port, words=b"", address="127.0.0.1"):
    caller = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))
    caller.sendall(words)
    return caller


def comes_true(check):
    """Wait until `check` is true, with the patience of a busy machine."""
    until = time.monotonic() + 60
    while not check():
        assert time.monotonic() < until
        time.sleep(0.02)


def answer(caller):
    """The status and the body of the next answer; (0, b"") when the connection ends without one."""
    response = http.client.HTTPResponse(caller)
    try:
        response.begin()
        return response.status, response.read()
    except (http.client.HTTPException, ConnectionError):
        return 0, b""


def test_a_head_that_does_not_end_is_cut_off_even_if_it_trickles():
    drops = 0
    with serving(header_seconds=0.5) as port, connected(port, b"GET / HTTP/1.1\r\n") as caller:
        while not select.select([caller], [], [], 0.1)[0] and drops < 200:
            caller.sendall(b"X: y\r\n")
            drops += 1
        assert answer(caller)[0] == 408
    assert drops < 200


def test_an_answers_body_does_not_wait_for_its_head_to_be_acknowledged():
    census = Census(Limits())
    with serving(census=census) as port, connected(port, HEALTH) as caller:
        assert answer(caller)[0] == 200
        (connection,) = census
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_connection_that_says_nothing_after_its_answer_is_closed():
    with serving(header_seconds=0.5) as port, connected(port, HEALTH) as caller:
        assert answer(caller)[0] == 200
        assert answer(caller) == (0, b"")


LONG = 20_000_000


async def long_answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LONG)]})
    await send({"type": "http.response.body", "body": bytes(LONG)})


def reading(port):
    """A caller who has asked and takes the answer through a small window."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.settimeout(10)
    caller.connect(("127.0.0.1", port))
    caller.sendall(HEALTH)
    return caller


def test_a_long_answer_may_take_longer_than_a_head():
    with serving(long_answer, header_seconds=0.2) as port, reading(port) as caller:
        time.sleep(0.8)  # most of it still waits on the server's side
        assert answer(caller) == (200, bytes(LONG))


def test_an_answer_that_is_not_taken_is_cut_off(monkeypatch):
    monkeypatch.setattr("nedr.web.connections.UNREAD", 0.2)
    census = Census(Limits())
    with serving(long_answer, census) as port, reading(port) as caller:
        caller.recv(1)  # the answer has begun
        comes_true(lambda: len(census) == 0)


def test_a_body_that_does_not_come_takes_no_place_and_is_refused():
    head = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + bytes(100)
    with serving(body_seconds=0.5, workers=1, queue=0) as port, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(port, head)) for _ in range(8)]
        other = stack.enter_context(connected(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert b"nedr_pictures 0.0" in answer(other)[1]
        assert all(answer(caller)[0] == 408 for caller in slow)


def test_silent_connections_keep_nobody_out():
    with serving(connections=12, per_address=8) as port, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(port)) for _ in range(30)]
        with connected(port, HEALTH) as same, connected(port, HEALTH, "127.0.0.2") as other:
            assert answer(same)[0] == 200
            assert answer(other)[0] == 200
        assert answer(silent[0])[0] == 408


def test_past_the_bound_of_an_address_requests_at_work_stay_and_new_ones_are_refused(monkeypatch):
    monkeypatch.setattr("nedr.web.connections.PATIENCE", 60)
    census = Census(Limits(per_address=3))
    head = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
    with serving(census=census, body_seconds=60) as port, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(port, head))
        comes_true(lambda: len(census) == 3 and not any(one.is_idle for one in census))
        with connected(port, HEALTH) as fourth, connected(port, HEALTH, "127.0.0.2") as other:
            assert answer(fourth)[0] == 503
            assert answer(other)[0] == 200
