"""How soon the page shows what was asked of it, in Debian's Chromium, with a photograph of 1 megapixel.

    python benchmarks/page.py [--chromium /usr/bin/chromium]

Milliseconds: from the choice of a file to its result on the screen, and from a move of a slider to the next frame.
Ends with status 1 when strength takes 100 ms or longer.
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
GOAL = 100.0
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


def main() -> None:
    """Measure, print, and exit with 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    with Server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(f"http://127.0.0.1:{server.port}/")
        print(f"{machine()}, Chromium {browser.version}")
        shown = [opened(page, k) for k in range(5)]
        print(f"from the choice to the result: {statistics.median(shown):.0f} ms")
        strength = moved(page, "strength", 1.5)
        moved(page, "split", 100)
        moved(page, "zoom", 8)
        browser.close()
    sys.exit(strength >= GOAL)


def opened(page: Page, number: int) -> float:
    """Milliseconds until a photograph chosen as the page's first is shown."""
    page.reload()
    file = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg(number, *SIZES["1 MP"])}
    page.evaluate("window.began = performance.now()")
    page.set_input_files("#files", file)
    page.wait_for_selector("#viewer:not([hidden])")
    return float(page.evaluate("performance.now() - window.began"))


def moved(page: Page, control: str, most: float) -> float:
    """Median milliseconds of 40 moves of a slider, each up to its frame."""
    values = [most * (k % 20 + 1) / 21 for k in range(40)]
    times = page.evaluate(MOVE, [control, values])
    print(f"{control}: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")
    return statistics.median(times)


if __name__ == "__main__":
    main()
