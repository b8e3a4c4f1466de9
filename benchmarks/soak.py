"""A day of a server's requests at once: every kind that it answers or refuses, and the memory it keeps.

    python benchmarks/soak.py [--requests 20000] [--within 3600]

Four callers send small pictures of every format, occasionally one of 1 megapixel and rarely one of 24; they keep
pictures, view parts of them, forget most of them, have ZIPs and videos made, hang up, and ask for the impossible.
Prints the memory of the server and its workers after the first 500 requests and at the end, after that many requests or
seconds. Ends with status 1 if any status is unexpected or memory has grown by more than 50 MB.
"""

import argparse
import http.client
import itertools
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from io import BytesIO
from pathlib import Path

from bench import SIZES, machine
from load import jpeg, settled
from PIL import Image
from serving import Server

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import drawn_pictures
import hostile

FIRST, GROWTH = 500, 50e6
FORMATS = ("jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm")
REFUSED = [
    ("POST", "/v1/dehaze?strenght=1", b"x", {}, 422),
    ("POST", "/v1/dehaze", b"", {}, 400),
    ("POST", "/v1/dehaze", b"x", {"Content-Encoding": "gzip"}, 415),
    ("POST", "/v1/dehaze", b"x", {"Content-Length": "999999999"}, 413),
    ("POST", "/v1/field", b"x", {"Origin": "https://evil.example"}, 403),
    ("POST", "/v1/jobs", b"{}", {"Content-Type": "application/json"}, 422),
    ("GET", "/v1/limits", b"", {"Host": "evil.example"}, 421),
    ("GET", "/v1/pictures/lost/dehazed", b"", {}, 404),
    ("GET", "/nowhere", b"", {}, 404),
    ("PUT", "/v1/dehaze", b"x", {}, 405),
]
READ = ("/", "/page.js", "/example.jpg", "/openapi.json", "/healthz", "/metrics", "/v1/limits")
Asked = Iterator[tuple[str, int, int]]
"""A request, the status of the answer and the expected one, 0 for any below 500."""


