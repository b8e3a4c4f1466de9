import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

import random

from starlette.testclient import TestClient

from nedr import images
from nedr.dehazer import Dehazer
from nedr.web.app import application
from nedr.web.limits import Gate, Limits, Refusal

PHOTO = Path(__file__).parents[1] / "examples" / "temple.jpg"


@pytest.fixture(scope="module")
def dehazer():
    return Dehazer(threads=1)


@pytest.fixture(scope="module")
def client(dehazer):
    with TestClient(application(dehazer=dehazer, limits=Limits(body=2_000_000, pixels=4_000_000))) as client:
        yield client


def test_the_answer_is_the_librarys_file_byte_for_byte(client, dehazer):
    data = PHOTO.read_bytes()
    raw = client.post("/v1/dehaze?strength=0.7", content=data)
    form = client.post("/v1/dehaze?strength=0.7", files={"image": ("../../etc/passwd", data)})
    assert raw.headers["content-type"] == "image/jpeg"
    assert raw.content == form.content == dehazer.dehaze(data, strength=0.7)


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
    found = client.post("/v1/field", content=PHOTO.read_bytes()).json()
    assert found["airlight"] == pytest.approx(dehazer.field(PHOTO).airlight.tolist(), abs=0.02)
    assert found["density"] > 0
    assert set(found["maps"]) == {"transmission", "depth"}


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


@pytest.mark.parametrize("query", ["strength=2", "strength=nan", "strength=x", "format=svg", "map=../etc"])
def test_wrong_parameters_are_named(client, query):
    answer = client.post(f"/v1/dehaze?{query}", content=png(8, 8))
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/static/page.js", "/%2e%2e/%2e%2e/etc/passwd", "/page.js/"])
def test_no_path_reaches_the_file_system(client, path):
    assert client.get(path, follow_redirects=False).status_code == 404


def test_hostile_bodies_never_fail_the_server(client):
    rng, seeds = random.Random(6), [png(9, 7), PHOTO.read_bytes()[:3000]]
    for kind in ("WEBP", "TIFF", "BMP", "JPEG"):
        file = BytesIO()
        Image.new("RGB", (9, 7)).save(file, kind)
        seeds.append(file.getvalue())
    for _ in range(150):
        body = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 12)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        assert client.post("/v1/field", content=bytes(body)).status_code in (200, 422)


def test_every_answer_has_the_security_headers(client):
    for path in ("/", "/page.js", "/healthz", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_the_page_asks_nobody_else():
    for file in (Path(__file__).parents[1] / "nedr" / "web" / "static").glob("*.*"):
        if file.suffix in (".html", ".css", ".js"):
            assert "://" not in file.read_text()


def test_health_metrics_and_openapi(client):
    assert client.get("/healthz").json()["status"] == "ok"
    client.get("/some/secret/path")
    counts = client.get("/metrics").text
    assert 'path="other"' in counts
    assert "secret" not in counts
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/v1/dehaze", "/v1/field", "/healthz", "/metrics"}
    assert "multipart/form-data" in json.dumps(schema["paths"]["/v1/dehaze"]["post"]["requestBody"])


def test_a_token_guards_the_work_but_not_the_page(dehazer):
    with TestClient(application(dehazer=dehazer, token="secret")) as client:
        assert client.get("/").status_code == client.get("/healthz").status_code == 200
        assert client.post("/v1/dehaze", content=png(8, 8)).status_code == 401
        wrong = {"Authorization": "Bearer secret2"}
        assert client.post("/v1/dehaze", content=png(8, 8), headers=wrong).status_code == 401
        assert client.get("/metrics").status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.post("/v1/dehaze", content=png(8, 8), headers=right).status_code == 200


def test_past_the_queue_requests_are_told_to_come_back():
    gate = Gate(Limits(workers=1, queue=1))
    gate.enter()
    gate.enter()
    with pytest.raises(Refusal) as caught:
        gate.enter()
    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"]
    gate.leave()
    gate.enter()
