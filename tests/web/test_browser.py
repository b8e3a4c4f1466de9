"""The page in Debian's Chromium."""

import os
import re
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
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
EXAMPLES = Path(__file__).parents[2] / "examples"
SHOTS = os.environ.get("NEDR_SCREENSHOTS")


def example(name):
    """An example photograph's file, small where no screenshot is to show it."""
    image, file = Image.open(EXAMPLES / name), BytesIO()
    image.thumbnail((1024, 1024) if SHOTS else (400, 400))
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


TEMPLE, PYRAMID = example("temple.jpg"), example("pyramid.jpg")


def upload(name, data):
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


@pytest.fixture(scope="module")
def address():
    call = [sys.executable, "-m", "nedr", "serve", "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()
        assert server.wait(20) in (0, -15)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


DESKTOP_LIGHT, DESKTOP_DARK = (1200, 900, "light"), (1200, 900, "dark")
PHONE_LIGHT, PHONE_DARK = (390, 844, "light"), (390, 844, "dark")


def opened(browser, address, look):
    width, height, scheme = look
    phone = width < 600
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=phone)
    page = context.new_page()
    page.set_default_timeout(15000)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda line: page.problems.append(line.text) if line.type == "error" else None)
    page.look = f"{'phone' if phone else 'desktop'}-{scheme}"
    page.goto(address)
    return page


@pytest.fixture(params=[DESKTOP_LIGHT, PHONE_DARK], ids=["desktop-light", "phone-dark"])
def page(request, browser, address):
    page = opened(browser, address, request.param)
    yield page
    page.context.close()


@pytest.fixture
def desktop(browser, address):
    page = opened(browser, address, DESKTOP_LIGHT)
    yield page
    page.context.close()


def shoot(page, state):
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{state}-{page.look}.jpg", type="jpeg", quality=70, full_page=True)


def started(page):
    page.set_input_files("#files", upload("temple.jpg", TEMPLE))
    page.wait_for_selector("#viewer:not([hidden])")


def canvas(page, which="after"):
    url = page.evaluate(f"document.getElementById('{which}').toDataURL()")
    return decoded(b64decode(url.partition(",")[2]))


