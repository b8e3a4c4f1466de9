"""How soon the page without a server shows a first result, in Debian's Chromium.

    python benchmarks/offline.py [--chromium /usr/bin/chromium]

Seconds by the clock and of processor time (all of the browser's processes together) until the result of a photograph of
12 megapixels: from the page's address, on a first visit in a new browser with the photograph chosen immediately; and
from choosing it once the page has loaded its network. Ends with status 1 if the fastest result takes more than 3 s.
"""

import argparse
import functools
import http.server
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import machine
from load import jpeg
from playwright.sync_api import Page, sync_playwright

from nedr.web import site

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SIZE, GOAL, VISITS = (3000, 4000), 3.0, 3


class Quiet(http.server.SimpleHTTPRequestHandler):
    """One that says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """Measure, print, and exit with 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site.write(Path(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever).start()
        url, data, visits = f"http://127.0.0.1:{server.server_port}/", jpeg(0, *SIZE), list[tuple[float, float]]()
        for _ in range(VISITS):
            browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
            page = browser.new_page()
            visits.append(first(page, data, url))
            loaded = [first(page, data) for _ in range(4)] if len(visits) == VISITS else []
            version = browser.version
            browser.close()
        server.shutdown()
    print(f"{machine()}, Chromium {version}")
    quickest = {"on a first visit": min(visits), "on a loaded page": min(loaded)}
    for when, (wall, used) in quickest.items():
        print(f"first result of 12 megapixels {when}: {wall:.2f} s, {used:.2f} s of the processor")
    sys.exit(any(wall > GOAL for wall, _ in quickest.values()))


def first(page: Page, data: bytes, url: str | None = None) -> tuple[float, float]:
    """Seconds, and processor seconds, to the only photograph's result: from choosing it, or from the page's address."""
    start, before = time.perf_counter(), spent()
    if url:
        page.set_default_timeout(600_000)
        page.goto(url, wait_until="domcontentloaded")
    page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data})
    page.wait_for_selector("#list .done", timeout=600_000)
    found = time.perf_counter() - start, spent() - before
    page.wait_for_timeout(3000)  # the frames that follow
    page.click("#list .remove")
    return found


def spent() -> float:
    """Processor seconds of all Chromium processes started by this one."""
    ticks, parents = dict[int, int](), dict[int, int]()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text().rpartition(")")
        except OSError:
            continue
        pid, fields = int(file.parent.name), rest.split()
        parents[pid] = int(fields[1])
        if "chrom" in name:
            ticks[pid] = sum(map(int, fields[11:13]))
    return sum(used for pid, used in ticks.items() if _is_below(pid, parents)) / 100


def _is_below(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != os.getpid():
        pid = parents[pid]
    return pid == os.getpid()


if __name__ == "__main__":
    main()
