"""How soon the page responds, in Debian's Chromium.

    python benchmarks/page.py [--chromium /usr/bin/chromium]

Milliseconds, with a photograph of 1 megapixel: from choosing a file to its first preview and to its result, and from
a move of a slider to the next frame; with one of 24 megapixels, from stopping at 1:1, each time at another place and
strength, to sharp pixels on both sides. Ends with status 1 if strength takes 100 ms or longer, or sharp pixels more
than 200 ms.
"""

import argparse
import shutil
import statistics
import sys

from bench import SIZES, machine
from load import jpeg
from playwright.sync_api import Page, sync_playwright
from serving import Server

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
GOAL, SHARP_GOAL = 100.0, 200.0
MOVE = """async ([id, values]) => {
    const control = document.getElementById(id), times = [];
    for (const value of values) {
        const start = performance.now();
        control.value = value;
        control.dispatchEvent(new Event("input"));
        await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
        times.push(performance.now() - start);
    }
    return times;
}"""


SHARP = """async (number) => {
    const stage = document.getElementById("stage"), strength = document.getElementById("strength");
    stage.focus();
    const key = ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"][number % 4];
    strength.value = 0.5 + number / 20;
    strength.dispatchEvent(new Event("input"));
    stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const start = performance.now(), canvases = [...document.querySelectorAll(".sharp")];
    const asked = canvases.map((canvas) => canvas.asked);
    while (canvases.some((canvas, k) => canvas.hidden || canvas.asked === asked[k]))
        await new Promise((shown) => requestAnimationFrame(shown));
    return performance.now() - start;
}"""


def main() -> None:
    """Measure, print, and exit with 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    with Server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(f"http://127.0.0.1:{server.port}/")
        print(f"{machine()}, Chromium {browser.version}")
        looks, results = zip(*(opened(page, jpeg(k, *SIZES["1 MP"])) for k in range(5)), strict=True)
        print(f"first look {statistics.median(looks):.0f} ms, result {statistics.median(results):.0f} ms")
        strength = moved(page, "strength", 1.5)
        moved(page, "split", 100)
        opened(page, jpeg(0, *SIZES["24 MP"]))
        page.click("#one")
        sharp = [sharpened(page, k) for k in range(12)][2:]
        print(f"sharp at 1:1 of 24 megapixels: median {statistics.median(sharp):.0f} ms, slowest {max(sharp):.0f} ms")
        browser.close()
    sys.exit(strength >= GOAL or statistics.median(sharp) > SHARP_GOAL)


def opened(page: Page, data: bytes) -> tuple[float, float]:
    """Milliseconds until the page's first photograph is previewed, and until its result is there."""
    page.reload()
    page.evaluate("window.began = performance.now()")
    page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data})
    page.wait_for_selector("#viewer:not([hidden])")
    look = float(page.evaluate("performance.now() - window.began"))
    page.wait_for_selector("#list .done")
    return look, float(page.evaluate("performance.now() - window.began"))


def sharpened(page: Page, number: int) -> float:
    """Milliseconds from a move of the picture and of the strength to sharp pixels on both sides, including the wait."""
    return float(page.evaluate(SHARP, number))


def moved(page: Page, control: str, most: float) -> float:
    """Median milliseconds of 40 moves of a slider, each to its frame."""
    values = [most * (k % 20 + 1) / 21 for k in range(40)]
    times = page.evaluate(MOVE, [control, values])
    print(f"{control}: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")
    return statistics.median(times)


if __name__ == "__main__":
    main()
