import asyncio
import json
import logging
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

import drawn_pictures as pictures
import hostile
from starlette.requests import Request
from starlette.testclient import TestClient

from nedr.inference.dehazer import Dehazer
from nedr.pictures import images
from nedr.web import tasks
from nedr.web.app import application
from nedr.web.bodies import Held, picture_and_fields
from nedr.web.limits import Limits, Refusal
from nedr.web.log import Lines, Words

PHOTO = Path(__file__).parents[2] / "examples" / "temple.jpg"


@pytest.fixture(scope="module")
def dehazer():
    return Dehazer(threads=1)


def visitor(*, raise_server_exceptions=True, **options):
    """A caller of an application of its own, under a name that it knows."""
    app = application(**{"limits": Limits(workers=1)} | options)
    return TestClient(app, "http://localhost", raise_server_exceptions=raise_server_exceptions)


@pytest.fixture(scope="module")
def client():
    with visitor(limits=Limits(workers=1, body=2_000_000, pixels=4_000_000)) as client:
        yield client


def test_the_answer_is_the_librarys_file_byte_for_byte(client, dehazer):
    data = PHOTO.read_bytes()
    raw = client.post("/v1/dehaze?strength=0.7", content=data)
    form = client.post("/v1/dehaze?strength=0.7", files={"image": ("../../etc/passwd", data)})
    assert raw.headers["content-type"] == "image/jpeg"
    assert raw.content == form.content == dehazer.dehaze(data, strength=0.7)


@pytest.mark.parametrize("file", [pytest.param(data, id=name) for name, data in pictures.every_kind().items()])
def test_every_kind_of_file_is_described_and_cleared_as_the_library_does(client, dehazer, file):
    assert client.post("/v1/dehaze", content=file).content == dehazer.dehaze(file)
    found = client.post("/v1/field", content=file).json()
    assert (found["height"], found["width"]) == images.read(file).pixels.shape[:2]


def test_exif_is_kept(client):
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    file = BytesIO()
    Image.new("RGB", (40, 30), (90, 120, 150)).save(file, "JPEG", exif=exif)
    answer = client.post("/v1/dehaze", content=file.getvalue())
    assert Image.open(BytesIO(answer.content)).getexif()[0x010F] == "A camera"


def test_format_and_map_change_what_comes_out(client):
    assert images.read(client.post("/v1/dehaze?format=webp", content=PHOTO.read_bytes()).content).format == "WEBP"
    answer = client.post("/v1/dehaze?map=depth", content=PHOTO.read_bytes())
    assert Image.open(BytesIO(answer.content)).size == Image.open(PHOTO).size


def test_the_field_describes_the_haze(client, dehazer):
    found, field = client.post("/v1/field", content=PHOTO.read_bytes()).json(), dehazer.field(PHOTO)
    assert found["airlight"] == pytest.approx(field.airlight.tolist(), abs=1e-4)
    assert found["density"] == pytest.approx(field.density, abs=1e-4)
    assert np.asarray(found["lattice"]) == pytest.approx(field.lattice, abs=1e-4)


@pytest.mark.parametrize("name", ["rgb.png", "grey16.png", "rgba.png"])
def test_a_region_is_exactly_that_part_of_the_whole_result(client, dehazer, name):
    file = BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (90, 120, 4), np.uint8)
    pixels = {"rgb.png": noise[..., :3], "grey16.png": noise[..., 0].astype(np.uint16) * 257, "rgba.png": noise}[name]
    Image.fromarray(pixels).save(file, "PNG")
    whole = np.asarray(Image.open(BytesIO(dehazer.dehaze(file.getvalue(), strength=0.7))))
    answer = client.post("/v1/dehaze?strength=0.7&region=31,17,101,80", content=file.getvalue())
    assert np.array_equal(np.asarray(Image.open(BytesIO(answer.content))), whole[17:80, 31:101])
    half = client.post("/v1/dehaze?strength=0.7&region=30,20,90,80&scale=0.5", content=file.getvalue())
    found = np.asarray(Image.open(BytesIO(half.content))).astype(float)
    expected = whole[20:80, 30:90].astype(float).reshape(30, 2, 30, 2, -1).mean(axis=(1, 3)).reshape(found.shape)
    assert np.abs(found - expected).max() <= 1