def main() -> None:
    """Send all requests, print the outcomes, and exit with 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--within", type=float, default=3600)
    options = parser.parse_args()
    start, count, wrong = time.monotonic(), 0, Counter[str]()
    first = 0
    with Server() as server, ThreadPoolExecutor(4) as pool:
        turns = itertools.count()
        while count < options.requests and time.monotonic() - start < options.within:
            some = [next(turns) for _ in range(40)]
            for asked in pool.map(lambda turn: list(KINDS[turn % len(KINDS)](server.port, turn)), some):
                count += len(asked)
                wrong.update(f"{name}: {status}" for name, status, wanted in asked if not _is_right(status, wanted))
            if not first and count >= FIRST:
                first = _memory(server, f"{count} requests")
        last = _memory(server, f"{count} requests in {time.monotonic() - start:.0f} s, {machine()}")
    print(f"memory {(last - first) / 1e6:+.0f} MB, {wrong.total()} wrong answers {dict(wrong)}")
    sys.exit(wrong.total() > 0 or last - first > GROWTH)


def _is_right(status: int, wanted: int) -> bool:
    return status == wanted if wanted else 200 <= status < 500


def _memory(server: Server, when: str) -> int:
    settled(server)
    held = server.memory()
    print(f"{when}: {held / 1e6:.0f} MB", flush=True)
    return held


def ask(
    port: int, method: str, call: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer; 0 if the connection is lost."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        try:
            connection.request(method, call, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


@cache
def _small() -> bytes:
    return jpeg(0, 96, 128)


@cache
def _large(size: str) -> bytes:
    file = BytesIO()
    Image.open(BytesIO(_small())).resize(SIZES[size][::-1]).save(file, "JPEG", quality=92)
    return file.getvalue()


@cache
def _every() -> list[bytes]:
    return list(drawn_pictures.every_kind().values())


def dehazed(port: int, turn: int) -> Asked:
    """One picture in one format, at one strength."""
    call = f"/v1/dehaze?strength={turn % 16 / 10}&format={FORMATS[turn % 7]}"
    yield call, ask(port, "POST", call, _small())[0], 200


def any_kind(port: int, turn: int) -> Asked:
    """An unchanged file of any format, larger ones too."""
    size = "24 MP" if turn % 1500 == 1 else "1 MP" if turn % 25 == 1 else ""
    file = _large(size) if size else _every()[turn % len(_every())]
    yield f"any kind {size}", ask(port, "POST", "/v1/dehaze", file)[0], 200


def described(port: int, turn: int) -> Asked:
    """The field, a part, a map, and a form."""
    for call in ("/v1/field", "/v1/field?format=png", "/v1/dehaze?region=9,9,90,90&scale=0.5", "/v1/dehaze?map=depth"):
        yield call, ask(port, "POST", call, _small())[0], 200
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + _small() + b"\r\n--x--\r\n"
    yield "form", ask(port, "POST", "/v1/dehaze", form, {"Content-Type": "multipart/form-data; boundary=x"})[0], 200


def kept(port: int, turn: int) -> Asked:
    """A picture that is kept, viewed in parts, saved in a ZIP and usually forgotten."""
    status, answer = ask(port, "POST", "/v1/pictures", _small())
    yield "keep", status, 201
    if status != 201:
        return
    path = f"/v1/pictures/{json.loads(answer)['id']}"
    for asked in ("strength=0.5&scale=0.5", "region=10,10,60,60", "map=transmission", f"format={FORMATS[turn % 7]}"):
        yield asked, ask(port, "GET", f"{path}/dehazed?{asked}")[0], 200
    pictures = [{"id": json.loads(answer)["id"], "name": f"trip/{turn}.jpg"}]
    yield from _job(port, {"pictures": pictures})
    if turn % 10:
        yield "forget", ask(port, "DELETE", path)[0], 204


def filmed(port: int, turn: int) -> Asked:
    """A whole video; only occasionally, since it takes long."""
    if turn % 10:
        return
    status, answer = ask(port, "POST", "/v1/videos?name=a.mp4", hostile.films()[0])
    yield "video", status, 201
    if status != 201:
        return
    path = f"/v1/videos/{json.loads(answer)['id']}"
    yield "still", ask(port, "GET", f"{path}/stills/0")[0], 200
    yield from _job(port, {"video": json.loads(answer)["id"]})
    yield "forget video", ask(port, "DELETE", path)[0], 0  # it is dropped with its job


def _job(port: int, what: dict[str, object]) -> Asked:
    status, answer = ask(port, "POST", "/v1/jobs", json.dumps(what).encode(), {"Content-Type": "application/json"})
    yield "job", status, 202
    if status != 202:
        return
    path = f"/v1/jobs/{json.loads(answer)['id']}"
    if "video" in what:
        yield "events", ask(port, "GET", f"{path}/events")[0], 200  # ends with the job
    status, answer = ask(port, "GET", path)
    yield "state", status, 200
    yield "result", ask(port, "GET", f"/{json.loads(answer).get('file')}")[0], 200
    yield "end", ask(port, "DELETE", path)[0], 204


def read(port: int, turn: int) -> Asked:
    """The page and facts about the server, in full and as headers only."""
    for method, call in itertools.product(("GET", "HEAD"), READ):
        yield f"{method} {call}", ask(port, method, call)[0], 200


def refused(port: int, turn: int) -> Asked:
    """What no honest caller would ask for."""
    for method, call, body, headers, wanted in REFUSED:
        yield f"{method} {call} {headers}", ask(port, method, call, body, headers)[0], wanted


def damaged(port: int, turn: int) -> Asked:
    """A hostile file."""
    yield f"hostile {turn}", ask(port, "POST", "/v1/dehaze", hostile.body(turn))[0], 0


def left(port: int, turn: int) -> Asked:
    """A caller who hangs up once the picture is sent."""
    head = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(_small())
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(head + _small())
    yield "hung up", 200, 200


KINDS: list[Callable[[int, int], Asked]] = [
    dehazed, any_kind, described, kept, read, refused, damaged, left, dehazed, any_kind, filmed,
]  # fmt: skip

if __name__ == "__main__":
    main()
