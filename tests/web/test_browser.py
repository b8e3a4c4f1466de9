"""The page in Debian's Chromium."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
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
sync_api.expect.set_options(timeout=60_000)


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
    call = [sys.executable, "-m", "nedr", "serve", "--port", "0", "--workers", "1"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()
        assert server.wait(60) in (0, -15)


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
    page.set_default_timeout(60_000)
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
        page.evaluate("scrollTo(0, 0)")  # what stays in sight lies where the page begins
        page.screenshot(path=f"{SHOTS}/{state}-{page.look}.jpg", type="jpeg", quality=70, full_page=True)


def started(page, data=None):
    page.set_input_files("#files", upload("temple.jpg", data or TEMPLE))
    page.wait_for_selector("#panel:not([hidden])")
    page.wait_for_selector("#list .done img[src]")


def canvas(page, which="after"):
    url = page.evaluate(f"document.getElementById('{which}').toDataURL()")
    return decoded(b64decode(url.partition(",")[2]))


def eventually(page, check, seconds=60):
    """Wait until `check` is true: what is drawn follows what was asked for."""
    for _ in range(20 * seconds):
        if check():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came true")


def agrees(page, expected, most=2.0):
    eventually(page, lambda: np.abs(canvas(page).astype(float) - expected).mean() < most)


def placed(page, which="before"):
    return page.locator(f"#{which}").bounding_box()


def decoded(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def put(page, control, value):
    script = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); }"
    page.locator(control).evaluate(script, str(value))


def choose(page, kind):
    page.locator(f"#shown input[value={kind}]").check(force=True)


def done(page, count):
    sync_api.expect(page.locator("#list .done")).to_have_count(count)


def failed(page, text):
    sync_api.expect(page.locator("#list .failed .state")).to_have_text(text)


def put_files(page, event, names, kind="image/jpeg", data=None):
    """Let the page see a drop or a paste of files, as the system hands them over."""
    script = """([event, names, data, kind]) => {
        const held = new DataTransfer(), bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        for (const name of names) held.items.add(new File([bytes], name, { type: kind }));
        const given = { bubbles: true, cancelable: true, dataTransfer: held, clipboardData: held };
        document.body.dispatchEvent(event === "drop" ? new DragEvent(event, given) : new ClipboardEvent(event, given));
    }"""
    page.evaluate(script, [event, names, b64encode(data or TEMPLE).decode(), kind])


def test_the_preview_is_what_the_download_will_be(desktop):
    started(desktop)
    dehazer = nedr.Dehazer(threads=1)
    for strength in (0.6, 1, 1.4):
        put(desktop, "#strength", strength)
        agrees(desktop, decoded(dehazer.dehaze(TEMPLE, strength=strength)))
        assert desktop.input_value("#amount") == f"{strength:.2f}"
    put(desktop, "#amount", 0)
    agrees(desktop, canvas(desktop, "before"), 0.01)
    assert not desktop.problems


def test_strength_is_undone_redone_reset_and_applied_to_all(desktop):
    desktop.set_input_files("#files", [upload("temple.jpg", TEMPLE), upload("pyramid.jpg", PYRAMID)])
    done(desktop, 2)
    put(desktop, "#strength", 0.5)
    put(desktop, "#strength", 0.25)
    desktop.click("#undo")
    assert desktop.input_value("#amount") == "0.50"
    desktop.keyboard.press("Control+z")
    assert desktop.input_value("#amount") == "1.00"
    desktop.keyboard.press("Control+Shift+z")
    assert desktop.input_value("#amount") == "0.50"
    desktop.click("#apply-all")
    desktop.keyboard.press("PageDown")
    desktop.wait_for_selector("#list li:nth-child(2) [aria-current]")
    assert desktop.input_value("#amount") == "0.50"
    desktop.dblclick("#strength")
    assert desktop.input_value("#amount") == "1.00"
    assert not desktop.problems


def test_the_frames_of_a_video_have_one_strength_and_are_undone_together(desktop):
    desktop.set_input_files("#files", [upload("temple.jpg", TEMPLE), upload("pyramid.jpg", PYRAMID)])
    done(desktop, 2)
    strengths = "async () => (await import('./photographs.js')).items.map((item) => item.strength)"
    desktop.evaluate("async () => (await import('./photographs.js')).items.reduce((a, b) => (a.clip = b.clip = {}))")
    put(desktop, "#strength", 0.5)
    assert desktop.evaluate(strengths) == [0.5, 0.5]
    desktop.click("#undo")
    assert desktop.evaluate(strengths) == [1, 1]
    assert desktop.is_disabled("#undo")


def test_the_strip_shows_the_last_strength_whatever_answer_comes_last(desktop):
    started(desktop)
    found = desktop.evaluate("""async () => {
        const { draw, items: [item] } = await import("./photographs.js"), ask = window.fetch;
        window.fetch = async (url, given) => {
            const answer = await ask(url, given);
            if (url.includes("strength=0.25")) await new Promise((go) => setTimeout(go, 300));
            return answer;
        };
        const drawn = [0.25, 0.75].map((strength) => (item.strength = strength, draw(item).then(() => item.thumb)));
        return [...await Promise.all(drawn), item.thumb];
    }""")
    assert found[1] == found[2]


def test_what_is_removed_is_forgotten_by_the_server_and_removes_nothing_else(desktop):
    desktop.set_input_files("#files", [upload("temple.jpg", TEMPLE), upload("pyramid.jpg", PYRAMID)])
    done(desktop, 2)
    asked = []
    desktop.on("request", lambda request: asked.append(request.url) if request.method == "DELETE" else None)
    left = desktop.evaluate("""async () => {
        const { items, remove, take } = await import("./photographs.js"), [first] = items;
        first.clip = { id: "trip" };
        remove(first);
        take(first);
        return items.map((item) => item.name);
    }""")
    assert left == ["pyramid.jpg"]
    eventually(desktop, lambda: [url.split("/")[-2] for url in asked] == ["pictures", "videos"])


def test_the_page_works_where_it_may_remember_nothing(desktop):
    desktop.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no'); } })"
    )
    desktop.reload()
    desktop.select_option("#language", "de")
    put_files(desktop, "drop", ["one.jpg"])
    done(desktop, 1)
    assert not desktop.problems


def line_at(page):
    """Where the line is over the stage, in percent."""
    stage, line = page.locator("#stage").bounding_box(), page.locator("#line").bounding_box()
    return 100 * (line["x"] + line["width"] / 2 - stage["x"]) / stage["width"]


def test_the_slider_moves_by_mouse_and_keyboard_and_hold_shows_before(page):
    started(page)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.up()
    assert line_at(page) == pytest.approx(25, abs=1)
    if SHOTS:
        eventually(page, lambda: page.inner_text("#clipping") != "")  # counted on what the picture is to show
    shoot(page, "result")
    page.focus("#split")
    page.keyboard.press("ArrowRight")
    assert line_at(page) == pytest.approx(26, abs=1)
    page.focus("#stage")
    page.keyboard.down(" ")
    assert page.locator("#over").evaluate("(e) => getComputedStyle(e).visibility") == "hidden"
    page.keyboard.up(" ")
    assert page.locator("#over").evaluate("(e) => getComputedStyle(e).visibility") == "visible"


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


def test_touch_moves_the_line_zooms_and_swipes(phone):
    phone.set_input_files("#files", upload("pyramid.jpg", PYRAMID))
    done(phone, 2)
    box = phone.locator("#stage").bounding_box()
    x, y, width = box["x"], box["y"] + box["height"] / 2, box["width"]
    touch(phone, "touchStart", (x + width / 2, y))
    for share in (0.6, 0.7, 0.8):
        touch(phone, "touchMove", (x + share * width, y))
    touch(phone, "touchEnd")
    assert line_at(phone) == pytest.approx(80, abs=2)
    for start, end in ((0.6, 0.2), (0.2, 0.6)):
        touch(phone, "touchStart", (x + start * width, y))
        touch(phone, "touchMove", (x + end * width, y))
        touch(phone, "touchEnd")
        phone.wait_for_selector(f"#list li:nth-child({2 if start > end else 1}) [aria-current]")
    before, middle = placed(phone), x + width / 2
    touch(phone, "touchStart", (middle - 30, y), (middle + 30, y))
    for reach in (45, 60, 75):
        touch(phone, "touchMove", (middle - reach, y), (middle + reach, y))
    touch(phone, "touchEnd")
    assert placed(phone)["width"] / before["width"] == pytest.approx(2.5, abs=0.4)
    assert placed(phone, "after") == placed(phone)


def large():
    """A photograph of more pixels than the preview has, with detail in every one."""
    file = BytesIO()
    image = Image.open(EXAMPLES / "temple.jpg").convert("RGB").resize((3000, 2000))
    noise = Image.effect_noise((3000, 2000), 40).convert("RGB")
    Image.blend(image, noise, 0.3).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_one_to_one_shows_the_very_pixels_of_the_result(desktop):
    data = large()
    started(desktop, data)
    put(desktop, "#strength", 0.8)
    desktop.click("#one")
    assert desktop.inner_text("#factor") == "100 %"
    desktop.wait_for_selector("#sharp-after:not([hidden])")
    desktop.wait_for_selector("#sharp-before:not([hidden])")
    shoot(desktop, "one-to-one")
    found, x0, y0 = canvas(desktop, "sharp-after").astype(float), *corner(desktop)
    height, width = found.shape[:2]
    stage = desktop.locator("#stage").bounding_box()
    assert (width, height) == pytest.approx((stage["width"], stage["height"]), abs=2)
    expected = decoded(nedr.Dehazer(threads=1).dehaze(data, strength=0.8))[y0 : y0 + height, x0 : x0 + width]
    assert np.abs(found - expected).mean() < 3.5  # two JPEGs of noise between them; a stretched preview is 15 away
    desktop.focus("#stage")
    place = placed(desktop)
    desktop.keyboard.press("ArrowRight")
    assert placed(desktop)["x"] == pytest.approx(place["x"] - 40, abs=1)
    desktop.keyboard.press("0")
    assert placed(desktop)["width"] <= stage["width"] + 1
    assert not desktop.problems


def corner(page):
    """The first column and row of the photograph that the sharp canvas shows."""
    return page.locator("#sharp-after").evaluate("(e) => e.region.slice(0, 2)")


def test_wheel_and_double_click_zoom_both_sides_in_step(page):
    started(page, large())
    whole, box = placed(page), page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    for _ in range(5):
        page.mouse.wheel(0, -100)
    eventually(page, lambda: placed(page)["width"] == pytest.approx(1.2**5 * whole["width"], rel=0.01))
    zoomed = placed(page)
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.up()
    moved = placed(page)
    assert zoomed["x"] - moved["x"] == pytest.approx(0.1 * box["width"], abs=1)
    assert placed(page, "after") == moved
    page.mouse.dblclick(box["x"] + 0.9 * box["width"], box["y"] + 20)
    assert placed(page) == whole
    page.mouse.dblclick(box["x"] + 0.9 * box["width"], box["y"] + 20)
    assert page.inner_text("#factor") == "100 %"
    assert not page.problems


@pytest.mark.parametrize("kind", ["transmission", "depth"])
def test_maps_show(page, kind):
    started(page)
    choose(page, kind)
    height, width = canvas(page).shape[:2]
    agrees(page, nedr.Dehazer(threads=1).field(TEMPLE).preview(height, width, kind).astype(float))
    shoot(page, kind)
    choose(page, "result")
    agrees(page, decoded(nedr.Dehazer(threads=1).dehaze(TEMPLE)))


def test_the_haze_is_described_and_the_histogram_drawn(desktop):
    started(desktop)
    field = nedr.Dehazer(threads=1).field(TEMPLE)
    desktop.click("#details summary")
    rgb = [round(255 * float(value)) for value in field.airlight]
    assert desktop.inner_text("#airlight") == "#" + "".join(f"{value:02x}" for value in rgb)
    assert desktop.inner_text("#density") == f"{field.density:.2f}"
    assert desktop.inner_text("#size") == "{} × {}".format(*Image.open(BytesIO(TEMPLE)).size)
    eventually(desktop, lambda: desktop.inner_text("#clipping") != "")
    assert canvas(desktop, "histogram").any()


def test_a_canvas_that_is_about_to_be_drawn_again_is_not_counted_as_black(desktop):
    started(desktop)
    eventually(desktop, lambda: desktop.inner_text("#clipping") != "")

    def counted_while_empty():
        """What is said before and after a count of the empty canvas; nothing where it was drawn again meanwhile."""
        return desktop.evaluate("""async () => {
            const after = document.getElementById("after"), line = document.getElementById("clipping");
            const said = () => line.textContent;
            const { drawn } = await import("./viewer.js"), before = said();
            after.width = after.width;
            drawn.dispatchEvent(new Event("result"));
            await new Promise((resolve) => setTimeout(resolve, 300));  // longer than it waits to count
            const pixels = after.getContext("2d").getImageData(0, 0, after.width, after.height).data;
            return pixels.some((value) => value) ? [] : [before, said()];
        }""")

    found = []
    eventually(desktop, lambda: found.extend(counted_while_empty()) or found)
    assert found[1] == found[0]


def test_many_stay_in_sight_are_removed_and_come_down_as_one_zip(page):
    names = [f"{k}.jpg" for k in range(5)]
    page.set_input_files("#files", [upload(name, TEMPLE) for name in names] + [upload("bad.jpg", b"\xff\xd8\xff x")])
    done(page, 5)
    failed(page, re.compile("damaged"))
    assert page.inner_text("#count") == "5 of 6 done, 1 failed"
    page.locator("#list li").nth(4).locator(".open").click()
    page.wait_for_selector("#list li:nth-child(5) [aria-current]")
    box = page.locator("#stage").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= page.viewport_size["height"]
    shoot(page, "batch")
    page.click("#list li:nth-child(6) .remove")
    for _ in range(3):
        page.click("#list li:nth-child(1) .remove")
    assert page.inner_text("#count") == "2 of 2 done"
    put(page, "#strength", 0.5)
    with page.expect_download() as caught:
        page.click("#all")
    with zipfile.ZipFile(caught.value.path()) as archive:
        assert archive.namelist() == ["3.dehazed.jpg", "4.dehazed.jpg"]
        found = {archive.read(name) for name in archive.namelist()}
    dehazer = nedr.Dehazer(threads=1)
    assert found == {dehazer.dehaze(TEMPLE), dehazer.dehaze(TEMPLE, strength=0.5)}
    assert not [line for line in page.problems if "422" not in line]


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_photographs_arrive_by_drop_and_paste(desktop, event):
    names = ["one.jpg", "<img src=x onerror=alert(1)>.jpg"]
    put_files(desktop, event, names)
    done(desktop, 2)
    assert desktop.locator("#list .name").all_inner_texts() == names
    assert desktop.is_visible("#viewer")


def test_a_dropped_folder_brings_its_photographs_and_videos_and_a_dropped_video_its_frames(desktop, tmp_path):
    footage = pytest.importorskip("footage")
    trip = tmp_path / "trip"
    (trip / "day 1").mkdir(parents=True)
    (trip / "day 1" / "temple.jpg").write_bytes(TEMPLE)
    (trip / "notes.txt").write_text("no picture")
    footage.film(trip / "clip.mp4", footage.panned("temple", (96, 160), 12))
    session, at = desktop.context.new_cdp_session(desktop), {"x": 600, "y": 300}
    for path in (trip, trip / "clip.mp4"):
        files = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "data": files, **at})
        done(desktop, 2 if path == trip else 3)
    paths = desktop.evaluate("async () => (await import('./photographs.js')).items.map((item) => item.path)")
    assert sorted(paths) == ["clip.mp4 0:00", "clip.mp4 0:00", "trip/day 1/temple.jpg"]
    assert not desktop.problems


def test_a_dropped_link_and_what_is_no_picture_are_explained(page):
    page.evaluate("""() => {
        const held = new DataTransfer();
        held.setData("text/uri-list", "a");
        document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: held }));
    }""")
    assert "link, not a file" in page.inner_text("#message")
    put_files(page, "drop", ["drawing.svg"], "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    failed(page, re.compile("not a picture we can read"))
    assert page.is_hidden("#list .again")  # the same file would fail again
    shoot(page, "error")


def test_a_server_that_is_gone_or_full_is_asked_again(desktop):
    answers = iter([429, 429])

    def full_at_first(route):
        status = next(answers, None)
        route.fulfill(status=status, headers={"Retry-After": "0.1"}) if status else route.abort()

    desktop.route("**/v1/pictures", full_at_first)
    put_files(desktop, "drop", ["one.jpg"])
    failed(desktop, re.compile("server cannot be reached"))
    assert next(answers, None) is None
    desktop.unroute("**/v1/pictures")
    desktop.click("#list .again")
    done(desktop, 1)


def test_a_video_that_could_not_be_sent_is_tried_again_as_a_video(desktop, tmp_path):
    footage = pytest.importorskip("footage")
    path = tmp_path / "trip.mp4"
    footage.film(path, footage.panned("temple", (96, 160), 12))
    desktop.route("**/v1/videos?*", lambda route: route.abort())
    desktop.set_input_files("#files", path)
    failed(desktop, re.compile("server cannot be reached"))
    desktop.unroute("**/v1/videos?*")
    desktop.click("#list .again")
    done(desktop, 1)
    assert desktop.inner_text("#list .name").startswith("trip.mp4 0:")


def test_what_the_server_has_let_go_of_is_sent_again(desktop):
    started(desktop)
    sent = []
    desktop.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    desktop.evaluate("async () => (await import('./photographs.js')).items[0].id = 'lost'")
    with desktop.expect_download() as caught:
        desktop.click("#download")
    assert Path(caught.value.path()).read_bytes() == nedr.Dehazer(threads=1).dehaze(TEMPLE)
    assert len(sent) == 1


def test_what_several_requests_miss_at_once_is_sent_once_and_is_done_again(desktop):
    started(desktop)
    sent = []
    desktop.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    desktop.evaluate("""async () => {
        const { items, picture } = await import("./photographs.js");
        items[0].id = "lost";
        const asked = [0.1, 0.2, 0.3].map((strength) => picture(items[0], { strength, scale: 0.1 }));
        return Promise.all(asked).then((all) => all.length);
    }""")
    assert len(sent) == 1
    done(desktop, 1)
    assert desktop.inner_text("#count") == "1 of 1 done"


def test_a_token_is_asked_for_a_wrong_one_is_told_and_the_right_one_used(desktop):
    def guarded(route):
        given = route.request.headers.get("authorization")
        code = "token_wrong" if given else "token_missing"
        known = given == "Bearer secret"
        route.continue_() if known else route.fulfill(status=401, json={"error": "no", "code": code})

    desktop.route("**/v1/**", guarded)
    put_files(desktop, "drop", ["one.jpg"])
    failed(desktop, "This server requires a token.")
    shoot(desktop, "token")
    for word in ("wrong", "secret"):
        desktop.fill("#token", word)
        desktop.keyboard.press("Enter")
        if word == "wrong":
            failed(desktop, "That is not this server's token.")
    done(desktop, 1)
    assert desktop.is_hidden("#token-row")


def test_the_download_is_the_librarys_file_with_its_metadata(page):
    exif, file = Image.Exif(), BytesIO()
    exif[0x010F], exif[0x0112] = "A camera", 6
    Image.open(BytesIO(TEMPLE)).save(file, "JPEG", exif=exif)
    page.set_input_files("#files", upload("côté 1.jpg", file.getvalue()))
    done(page, 1)
    put(page, "#strength", 0.8)
    with page.expect_download() as caught:
        page.click("#download")
    assert caught.value.suggested_filename == "côté 1.dehazed.jpg"
    found = Path(caught.value.path()).read_bytes()
    assert found == nedr.Dehazer(threads=1).dehaze(file.getvalue(), strength=0.8)
    page.select_option("#format", "webp")
    page.fill("#quality", "50")
    with page.expect_download() as caught:
        page.click("#download")
    assert caught.value.suggested_filename == "côté 1.dehazed.webp"
    assert Image.open(caught.value.path()).format == "WEBP"


def test_a_video_is_made_in_the_background_and_found_again_when_the_page_is_loaded_again(page, tmp_path):
    footage = pytest.importorskip("footage")
    path = tmp_path / "trip.mp4"
    footage.film(path, footage.panned("temple", (96, 160), 12))
    page.set_input_files("#files", path)
    done(page, 1)
    put(page, "#strength", 0.7)
    eventually(page, lambda: page.inner_text("#clipping") != "")
    shoot(page, "video")
    page.click("#clip-start")
    page.wait_for_selector("#jobs li")
    page.reload()
    page.wait_for_selector("#jobs a:not([hidden])")
    shoot(page, "video-done")
    with page.expect_download() as caught:
        page.click("#jobs a")
    assert caught.value.suggested_filename == "trip.dehazed.mp4"
    assert Path(caught.value.path()).read_bytes()[4:8] == b"ftyp"
    page.click("#jobs button")
    assert page.locator("#jobs li").count() == 0
    assert not page.problems


def test_the_page_speaks_every_language_with_the_same_strings(desktop):
    words = desktop.evaluate("async () => (await import('./words.js')).LANGUAGES")
    assert set(words) == {"en", "de", "es", "zh"}
    for name, strings in words.items():
        assert strings.keys() == words["en"].keys(), name
        for key, text in strings.items():
            holes = re.findall(r"\{\w+\}", words["en"][key])
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(holes), (name, key)
        desktop.select_option("#language", name)
        assert desktop.inner_text("h1") == strings["title"]
        assert desktop.evaluate("document.documentElement.lang") == name


@pytest.mark.parametrize("look", [DESKTOP_LIGHT, DESKTOP_DARK, PHONE_LIGHT, PHONE_DARK], ids=str)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(browser, address, look):
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    page = opened(browser, address, look)
    for state in ("start", "example"):
        found = axe.run(page)["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if state == "start":
            shoot(page, state)
            page.click("#example")
            page.wait_for_selector("#list .done")
        else:
            eventually(page, lambda: page.inner_text("#clipping") != "")
            shoot(page, state)
    page.context.close()


def test_the_page_speaks_to_its_own_server_only_and_works_below_another_path(desktop, address):
    asked = []
    desktop.on("request", lambda request: asked.append(request.url))

    def below(route):
        route.continue_(url=route.request.url.replace("/haze/", "/"))

    desktop.route("**/haze/**", below)
    desktop.goto(f"{address}haze/")
    desktop.click("#example")
    done(desktop, 1)
    assert len(asked) >= 5
    assert [url for url in asked if not url.startswith((f"{address}haze/", "data:", "blob:"))] == []
    assert not desktop.problems
