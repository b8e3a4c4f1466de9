"""The page in Debian's Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nedr

pytest.importorskip("fastapi")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
EXAMPLES = Path(__file__).parents[1] / "examples"
SHOTS = os.environ.get("NEDR_SCREENSHOTS")


@pytest.fixture(scope="module")
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "nedr", "serve", "--port", str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    for _ in range(150):
        try:
            urllib.request.urlopen(url + "healthz")
            break
        except OSError:
            time.sleep(0.1)
    yield url
    server.terminate()
    assert server.wait(20) in (0, -15)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1200, 900, "light"), (390, 844, "dark")], ids=["desktop-light", "phone-dark"])
def page(request, browser, address):
    width, height, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda line: page.problems.append(line.text) if line.type == "error" else None)
    page.look = f"{'phone' if width < 600 else 'desktop'}-{scheme}"
    page.goto(address)
    yield page
    context.close()


def shoot(page, state):
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{state}-{page.look}.jpg", type="jpeg", quality=70, full_page=True)


def started(page, name="temple.jpg"):
    page.set_default_timeout(8000)
    page.set_input_files("#files", EXAMPLES / name)
    page.wait_for_selector("#viewer:not([hidden])")


def canvas(page):
    url = page.evaluate("document.getElementById('picture').toDataURL()")
    return np.asarray(Image.open(BytesIO(b64decode(url.partition(",")[2]))).convert("RGB"))


def put(page, control, value):
    page.locator(control).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", str(value))


def test_the_preview_is_what_the_download_will_be(page):
    started(page)
    put(page, "#split", 0)
    expected = Image.open(BytesIO(nedr.dehaze((EXAMPLES / "temple.jpg").read_bytes()))).convert("RGB")
    shown = canvas(page)
    expected = np.asarray(expected.resize(shown.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(shown.astype(float) - expected).mean() < 2.5
    assert not page.problems


def test_strength_nothing_shows_the_photograph_and_is_quick(page):
    started(page)
    put(page, "#split", 100)
    before = canvas(page)
    put(page, "#split", 0)
    assert np.abs(canvas(page).astype(float) - before).mean() > 3
    put(page, "#strength", 0)
    assert np.array_equal(canvas(page), before)
    took = page.evaluate("() => { const s = performance.now(); clear(); draw(); return performance.now() - s; }")
    assert took < 1000


def test_the_slider_moves_by_mouse_and_keyboard(page):
    started(page)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.up()
    assert float(page.input_value("#split")) == pytest.approx(25, abs=2)
    shoot(page, "result")
    page.focus("#split")
    page.keyboard.press("ArrowRight")
    assert float(page.input_value("#split")) == pytest.approx(26, abs=2)


def test_zoom_keeps_the_cut_under_the_line(page):
    started(page)
    put(page, "#zoom", 3)
    edge = int(page.locator("#picture").get_attribute("data-edge"))
    stage, shown = page.locator("#stage").bounding_box(), page.locator("#picture").bounding_box()
    height, width = canvas(page).shape[:2]
    fit = min(shown["width"] / width, shown["height"] / height)  # the picture is centred in its element
    cut = shown["x"] + (shown["width"] - width * fit) / 2 + edge * fit
    assert cut == pytest.approx(stage["x"] + stage["width"] / 2, abs=fit + 1)
    shoot(page, "zoom")


@pytest.mark.parametrize("kind", ["transmission", "depth"])
def test_maps_show(page, kind):
    started(page)
    put(page, "#split", 0)
    result = canvas(page)
    page.select_option("#shown", kind)
    assert np.abs(canvas(page).astype(float) - result).mean() > 10
    shoot(page, kind)


def test_a_batch_names_its_bad_file(page, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    page.set_input_files("#files", [EXAMPLES / "temple.jpg", tmp_path / "broken.jpg", EXAMPLES / "pyramid.jpg"])
    sync_api.expect(page.locator("#list span")).to_have_text(["done", "failed", "done"], timeout=8000)
    assert page.inner_text("#message").startswith("broken.jpg: ")
    shoot(page, "batch")


def test_the_download_is_the_librarys_file(page):
    started(page)
    put(page, "#strength", 0.8)
    with page.expect_download() as caught:
        page.click("#download")
    assert caught.value.suggested_filename == "temple.dehazed.jpg"
    data = (EXAMPLES / "temple.jpg").read_bytes()
    assert Path(caught.value.path()).read_bytes() == nedr.Dehazer(threads=1).dehaze(data, strength=0.8)


def test_axe_finds_nothing_serious(page):
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    shoot(page, "start")
    page.click("#example")
    page.wait_for_selector("#viewer:not([hidden])")
    found = [f["id"] for f in axe.run(page)["violations"] if f["impact"] in ("serious", "critical")]
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
