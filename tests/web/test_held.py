"""Kept pictures, ZIPs and videos through the interface."""

import asyncio
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from nedr.inference.dehazer import Dehazer
from nedr.web import tasks
from nedr.web.app import application
from nedr.web.limits import Limits, Refusal
from nedr.web.store import Store

PHOTO = (Path(__file__).parents[2] / "examples" / "temple.jpg").read_bytes()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client():
    app = application(limits=Limits(workers=1, video=3_000_000, video_seconds=5))
    with TestClient(app, "http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def kept(client):
    return client.post("/v1/pictures", content=PHOTO).json()


@pytest.fixture(scope="module")
def whole():
    return np.asarray(Image.open(io.BytesIO(png_of(0.8))))


def png_of(strength):
    file = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).save(file, "PNG")
    return Dehazer(threads=1).dehaze(file.getvalue(), strength=strength)


def decoded(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_kept_picture_is_described_and_comes_down_as_the_librarys_file(client, kept):
    assert (kept["width"], kept["height"]) == Image.open(io.BytesIO(PHOTO)).size
    answer = client.get(f"/v1/pictures/{kept['id']}/dehazed?strength=0.6")
    assert answer.content == Dehazer(threads=1).dehaze(PHOTO, strength=0.6)


def test_a_part_is_exactly_that_of_the_whole_at_full_size(client, kept, whole):
    path = f"/v1/pictures/{kept['id']}/dehazed?strength=0.8&format=png&region=101,77,301,211"
    assert np.array_equal(decoded(client.get(path)), whole[77:211, 101:301])


def test_a_small_copy_agrees_with_the_whole_made_small(client, kept, whole):
    height, width = whole.shape[:2]
    found = decoded(client.get(f"/v1/pictures/{kept['id']}/dehazed?strength=0.8&format=png&scale=0.25"))
    small = Image.fromarray(whole).resize((round(width / 4), round(height / 4)), Image.Resampling.BOX)
    assert found.shape == np.asarray(small).shape
    assert np.abs(found.astype(float) - np.asarray(small)).mean() < 2


def test_what_was_forgotten_or_never_kept_is_told(client):
    name = client.post("/v1/pictures", content=PHOTO).json()["id"]
    assert client.delete(f"/v1/pictures/{name}").status_code == 204
    answer = client.get(f"/v1/pictures/{name}/dehazed")
    assert (answer.status_code, answer.json()["code"]) == (404, "gone")


def test_what_is_no_picture_is_not_kept(client):
    assert client.post("/v1/pictures", content=b"<svg/>").status_code == 422


def test_a_zip_has_every_picture_under_its_name_and_says_what_failed(client, kept):
    one = {"id": kept["id"], "name": "trip/a.jpg", "strength": 0.5}
    wanted = [
        one,
        one,
        {"id": kept["id"], "name": "../../b.tif", "format": "png"},
        {"id": "lost", "name": "c.jpg"},
        {"id": "lost", "name": ".."},
    ]
    job = client.post("/v1/jobs", json={"pictures": wanted}).json()
    assert job["missing"] == ["lost", "lost"]
    answer = client.get(f"/{job['file']}")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = ["trip/a.dehazed.jpg", "trip/a (2).dehazed.jpg", "b.dehazed.png", "c.error.txt", "picture.error.txt"]
        assert archive.namelist() == names
        assert archive.read(names[0]) == archive.read(names[1]) == Dehazer(threads=1).dehaze(PHOTO, strength=0.5)
        assert b"send the file again" in archive.read("c.error.txt")
    told = client.get(f"/v1/jobs/{job['id']}").json()
    assert (told["state"], told["done"], told["failed"]) == ("done", 5, 2)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 422),
        ({"pictures": [{"id": "x", "strenght": 1}]}, 422),
        ({"pictures": [{"id": "x"}], "video": "y"}, 422),
        ({"pictures": [{"id": "x", "strength": True}]}, 422),
        ({"pictures": [{"id": "\ud800"}]}, 422),
        ({"video": "y"}, 404),
    ],
)
def test_what_cannot_be_a_job_is_told(client, asked, status):
    assert client.post("/v1/jobs", content=json.dumps(asked), headers=JSON).status_code == status