def test_a_region_outside_the_picture_and_a_quality_that_is_none_are_told(client):
    outside = client.post("/v1/dehaze?region=0,0,9,8", content=png(8, 8))
    assert (outside.status_code, "8 x 8" in outside.json()["error"]) == (422, True)
    lossless = client.post("/v1/dehaze?quality=50", content=png(8, 8))
    assert (lossless.status_code, "no quality" in lossless.json()["error"]) == (422, True)


def test_form_fields_are_parameters(client, dehazer):
    data = PHOTO.read_bytes()
    form = client.post("/v1/dehaze", files={"image": ("a.jpg", data)}, data={"strength": "0.7"})
    assert form.content == dehazer.dehaze(data, strength=0.7)
    wrong = client.post("/v1/dehaze", files={"image": ("a.jpg", data)}, data={"strenght": "0.7"})
    assert (wrong.status_code, "'strength'" in wrong.json()["error"]) == (422, True)
    twice = client.post("/v1/dehaze?strength=1", files={"image": ("a.jpg", data)}, data={"strength": "0.7"})
    assert twice.status_code == 422


def test_the_transmission_comes_as_grey_of_16_bits(client, dehazer):
    answer = client.post("/v1/field?format=png", content=PHOTO.read_bytes())
    found = images.read(answer.content).pixels
    assert found.dtype == np.uint16
    assert np.abs(found / 65535 - dehazer.field(PHOTO).transmission(*found.shape)).max() < 1e-4


def bomb():
    data = bytearray(png(8, 8))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(data)


