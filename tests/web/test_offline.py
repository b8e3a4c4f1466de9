"""The page without a server, in Debian's Chromium: what the browser computes is what the library computes."""

import functools
import http.server
import re
import shutil
import threading
import time
import zipfile
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import nedr
from nedr.web import runtime, site

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.skipif(not runtime.kept().is_file(), reason="no onnxruntime-web: `nedr web-app DIR` fetches it once"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("site")
    assert site.write(made) < 30e6
    return made


@pytest.fixture(scope="module")
def server(folder):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as found:
        threading.Thread(target=found.serve_forever).start()
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def opened(browser, server):
    """One page for all tests, for its network is ready after seconds only."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(120_000)
    page.problems, page.asked = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda line: page.problems.append(line.text) if line.type in ("error", "warning") else None)
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    yield page
    page.context.close()


@pytest.fixture
def page(opened):
    yield opened
    while opened.locator("#list .remove").count():
        opened.locator("#list .remove").first.click()
    opened.evaluate("document.getElementById('format').value = ''")
    assert opened.problems == []


def given(page, *files):
    """Hand files (name, bytes) to the page and wait for their results."""
    types = {"jpg": "image/jpeg", "png": "image/png", "mp4": "video/mp4"}
    page.set_input_files(
        "#files", [{"name": name, "mimeType": types[name[-3:]], "buffer": data} for name, data in files]
    )
    sync_api.expect(page.locator("#list .done")).to_have_count(len(files), timeout=120_000)
    page.locator("#list .open").first.click()
    page.wait_for_selector("#panel:not([hidden])")


def saved(page, strength=1, kind=""):
    """The file that the page makes at some strength."""
    page.locator("#amount").fill(str(strength))
    page.locator("#amount").dispatch_event("change")
    page.select_option("#format", kind)
    with page.expect_download() as caught:
        page.click("#download")
    return Path(caught.value.path()).read_bytes()


def encoded(image, kind, **options):
    image.save(file := BytesIO(), kind, **options)
    return file.getvalue()


def apart(data, expected):
    """Mean difference of a file's pixels from an image, of 255."""
    found = np.asarray(Image.open(BytesIO(data)).convert("RGB"), np.float64)
    return np.abs(found - np.asarray(expected.convert("RGB"))).mean()


@pytest.mark.parametrize("name", ["rio", "temple", "pyramid"])
def test_what_the_browser_saves_is_what_the_library_gives(page, name):
    source = EXAMPLES / f"{name}.jpg"
    given(page, (source.name, source.read_bytes()))
    for strength in (0.5, 1, 1.4):
        found, expected = saved(page, strength, "png"), nedr.dehaze(source, strength=strength)
        assert apart(found, expected) < (0.5 if name == "rio" else 0.01)  # rio: Adobe RGB, by another converter
        assert apart(found, Image.open(source)) > 2
    assert Image.open(BytesIO(found)).info.get("icc_profile") == expected.info.get("icc_profile")


def test_a_photograph_that_lies_comes_out_upright_with_its_exif(page):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8825] = "A camera", 6, {1: "N", 2: (27.0, 10.0, 30.0)}
    exif[0x8769] = {0xA002: 400, 0xA003: 300}
    data = encoded(Image.open(EXAMPLES / "temple.jpg").resize((400, 300)), "JPEG", exif=exif, quality=95)
    given(page, ("lies.jpg", data))
    found = saved(page)
    kept = Image.open(BytesIO(found))
    assert (kept.format, kept.size) == ("JPEG", (300, 400))
    described = kept.getexif()
    assert (described[0x010F], described[0x0112]) == ("A camera", 1)
    assert described.get_ifd(0x8825)[2] == (27.0, 10.0, 30.0)
    assert (described.get_ifd(0x8769)[0xA002], described.get_ifd(0x8769)[0xA003]) == (300, 400)
    expected = ImageOps.exif_transpose(nedr.dehaze(Image.open(BytesIO(data))))
    assert apart(found, expected) < 3  # a JPEG apart
    assert apart(saved(page, 1, "png"), expected) < 0.1


