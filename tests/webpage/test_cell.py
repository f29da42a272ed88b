"""The page in an output cell of a notebook."""

import re
from html import unescape

import numpy as np
import pytest
from pages import scores_of

import convnet
from convnet import webpage


def frame_of(page):
    """Return the attributes of the one frame that a page is shown in."""
    found = re.fullmatch(r"<iframe ([^<>]*)></iframe>", page._repr_html_())
    return {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', found[1])}


def test_the_frame_holds_the_page_that_export_writes(convnet1, page_file):
    page = webpage.show(convnet1)
    frame = frame_of(page)
    assert frame["srcdoc"].encode() == page_file.read_bytes()
    assert frame["sandbox"] == "allow-scripts"
    assert frame["height"] == "800"
    assert len(repr(page)) < 100


def test_the_height_is_an_option(convnet1):
    assert frame_of(webpage.show(convnet1, height=450))["height"] == "450"
    for wrong, error in ((99, ValueError), ("450px", TypeError), (None, TypeError)):
        with pytest.raises(error, match="show: height: expected"):
            webpage.show(convnet1, height=wrong)


def test_samples_are_those_of_export(tmp_path, convnet1, mnist):
    samples = mnist[2][:50], mnist[3][:50]
    webpage.export(convnet1, tmp_path / "page.html", samples)
    assert webpage.show(convnet1, samples).html == (tmp_path / "page.html").read_text("utf-8")


def test_messages_name_the_function(convnet1, mnist, rng):
    model = convnet.Sequential([convnet.Affine(3, 2, rng=rng)], (3,))
    for wrong, samples in ((model, None), (model, (np.zeros((2, 4)), [0, 1])), (convnet1, (mnist[2][:2], [0]))):
        with pytest.raises(ValueError, match=r"^show: "):
            webpage.show(wrong, samples)


def test_the_page_computes_in_its_frame(tmp_path, convnet1, mnist, browser):
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>A notebook</title>{webpage.show(convnet1)._repr_html_()}", "utf-8")
    complaints = []
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    (frame,) = page.main_frame.child_frames
    frame.wait_for_selector("#samples button")
    inputs = convnet1.statistics.apply(mnist[2][:3])
    found, expected = scores_of(frame, inputs), convnet1.scores(inputs)
    np.testing.assert_allclose(found, expected, atol=0.05)
    frame.locator("#samples button").first.click()
    assert "%" in frame.locator("#bars").inner_text()
    page.close()
    assert complaints == []