def test_a_video_is_looked_at_made_in_the_background_and_fetched(client, tmp_path):
    pytest.importorskip("av")
    path = clip(tmp_path)
    video = client.post("/v1/videos?name=trip.mp4", content=path.read_bytes()).json()
    assert len(video["stills"]) == 6
    still = client.get(f"/v1/videos/{video['id']}/stills/0")
    assert Image.open(io.BytesIO(still.content)).size == (video["width"], video["height"])
    job = client.post("/v1/jobs", json={"video": video["id"], "strength": 0.7}).json()
    until = time.monotonic() + 100
    while job["state"] == "working" and time.monotonic() < until:
        time.sleep(0.1)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    assert (job["state"], job["name"]) == ("done", "trip.dehazed.mp4")
    assert job["done"] == frames(path)
    (tmp_path / "result.mp4").write_bytes(client.get(f"/{job['file']}").content)
    assert frames(tmp_path / "result.mp4") == frames(path)
    last = client.get(f"/v1/jobs/{job['id']}/events").text
    assert '"state":"done"' in last
    assert client.delete(f"/v1/videos/{video['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_what_is_no_video_or_too_large_is_told(client):
    pytest.importorskip("av")
    assert client.post("/v1/videos?name=a.mp4", content=b"nothing" * 100).status_code == 422
    assert client.post("/v1/videos?name=a.mp4", content=bytes(3_100_000)).status_code == 413


def test_no_jobs_means_none():
    client = TestClient(application(limits=Limits(jobs=0)), "http://localhost")
    assert client.post("/v1/jobs", json={}).status_code == 404
    assert client.get("/v1/limits").json()["jobs"] is False


def clip(folder):
    import footage

    path = folder / "clip.mp4"
    footage.film(path, footage.panned("temple", (64, 96), 30))
    return path


def frames(path):
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def filled(store, size):
    entry = store.open()
    (entry.folder / "big").write_bytes(bytes(size))
    store.weigh(entry)
    return entry


def test_the_store_lets_go_what_was_not_used_for_longest_but_nothing_in_use():
    store = Store(Limits(store=1000))
    first, second = filled(store, 400), filled(store, 400)
    store.find(first.name)
    third = filled(store, 400)
    assert store.has(first.name)
    assert not store.has(second.name)
    with first.pinned(), third.pinned(), pytest.raises(Refusal) as caught:
        filled(store, 400)
    assert caught.value.status == 507
    assert store.bytes == 800
    root = first.folder.parent
    store.close()
    assert not root.exists()


def test_files_that_can_be_made_again_go_first():
    store = Store(Limits(store=1000))
    first = store.open()
    first.spare = ("big",)
    (first.folder / "big").write_bytes(bytes(600))
    (first.folder / "original").write_bytes(bytes(100))
    store.weigh(first)
    filled(store, 500)
    assert store.has(first.name)
    assert [file.name for file in first.folder.iterdir()] == ["original"]
    store.close()


def test_what_was_not_used_for_long_goes_though_nobody_comes():
    async def scene(store):
        entry = filled(store, 1)
        tidying = asyncio.create_task(store.keep_tidy())
        while store.has(entry.name):
            await asyncio.sleep(0.01)
        tidying.cancel()
        return entry.folder.exists()

    store = Store(Limits(kept_seconds=0.05))
    assert asyncio.run(scene(store)) is False
    store.close()


def test_what_is_dropped_while_it_is_worked_with_keeps_its_files_until_then():
    store = Store(Limits())
    entry = filled(store, 1)
    with entry.pinned():
        store.drop(entry)
        assert not store.has(entry.name)
        store.weigh(entry)
        assert entry.folder.exists()
    assert not entry.folder.exists()
    store.close()


def test_a_file_that_is_still_coming_counts():
    store = Store(Limits(store=1000))
    entry = store.open()
    with entry.pinned():
        store.grow(entry, 900)
        with pytest.raises(Refusal) as caught:
            store.grow(entry, 200)
    assert caught.value.status == 507
    assert not entry.folder.exists()
    store.close()


def test_two_processes_may_make_the_same_file_at_once(tmp_path):
    with tasks.whole(tmp_path / "a.npy") as first, tasks.whole(tmp_path / "a.npy") as second:
        first.write(b"one")
        second.write(b"two")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]
    assert (tmp_path / "a.npy").read_bytes() in (b"one", b"two")