def test_bars_stay_as_they_are(page):
    wide = Image.new("RGB", (640, 400), (3, 3, 3))
    wide.paste(Image.open(EXAMPLES / "pyramid.jpg").resize((640, 300)), (0, 50))
    given(page, ("wide.png", encoded(wide, "PNG")))
    found = saved(page)
    pixels = np.asarray(Image.open(BytesIO(found)).convert("RGB"))
    assert (pixels[:50] == 3).all()
    assert (pixels[350:] == 3).all()
    assert apart(found, nedr.dehaze(wide)) < 0.1


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_pictures(page, mode):
    image = Image.open(EXAMPLES / "rio.jpg").resize((500, 330)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda value: 128 + value // 2))
    given(page, ("a.png", encoded(image, "PNG")))
    found, expected = saved(page), nedr.dehaze(image)
    assert apart(found, expected) < (0.3 if mode == "L" else 1)  # rio: Adobe RGB, by another converter
    kept = Image.open(BytesIO(found)).convert("RGBA")
    assert np.array_equal(kept.getchannel("A"), expected.convert("RGBA").getchannel("A"))


def test_a_wide_gamut_keeps_its_profile_and_strength_zero_the_file(page):
    data = (EXAMPLES / "rio.jpg").read_bytes()
    given(page, ("rio.jpg", data))
    assert saved(page, 0) == data
    profile = Image.open(BytesIO(saved(page))).info["icc_profile"]
    assert profile == Image.open(BytesIO(data)).info["icc_profile"]
    own, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(nedr.dehaze(EXAMPLES / "rio.jpg"), own, srgb)
    shows(page, expected, 1.5)  # what is shown is sRGB


def shows(page, expected, most):
    """Wait until the preview is less than `most` of 255 away from a picture, in the mean."""
    patience = time.monotonic() + 60
    while (difference := apart(preview(page), expected)) >= most and time.monotonic() < patience:
        page.wait_for_timeout(200)
    assert difference < most


def preview(page):
    return b64decode(page.evaluate("document.getElementById('after').toDataURL()").partition(",")[2])


@pytest.mark.parametrize("kind", ["transmission", "depth"])
def test_the_maps_are_the_librarys(page, kind):
    given(page, ("temple.jpg", (EXAMPLES / "temple.jpg").read_bytes()))
    page.locator(f"#shown input[value={kind}]").check(force=True)
    shows(page, Image.fromarray(nedr.Dehazer().field(EXAMPLES / "temple.jpg").preview(768, 1024, kind)), 0.5)
    page.locator("#shown input[value=result]").check(force=True)


def test_many_come_down_as_one_zip(page):
    data = encoded(Image.open(EXAMPLES / "temple.jpg").resize((200, 150)), "JPEG")
    given(page, ("a.jpg", data), ("b.jpg", data), ("a.jpg", data))
    with page.expect_download() as caught:
        page.click("#all")
    with zipfile.ZipFile(caught.value.path()) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.dehazed.jpg", "b.dehazed.jpg", "a.dehazed-2.jpg"]
        assert Image.open(BytesIO(archive.read("b.dehazed.jpg"))).size == (200, 150)


def test_what_is_no_photograph_is_told(page):
    page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff x"})
    page.set_input_files("#files", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"\0\0\0\x18ftypmp42"})
    states = page.locator("#list .failed .state")
    sync_api.expect(states).to_have_count(2)
    sync_api.expect(states.nth(0)).to_have_text(re.compile("not a picture we can read"))
    sync_api.expect(states.nth(1)).to_have_text(re.compile("Videos need the program"))


def test_nothing_leaves_and_nothing_is_inline(page, folder):
    origin = page.evaluate("location.origin")
    assert [url for url in page.asked if not url.startswith((origin, "data:", "blob:"))] == []
    markup = (folder / "index.html").read_text()
    assert "unsafe" not in markup
    assert re.search(r'http-equiv="Content-Security-Policy" content="default-src \'none\'; script-src \'self\'', markup)
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=", markup)


def test_once_opened_it_works_without_its_server(browser, folder):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.evaluate("navigator.serviceWorker.ready.then(() => {})")
        server.shutdown()
    page.reload()
    page.click("#example")
    page.wait_for_selector("#list .done")
    page.context.close()


def test_a_network_that_answers_otherwise_than_the_librarys_is_not_used(browser, server, folder):
    page = browser.new_page()
    page.set_default_timeout(120_000)
    wrong = re.sub(r'"check": \[[0-9.]+', '"check": [0.0', (folder / "constants.js").read_text())
    page.route("**/constants.js", lambda route: route.fulfill(body=wrong, content_type="text/javascript"))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.click("#example")
    failed = page.locator("#list .failed .state")
    sync_api.expect(failed).to_have_text(re.compile("answer differs from the library's"), timeout=120_000)
    page.context.close()
