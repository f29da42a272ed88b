"""The page's pictures, samples and panels."""

import re

import numpy as np
import pytest
from cases import STROKES
from pages import agree, check_panels, coloured, draw, pictures, pixels, scores_of_images, settle

import convnet
from convnet import Affine, Conv2D, MaxPool2D, ReLU, Sequential, webpage


def test_pictures_marks_and_bars_show_what_the_layers_compute(open_page, tmp_path, rng):
    conv = Conv2D(2, 3, (3, 2), stride=(2, 1), padding=(1, 1), rng=rng)
    pool, hidden, last = MaxPool2D(2), Affine(3 * 2 * 4, 7, rng=rng), Affine(7, 4, rng=rng)
    model = Sequential([conv, ReLU(), pool, hidden, ReLU(), last], (2, 9, 8), rng=rng)
    x = rng.standard_normal((9, 2, 9, 8)).astype(np.float32)
    webpage.export(model, tmp_path / "page.html", samples=(x, np.arange(9) % 4))
    page = open_page(tmp_path / "page.html")
    shown = np.array(page.evaluate("() => [...samples[sample].image.data]")).reshape(1, 2, 9, 8)
    layers = check_panels(page, model, shown)
    maps, pooled = layers["relu1"], layers["pool1"]
    (both,) = pixels(page, "#image")  # the channels, one beside the other
    np.testing.assert_allclose(both, coloured(page, np.concatenate(shown[0], axis=1), np.abs(shown).max()), atol=4)

    for group, outputs in enumerate((maps, pooled)):
        for channel in range(3):
            button = page.locator(".maps").nth(group).locator("button").nth(channel)
            button.focus()
            weight = conv.params["weight"][channel]
            wanted = coloured(page, weight, np.abs(weight).max())
            np.testing.assert_allclose(pixels(page, ".filter canvas"), wanted, atol=4)
            i, j = np.unravel_index(outputs[0, channel].argmax(), outputs.shape[2:])
            rows, columns = (
                (range(i, i + 1), range(j, j + 1)) if group == 0 else (range(2 * i, 2 * i + 2), range(2 * j, 2 * j + 2))
            )
            top, bottom = max(2 * rows[0] - 1, 0), min(2 * rows[-1] - 1 + 3, 9)
            left, right = max(columns[0] - 1, 0), min(columns[-1] - 1 + 2, 8)
            marks = page.evaluate(
                "() => [...document.querySelectorAll('.field-mark')].map(({ style }) => "
                "[style.top, style.height, style.left, style.width].map(parseFloat))"
            )
            for side, mark in enumerate(marks):
                wanted = [top / 9, (bottom - top) / 9, (8 * side + left) / 16, (right - left) / 16]
                np.testing.assert_allclose(mark, 100 * np.array(wanted), atol=0.01)
            assert len(marks) == 2
            seen = [both[top:bottom, left:right], both[top:bottom, 8 + left : 8 + right]]
            np.testing.assert_array_equal(pixels(page, ".seen canvas"), seen)


def test_where_a_map_is_strongest_is_said_in_all_cases(open_page, tmp_path, rng):
    conv = Conv2D(1, 4, 1, padding=1, rng=rng)
    conv.params["weight"][:, 0, 0, 0] = [1, 0, -1, 1]
    conv.params["bias"][:] = [-1000, 0, 1, 0.5]
    model = Sequential([conv, Affine(4 * 6 * 6, 3, rng=rng)], (1, 4, 4))
    x = rng.uniform(1, 2, (3, 1, 4, 4))
    webpage.export(model, tmp_path / "page.html", samples=(x, [0, 1, 2]))
    page = open_page(tmp_path / "page.html")
    row, column = (place + 2 for place in np.unravel_index(x[0, 0].argmax(), (4, 4)))
    for index, words, marks in (
        (0, f"Its largest output, -998, is at row {row}, column {column};", 1),
        (1, "No output is above 0.", 0),
        (2, "Its largest output, 1.00, is at row 1, column 1; it sees only padding there.", 0),
        (3, f"Its largest output, {x[0].max() + 0.5:.2f}, is at row {row}, column {column};", 1),
    ):
        page.locator(".maps button").nth(index).hover()
        assert words in page.locator(".detail").inner_text()
        assert page.locator(".field-mark").count() == page.locator(".seen canvas").count() == marks


def test_what_a_map_sees_is_marked_where_padding_differs_from_side_to_side(open_page, tmp_path, rng):
    conv = Conv2D(1, 1, 1, padding=((2, 0), (0, 3)), rng=rng)
    conv.params["weight"][...] = 1
    model = Sequential([conv, Affine(6 * 7, 3, rng=rng)], (1, 4, 4))
    x = rng.uniform(1, 2, (3, 1, 4, 4))
    webpage.export(model, tmp_path / "page.html", samples=(x, [0, 1, 2]))
    page = open_page(tmp_path / "page.html")
    row, column = np.unravel_index(x[0, 0].argmax(), (4, 4))
    page.locator(".maps button").first.hover()
    assert f"at row {row + 3}, column {column + 1};" in page.locator(".detail").inner_text()
    mark = page.evaluate(
        "() => { const { top, left } = document.querySelector('.field-mark').style; return [top, left]; }"
    )
    assert mark == [f"{25 * row}%", f"{25 * column}%"]