def png(height, width):
    file = BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422),
        (b"GIF89a<html>", 422),
        (PHOTO.read_bytes()[:5000], 422),
        (bomb(), 422),
        (b"\xff" * 2_000_001, 413),
    ],
    ids=["empty", "svg", "polyglot", "truncated", "bomb", "large"],
)
def test_what_is_no_picture_is_refused(client, body, status):
    answer = client.post("/v1/dehaze", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_body_of_unknown_length_is_counted(client):
    assert client.post("/v1/dehaze", content=iter([b"\xff" * 500_000] * 5)).status_code == 413


async def received(request, limits):
    """The picture in a request's body."""
    with Held(limits.waiting).share() as share:
        return (await picture_and_fields(request, limits, share))[0]


@pytest.mark.parametrize(("chunks", "taken"), [(6, 6), (50, 17)], ids=["somewhat", "far"])
def test_a_body_that_is_too_large_is_swallowed_within_bounds(chunks, taken):
    sent = iter(
        [{"type": "http.request", "body": bytes(500_000), "more_body": k < chunks} for k in range(1, chunks + 1)]
    )
    count = 0

    async def receive():
        nonlocal count
        count += 1
        return next(sent)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(Refusal) as caught:
        asyncio.run(received(Request(scope, receive), Limits(body=2_000_000)))
    assert caught.value.status == 413
    assert count == taken


@pytest.mark.parametrize("query", ["strength=2", "strength=nan", "strength=x", "format=svg", "map=../etc"])
def test_wrong_parameters_are_named(client, query):
    answer = client.post(f"/v1/dehaze?{query}", content=png(8, 8))
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/static/page.js", "/%2e%2e/%2e%2e/etc/passwd", "/page.js/"])
def test_no_path_reaches_the_file_system(client, path):
    assert client.get(path, follow_redirects=False).status_code == 404


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged tags
@pytest.mark.parametrize("call", ["/v1/field", "/v1/pictures", "/v1/dehaze?format=tiff"])
def test_hostile_bodies_never_fail_the_server(client, call):
    found = {client.post(call, content=hostile.body(number)).status_code for number in range(40)}
    assert found <= {200, 201, 400, 413, 422}
    assert {200, 201} & found  # some only look hostile


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_forms_never_fail_the_server(client):
    found = set()
    for number in range(40):
        kind, body = hostile.form(number)
        found.add(client.post("/v1/dehaze", content=body, headers={"Content-Type": kind}).status_code)
    assert found <= {200, 400, 413, 422}
    assert {200, 400, 422} <= found


def test_unknown_paths_and_methods_have_one_sentence(client):
    assert client.get("/nothing").json() == {"error": "Not Found", "code": "missing"}
    assert client.get("/v1/dehaze").json() == {"error": "Method Not Allowed", "code": "missing"}
    assert client.put("/v1/jobs/x").headers["allow"] == "DELETE, GET"


def test_every_answer_has_the_security_headers(client):
    for path in ("/", "/page.js", "/healthz", "/nothing", "/v1/dehaze"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_the_page_asks_nobody_else():
    for file in (Path(__file__).parents[2] / "nedr" / "web" / "static").rglob("*.*"):
        if file.suffix in (".html", ".css", ".js"):
            assert "://" not in file.read_text()


def test_health_metrics_and_openapi(client):
    assert client.get("/healthz").json()["status"] == "ok"
    client.get("/some/secret/path")
    counts = client.get("/metrics").text
    assert "nedr_pictures 0.0" in counts
    assert 'path="other"' in counts
    assert "secret" not in counts
    schema = client.get("/openapi.json").json()
    assert {"/v1/dehaze", "/v1/field", "/v1/pictures", "/healthz", "/metrics"} <= set(schema["paths"])
    assert "multipart/form-data" in json.dumps(schema["paths"]["/v1/dehaze"]["post"]["requestBody"])


def test_a_token_guards_the_work_but_not_the_page(dehazer):
    with visitor(token="secret") as client:
        assert client.get("/").status_code == client.get("/healthz").status_code == 200
        assert client.post("/v1/dehaze", content=png(8, 8)).status_code == 401
        wrong = {"Authorization": "Bearer secret2"}
        assert client.post("/v1/dehaze", content=png(8, 8), headers=wrong).status_code == 401
        assert client.get("/metrics").status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.post("/v1/dehaze", content=png(8, 8), headers=right).status_code == 200


def failing(dehazer, *_):
    """A task that has a fault."""
    return 1 / 0


def test_a_failure_of_the_server_has_headers_a_status_and_no_trace_in_the_answer(monkeypatch):
    monkeypatch.setattr(tasks, "dehazed", failing)
    with visitor(raise_server_exceptions=False) as client:
        answer = client.post("/v1/dehaze", content=png(8, 8))
        assert answer.status_code == 500
        assert "ZeroDivisionError" not in answer.text
        assert "content-security-policy" in answer.headers
        assert 'status="500"' in client.get("/metrics").text


def test_other_pages_may_call_only_when_they_are_named(dehazer):
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with visitor() as client:
        assert "access-control-allow-origin" not in client.options("/v1/dehaze", headers=asked).headers
    with visitor(token="secret", origins=["https://a.example"]) as client:
        allowed = client.options("/v1/dehaze", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        other = client.options("/v1/dehaze", headers=asked | {"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = client.post("/v1/dehaze", content=png(8, 8), headers={"Origin": "https://a.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://a.example"  # so its page can read why


def test_the_log_has_a_line_of_json_without_what_was_asked(client, caplog):
    caplog.set_level(logging.INFO, "nedr.web")
    client.get("/v1/secret?name=secret")
    line = json.loads(Lines().format(caplog.records[-1]))
    assert {key: line[key] for key in ("level", "event", "method", "path", "status")} == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "path": "other",
        "status": 404,
    }
    assert "secret" not in json.dumps(line)


def test_in_a_terminal_the_log_is_for_reading(client, caplog):
    caplog.set_level(logging.INFO, "nedr.web")
    client.get("/healthz")
    assert re.fullmatch(r"\d\d:\d\d:\d\d  GET /healthz  200  0\.\d\d s", Words().format(caplog.records[-1]))


def test_a_failure_is_logged_with_its_trace(caplog):
    try:
        raise ValueError("three")
    except ValueError:
        logging.getLogger("nedr.web").exception("broken")
    assert "ValueError: three" in json.loads(Lines().format(caplog.records[-1]))["trace"]