def decoded(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def put(page, control, value):
    page.locator(control).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", str(value))


def choose(page, kind):
    page.locator(f"#shown input[value={kind}]").check(force=True)


def states(page, expected):
    sync_api.expect(page.locator("#list .state")).to_have_text(expected)


def put_files(page, event, names, kind="image/jpeg", data=None):
    """Let the page see a drop or a paste of files, as the system hands them over."""
    script = """([event, names, data, kind]) => {
        const held = new DataTransfer(), bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        for (const name of names) held.items.add(new File([bytes], name, { type: kind }));
        const given = { bubbles: true, cancelable: true, dataTransfer: held, clipboardData: held };
        document.body.dispatchEvent(event === "drop" ? new DragEvent(event, given) : new ClipboardEvent(event, given));
    }"""
    page.evaluate(script, [event, names, b64encode(data or TEMPLE).decode(), kind])


@pytest.mark.parametrize("strength", [0.6, 1, 1.4])
def test_the_preview_is_what_the_download_will_be(desktop, strength):
    started(desktop)
    put(desktop, "#strength", strength)
    assert np.abs(canvas(desktop).astype(float) - decoded(nedr.dehaze(TEMPLE, strength=strength))).mean() < 2
    assert desktop.inner_text("#amount") == f"{strength:.2f}"
    assert not desktop.problems


def test_no_strength_shows_the_photograph(page):
    started(page)
    before = canvas(page, "before")
    assert np.abs(canvas(page).astype(float) - before).mean() > 3
    put(page, "#strength", 0)
    assert np.array_equal(canvas(page), before)


def test_strength_follows_the_keyboard(desktop):
    started(desktop)
    first = canvas(desktop)
    desktop.focus("#strength")
    for _ in range(20):
        desktop.keyboard.press("ArrowLeft")
    assert desktop.inner_text("#amount") == "0.80"
    assert np.abs(canvas(desktop).astype(float) - first).mean() > 0.5


def line_at(page):
    """Where the line is over the stage, in percent."""
    stage, line = page.locator("#stage").bounding_box(), page.locator("#line").bounding_box()
    return 100 * (line["x"] + line["width"] / 2 - stage["x"]) / stage["width"]


def test_the_slider_moves_by_mouse_and_keyboard(page):
    started(page)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.up()
    assert line_at(page) == pytest.approx(25, abs=1)
    shoot(page, "result")
    page.focus("#split")
    page.keyboard.press("ArrowRight")
    assert line_at(page) == pytest.approx(26, abs=1)


def touch(page, kind, *points):
    touches = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
    page.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


@pytest.fixture
def phone(browser, address):
    page = opened(browser, address, PHONE_LIGHT)
    started(page)
    page.session = page.context.new_cdp_session(page)
    yield page
    page.context.close()


def test_the_slider_moves_by_touch(phone):
    box = phone.locator("#stage").bounding_box()
    x, y, width = box["x"], box["y"] + box["height"] / 2, box["width"]
    touch(phone, "touchStart", (x + width / 2, y))
    for share in (0.6, 0.7, 0.8):
        touch(phone, "touchMove", (x + share * width, y))
    touch(phone, "touchEnd")
    assert line_at(phone) == pytest.approx(80, abs=2)


def test_two_fingers_zoom_and_one_then_moves_the_picture(phone):
    box = phone.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch(phone, "touchStart", (x - 30, y), (x + 30, y))
    for reach in (45, 60, 75):
        touch(phone, "touchMove", (x - reach, y), (x + reach, y))
    touch(phone, "touchEnd")
    assert float(phone.input_value("#zoom")) == pytest.approx(2.5, abs=0.3)
    before = phone.locator("#before").bounding_box()
    touch(phone, "touchStart", (x - 100, y))
    touch(phone, "touchMove", (x - 80, y + 10))
    touch(phone, "touchMove", (x - 60, y + 20))
    touch(phone, "touchEnd")
    after = phone.locator("#before").bounding_box()
    assert after["x"] - before["x"] == pytest.approx(40, abs=15)
    assert phone.locator("#after").bounding_box() == after
    assert line_at(phone) == pytest.approx(50, abs=1)


def test_zoom_and_pan_keep_both_pictures_in_step(page):
    started(page)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    for _ in range(5):
        page.mouse.wheel(0, -100)
    page.wait_for_function("document.getElementById('zoom').value > 2")
    zoomed = page.locator("#before").bounding_box()
    assert zoomed["width"] == pytest.approx(float(page.input_value("#zoom")) * box["width"], rel=0.01)
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.up()
    moved = page.locator("#before").bounding_box()
    assert zoomed["x"] - moved["x"] == pytest.approx(0.1 * box["width"], abs=1)
    assert zoomed["y"] - moved["y"] == pytest.approx(0.1 * box["height"], abs=1)
    assert page.locator("#after").bounding_box() == moved
    shoot(page, "zoom")


def test_the_keyboard_zooms_and_moves_the_picture(desktop):
    started(desktop)
    whole = desktop.locator("#before").bounding_box()
    desktop.focus("#stage")
    for key in ("+", "+", "ArrowRight"):
        desktop.keyboard.press(key)
    box = desktop.locator("#after").bounding_box()
    assert box["width"] > 1.4 * whole["width"]
    desktop.keyboard.press("ArrowRight")
    assert desktop.locator("#after").bounding_box()["x"] == pytest.approx(box["x"] - 40, abs=1)
    desktop.keyboard.press("0")
    assert desktop.locator("#after").bounding_box() == whole


@pytest.mark.parametrize("kind", ["transmission", "depth"])
def test_maps_show(page, kind):
    started(page)
    choose(page, kind)
    field = nedr.Dehazer(threads=1).field(TEMPLE)
    shown = canvas(page)
    assert np.abs(shown.astype(float) - field.preview(*shown.shape[:2], kind)).mean() < 2
    shoot(page, kind)
    choose(page, "result")
    assert not np.array_equal(canvas(page), shown)


def test_the_haze_is_described(desktop):
    started(desktop)
    field = nedr.Dehazer(threads=1).field(TEMPLE)
    rgb = [round(255 * float(value)) for value in field.airlight]
    assert desktop.inner_text("#airlight") == "#" + "".join(f"{value:02x}" for value in rgb)
    swatch = desktop.locator("#swatch").evaluate("(e) => getComputedStyle(e).backgroundColor")
    assert swatch == f"rgb({rgb[0]}, {rgb[1]}, {rgb[2]})"
    assert desktop.inner_text("#density") == f"{field.density:.2f}"
    assert desktop.inner_text("#size") == "{} × {}".format(*Image.open(BytesIO(TEMPLE)).size)


def test_a_batch_names_its_bad_file(page):
    files = {"temple.jpg": TEMPLE, "broken.jpg": b"\xff\xd8\xff nothing", "pyramid.jpg": PYRAMID}
    page.set_input_files("#files", [upload(*file) for file in files.items()])
    states(page, ["done", re.compile("damaged or truncated JPEG"), "done"])
    assert page.inner_text("#count") == "2 of 3 done, 1 failed"
    shoot(page, "batch")
    page.click("#list li:nth-child(3) .open")
    page.wait_for_selector("#list li:nth-child(3) [aria-current]")
    assert canvas(page, "before").shape == decoded(PYRAMID).shape


def test_each_photograph_keeps_its_strength_and_all_come_down_with_it(desktop):
    desktop.set_input_files("#files", [upload("temple.jpg", TEMPLE), upload("pyramid.jpg", PYRAMID)])
    states(desktop, ["done", "done"])
    desktop.click("#list li:nth-child(2) .open")
    desktop.wait_for_selector("#list li:nth-child(2) [aria-current]")
    put(desktop, "#strength", 0.5)
    found = {}
    desktop.on("download", lambda got: found.update({got.suggested_filename: Path(got.path()).read_bytes()}))
    desktop.click("#all")
    desktop.wait_for_selector("#all:enabled")
    for _ in range(100):
        if len(found) == 2:
            break
        desktop.wait_for_timeout(50)
    dehazer = nedr.Dehazer(threads=1)
    expected = {"temple.dehazed.jpg": dehazer.dehaze(TEMPLE)}
    assert found == expected | {"pyramid.dehazed.jpg": dehazer.dehaze(PYRAMID, strength=0.5)}


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_photographs_arrive_by_drop_and_paste(desktop, event):
    names = ["one.jpg", "<img src=x onerror=alert(1)>.jpg"]
    put_files(desktop, event, names)
    states(desktop, ["done", "done"])
    assert desktop.locator("#list .open span").all_inner_texts() == names
    assert desktop.is_visible("#viewer")


def test_what_is_no_picture_is_explained(page):
    put_files(page, "drop", ["drawing.svg"], "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    states(page, [re.compile("text \\(HTML, SVG\\); expected JPEG, PNG")])
    assert page.is_hidden("#viewer")
    assert page.is_hidden("#list .again")  # the same file would fail again
    shoot(page, "error")


def test_a_server_that_is_gone_is_explained_and_asked_again(desktop):
    desktop.route("**/v1/field*", lambda route: route.abort())
    put_files(desktop, "drop", ["one.jpg"])
    states(desktop, [re.compile("the server cannot be reached")])
    desktop.unroute("**/v1/field*")
    desktop.click("#list .again")
    states(desktop, ["done"])


def test_a_full_server_is_asked_again(desktop):
    answers = iter([429, 429])

    def full_at_first(route):
        status = next(answers, None)
        route.fulfill(status=status, headers={"Retry-After": "0.1"}) if status else route.continue_()

    desktop.route("**/v1/field*", full_at_first)
    put_files(desktop, "drop", ["one.jpg"])
    states(desktop, ["done"])
    assert next(answers, None) is None


def test_a_token_is_asked_for_and_used(desktop):
    def guarded(route):
        known = route.request.headers.get("authorization") == "Bearer secret"
        route.continue_() if known else route.fulfill(status=401, json={"error": "a token is needed"})

    desktop.route("**/v1/**", guarded)
    put_files(desktop, "drop", ["one.jpg"])
    states(desktop, ["a token is needed"])
    shoot(desktop, "token")
    desktop.keyboard.type("secret")  # it has the focus
    desktop.keyboard.press("Enter")
    states(desktop, ["done"])
    assert desktop.is_hidden("#token-row")


def test_the_download_is_the_librarys_file_with_its_metadata(page):
    exif, file = Image.Exif(), BytesIO()
    exif[0x010F], exif[0x0112] = "A camera", 6
    Image.open(BytesIO(TEMPLE)).save(file, "JPEG", exif=exif)
    page.set_input_files("#files", upload("côté 1.jpg", file.getvalue()))
    page.wait_for_selector("#viewer:not([hidden])")
    put(page, "#strength", 0.8)
    with page.expect_download() as caught:
        page.click("#download")
    assert caught.value.suggested_filename == "côté 1.dehazed.jpg"
    found = Path(caught.value.path()).read_bytes()
    assert found == nedr.Dehazer(threads=1).dehaze(file.getvalue(), strength=0.8)
    assert Image.open(BytesIO(found)).getexif()[0x010F] == "A camera"
    assert page.inner_text("#size") == "{1} × {0}".format(*Image.open(BytesIO(TEMPLE)).size)  # upright


@pytest.mark.parametrize("look", [DESKTOP_LIGHT, DESKTOP_DARK, PHONE_LIGHT, PHONE_DARK], ids=str)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(browser, address, look):
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    page = opened(browser, address, look)
    for state in ("start", "example"):
        found = axe.run(page)["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shoot(page, state)
        if state == "start":
            page.click("#example")
            page.wait_for_selector("#viewer:not([hidden])")
    page.context.close()


def test_the_page_speaks_to_its_own_server_only(desktop, address):
    asked = []
    desktop.on("request", lambda request: asked.append(request.url))
    desktop.reload()
    desktop.click("#example")
    desktop.wait_for_selector("#viewer:not([hidden])")
    assert len(asked) >= 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert not desktop.problems