def test_the_filters_shown_are_those_of_the_last_convolution_before_the_maps(open_page, tmp_path, rng):
    layers = [Conv2D(1, 2, 3, rng=rng), ReLU(), Conv2D(2, 3, (2, 3), rng=rng), ReLU(), Affine(3 * 5 * 4, 3, rng=rng)]
    model = Sequential(layers, (1, 8, 8))
    x = rng.standard_normal((3, 1, 8, 8))
    webpage.export(model, tmp_path / "page.html", samples=(x, [0, 1, 2]))
    page = open_page(tmp_path / "page.html")
    for sample in (0, 1):
        page.locator("#samples button").nth(sample).click()
        check_panels(page, model, np.array(page.evaluate("() => [...samples[sample].image.data]")).reshape(1, 1, 8, 8))
    page.locator(".maps").nth(1).locator("button").nth(1).hover()
    assert "Filter 2 of conv2, 2 x 3, 2 channels." in page.locator(".detail").nth(1).inner_text()
    weight = model.params["conv2.weight"][1]
    np.testing.assert_allclose(pixels(page, ".filter canvas"), coloured(page, weight, np.abs(weight).max()), atol=4)
    assert page.locator(".filter").get_attribute("aria-label") == "Weights of filter 2, 2 by 2 by 3"


def test_a_filter_shows_its_weights_and_the_place_of_its_largest_output(open_page, page_file, convnet1, mnist):
    page = open_page(page_file)
    page.locator("#samples button").nth(3).click()
    chosen = page.evaluate("() => [...samples[3].image.data]")
    image = np.array(chosen, np.uint8).reshape(1, 28, 28)
    maps = np.maximum(convnet1.layers["conv1"](convnet1.statistics.apply(image))[0], 0)
    for index in (0, 7, 31):
        page.locator(".maps").first.locator("button").nth(index).hover()
        words = page.locator(".detail").first.inner_text()
        assert f"Filter {index + 1} of conv1, 7 x 7" in words
        top = maps[index]
        if top.max() > 0.01:
            row, column = (int(text) - 1 for text in re.search(r"row (\d+), column (\d+)", words).groups())
            assert top[row, column] == pytest.approx(top.max(), rel=1e-2)
            style = page.locator(".field-mark").evaluate("(mark) => [mark.style.top, mark.style.left]")
            corner = [max(place - 3, 0) * 100 / 28 for place in (row, column)]
            assert [float(text.rstrip("%")) for text in style] == pytest.approx(corner, abs=0.01)
    weights = page.locator(".filter canvas").first
    assert weights.evaluate("(canvas) => [canvas.width, canvas.height]") == [7, 7]


def test_samples_of_all_classes_and_one_that_is_misread(open_page, page_file):
    page = open_page(page_file)
    buttons = page.locator("#samples button")
    labels = [button.get_attribute("aria-label") for button in buttons.all()]
    assert labels[:10] == [f"Example: {label}" for label in range(10)]
    assert "misreads" in labels[10]
    images = page.evaluate("() => samples.map(({ image }) => [...image.data])")
    for picture, image in zip(pixels(page, "#samples canvas"), images, strict=True):
        np.testing.assert_array_equal(picture[:, :, 0].reshape(-1), image)
    assert re.fullmatch(r"ConvNet1, [0-9,]+ parameters\.", page.locator("#about").inner_text())
    assert "half precision, which changes the label of" in page.locator("#cost").inner_text()
    for index in range(10):
        buttons.nth(index).click()
        assert page.locator("#verdict").inner_text().startswith(f"{index}, ")
        assert buttons.nth(index).get_attribute("aria-pressed") == "true"
    buttons.nth(10).click()
    truth = labels[10].split(": ")[1][0]
    assert not page.locator("#verdict").inner_text().startswith(truth)
    assert page.locator("#sample-note").inner_text().startswith(f"Label: {truth}; the network misreads it")
    assert page.locator("#undo").is_disabled()
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == "Draw, or choose an example."
    assert page.locator("#sample-note").inner_text() == "The network misreads the one in the dashed frame."


