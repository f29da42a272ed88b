"""What the page of a model costs: its size, half precision, and the time of a frame in a browser.

pip install ".[test]" && python benchmarks/webpage.py results/model.npz

It needs Chromium; prints a Markdown table. The time is that of all that a stroke's update does: preparing the drawing,
the network, and drawing every panel.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import convnet

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FRAMES = """(count) => {
    strokes = [[[60, 60], [128, 40], [180, 90], [80, 220], [200, 220]]];
    const times = [];
    for (let i = 0; i < count; i++) {
        strokes[0].push([200 - i, 220]);
        const start = performance.now();
        update();
        context_of(field).getImageData(0, 0, 1, 1); // waits until it is drawn
        times.push(performance.now() - start);
    }
    return times;
}"""
SCORES = """([shape, rows]) => rows.map((row) =>
    [...model.scores(apply_statistics({ shape, data: Uint8Array.from(row) }, statistics)).data])"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="model file of MNIST digits")
    parser.add_argument("--screenshot", type=Path, metavar="FILE", help="save a picture of the page with a drawn digit")
    parser.add_argument("--frames", type=int, default=200, help="strokes' updates to time (default: 200)")
    options = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise OSError(f"no browser is installed: none of {', '.join(BROWSERS)} is on the PATH")
    from playwright.sync_api import sync_playwright

    model = convnet.load_model(options.model)
    images, labels = convnet.load_mnist()[2:]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        convnet.webpage.export(model, path, (images, labels))
        browser = playwright.chromium.launch(executable_path=browser_path, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1100, "height": 1225})
        page.goto(path.as_uri())
        rows = images[:1000].reshape(1000, -1).tolist()
        found = np.array(page.evaluate(SCORES, [model.input_shape, rows]))
        expected = model.scores(model.statistics.apply(images[:1000]))
        difference, labels_changed = np.abs(found - expected).max(), (found.argmax(1) != expected.argmax(1)).sum()
        if not difference <= 1e-2:
            raise ValueError(f"the page is wrong: expected scores equal within 0.01, got {difference:.3g}")
        page.reload()
        page.wait_for_timeout(1000)  # a person is not faster
        times = np.array(page.evaluate(FRAMES, options.frames))
        print("| page | |\n| --- | --- |")
        print(f"| size | {path.stat().st_size / 1e6:.1f} MB |")
        print(f"| 10,000 test images, by half precision | {page.locator('#cost').inner_text()} |")
        print(
            f"| 1,000 test images, in the browser | scores off by at most {difference:.1g}, {labels_changed} labels |"
        )
        print(
            f"| a stroke's update, {options.frames} of them | median {np.median(times):.1f} ms, "
            f"95th percentile {np.quantile(times, 0.95):.1f} ms, longest {times.max():.1f} ms, "
            f"the first {times[0]:.1f} ms |"
        )
        print(f"| browser | Chromium {browser.version} |")
        if options.screenshot is not None:
            page.evaluate("() => { strokes = [[[70, 80], [128, 40], [185, 90], [75, 215], [200, 212]]]; update(); }")
            page.locator(".maps button").nth(3).hover()
            page.screenshot(path=options.screenshot)
        browser.close()


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