def test_a_sample_takes_the_place_of_a_drawing_until_it_is_undone(open_page, page_file):
    page = open_page(page_file)
    draw(page, 3)
    drawn = pictures(page)
    page.locator("#samples button").nth(7).click()
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
    page.locator("#undo").click()
    settle(page)
    page.mouse.move(0, 0)
    assert pictures(page) == drawn
    assert page.locator("#samples [aria-pressed=true]").count() == 0
    page.locator("#samples button").nth(7).click()
    draw(page, 2)
    assert page.locator("#samples [aria-pressed=true]").count() == 0
    assert page.evaluate("() => strokes.length") == len(STROKES[2])
    page.locator("#samples button").nth(7).click()
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == "Draw, or choose an example."


def test_what_a_map_shows_is_seen_from_every_map_of_a_phone(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 600}, has_touch=True, is_mobile=True)
    page.locator("#samples button").nth(3).tap()
    for index in (0, 11, 31):
        page.locator(".maps").first.locator("button").nth(index).tap()
        box = page.locator(".detail p").first.bounding_box()
        assert 0 <= box["y"] <= 600 - box["height"]
        assert f"Filter {index + 1} of conv1" in page.locator(".detail").first.inner_text()


def test_pointing_at_a_map_moves_nothing_and_escape_chooses_none(open_page, tmp_path, rng):
    layers = [Conv2D(3, 64, 1, rng=rng), Conv2D(64, 8, 3, rng=rng), ReLU(), Affine(8 * 36, 3, rng=rng)]
    model = Sequential(layers, (3, 8, 8))
    webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((3, 3, 8, 8)), [0, 1, 2]))
    page = open_page(tmp_path / "page.html", viewport={"width": 800, "height": 900})
    places = "() => [...document.querySelectorAll('.maps, #panels')].map((node) => node.getBoundingClientRect().height)"
    before = page.evaluate(places)
    for panel in (0, 1):
        page.locator(".maps").nth(panel).locator("button").nth(2).hover()
        assert page.locator(".filter canvas").count() == (3, 64)[panel]
        assert page.evaluate(places) == before
    page.locator(".maps").nth(1).locator("button").nth(2).focus()
    page.keyboard.press("Escape")
    assert page.locator(".field-mark, .filter, .maps [aria-pressed=true]").count() == 0


def test_colours_other_channels_and_other_sizes(open_page, tmp_path, rng):
    for channels, size in ((3, (12, 10)), (1, (8, 8)), (1, (40, 30)), (2, (9, 9))):
        images = rng.integers(0, 256, (40, *size, channels), np.uint8)
        labels = np.arange(40) % 3
        data, statistics = convnet.preprocess(images, labels, images, labels, num_validation=3, num_test=5)
        h, w = data["x_train"].shape[2:]
        conv = Conv2D(channels, 4, 3, padding=1, rng=rng)
        model = Sequential([conv, ReLU(), MaxPool2D(2), Affine(4 * (h // 2) * (w // 2), 3, rng=rng)], (channels, h, w))
        model.statistics = statistics
        model.class_names = ["</script><b>", "two", "three"]
        path = tmp_path / f"{channels}.html"
        webpage.export(model, path, samples=(images, labels))
        page = open_page(path)
        agree(scores_of_images(page, images), model.scores(statistics.apply(images)))
        for index in range(3):
            page.locator("#samples button").nth(index).click()
            pixel_values = np.array(page.evaluate("() => [...samples[sample].image.data]")).reshape(channels, h, w)
            wanted = (
                coloured(page, np.concatenate(pixel_values, axis=1), pixel_values.max())
                if channels == 2
                else np.broadcast_to(pixel_values.transpose(1, 2, 0), (h, w, 3))
            )
            np.testing.assert_allclose(pixels(page, "#image")[0], wanted, atol=1)
            chosen = pixel_values.transpose(1, 2, 0)[np.newaxis].astype(np.uint8)
            check_panels(page, model, statistics.apply(chosen))
        assert page.locator("#field").count() == (channels == 1)
        if channels == 1:
            draw(page, 2)
            assert page.locator("#image").evaluate("(canvas) => [canvas.width, canvas.height]") == [w, h]
        assert page.locator("#bars li span").first.inner_text() == "</script><b>"
        page.locator(".maps button").nth(1).hover()
        assert page.locator(".field-mark").count() in (0, 2 if channels == 2 else 1)


def test_a_page_without_samples_draws_and_complains_of_nothing(open_page, tmp_path, mnist, rng):
    model = Sequential([Affine(784, 100, rng=rng)], (1, 28, 28))
    model.statistics = convnet.preprocess(*mnist, num_test=100)[1]
    webpage.export(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    draw(page, 7)
    assert "%" in page.locator("#verdict").inner_text()
    assert not page.locator("#try").is_visible()


def test_a_sample_chosen_at_once_stays(open_page, page_file):
    page = open_page(page_file)
    draw(page, 3)
    # Chosen before the drawing's frame is due, and looked at after it.
    page.evaluate("""() => {
        field.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp" }));
        document.querySelectorAll("#samples button")[7].click();
    }""")
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
    page.locator("#field").focus()
    page.keyboard.press("ArrowUp")  # moves the pen alone
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
