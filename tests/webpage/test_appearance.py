"""The page's looks: contrast, colours, screens."""

import pytest
from pages import draw, pictures, settle

from convnet import Affine, Sequential, webpage


def test_the_winner_of_many_classes_is_scrolled_to(open_page, tmp_path, rng):
    model = Sequential([Affine(5, 200, rng=rng)], (5,))
    model.params["affine1.bias"][150] = 99
    webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((3, 5)), [150, 150, 150]))
    page = open_page(tmp_path / "page.html")
    assert page.evaluate("() => element('bars').tabIndex") == 0  # so that the keyboard can scroll it
    top, bottom = page.evaluate(
        "() => { const { top } = element('bars').getBoundingClientRect(); const row = bars[150].percent"
        ".getBoundingClientRect(); return [row.top - top, row.bottom - top]; }"
    )
    assert 0 < top < bottom < page.evaluate("() => element('bars').clientHeight")


def test_the_whole_field_and_the_maps_are_seen_on_low_screens_and_with_large_text(open_page, page_file):
    page = open_page(page_file)
    for width, height in ((667, 375), (640, 450), (390, 700)):
        page.set_viewport_size({"width": width, "height": height})
        box = page.locator("#field").bounding_box()
        assert box["height"] == box["width"] <= 0.75 * height
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    page.locator("#samples button").nth(3).click()
    page.locator(".maps button").nth(11).click()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert page.locator(".detail").first.bounding_box()["height"] <= 0.46 * 740


def test_marks_keep_their_colours_where_others_are_forced(open_page, page_file):
    page = open_page(page_file, forced_colors="active", color_scheme="light")
    page.locator("#samples button").nth(3).click()
    page.locator(".maps button").nth(3).hover()
    assert page.locator(".field-mark").evaluate("(mark) => getComputedStyle(mark).borderTopColor") == "rgb(179, 38, 30)"


# Text on its ground; WCAG 2.2 asks for 4.5, and for 3 of what is no text.
CONTRAST = """() => {
    const luminance = (name) => {
        const parts = colour(name).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ratio = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    return {
        text: ["--text", "--quiet", "--mark"].flatMap((name) => ["--ground", "--panel"].map((on) => ratio(name, on))),
        other: ["--bar", "--focus", "--ink", "--least", "--line"].map((name) => ratio(name, "--ground")),
        borders: ratio("--line", "--panel"),
    };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_contrast(open_page, page_file, scheme):
    page = open_page(page_file, color_scheme=scheme)
    found = page.evaluate(CONTRAST)
    assert min(found["text"]) >= 4.5
    assert min(*found["other"], found["borders"]) >= 3
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_follows_the_system_from_light_to_dark(open_page, page_file):
    page = open_page(page_file, color_scheme="light")
    draw(page, 3)
    ground = """() => [...document.querySelectorAll(".maps canvas")].map((canvas) =>
        context_of(canvas).getImageData(0, 0, 1, 1).data[0])"""
    light = pictures(page)
    assert 0xFF in page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert set(page.evaluate(ground)) >= {0x14}
    assert not {0xFF} & set(page.evaluate(ground))
    page.emulate_media(color_scheme="light")
    settle(page)
    assert pictures(page) == light


def test_fits_the_width_of_the_screen(open_page, page_file):
    page = open_page(page_file)
    page.locator("#samples button").first.click()
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_nothing_is_shown_as_seen_before_one_draws(open_page, page_file):
    page = open_page(page_file)
    assert page.locator("#image").is_hidden()
    box = page.locator("#seen").bounding_box()
    draw(page, 3)
    assert page.locator("#image").is_visible()
    assert page.locator("#seen").bounding_box() == box  # nothing moves
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#image").is_hidden()


def test_the_answer_is_in_sight_of_the_field_on_a_phone(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    draw(page, 3)
    last = page.locator("#bars .percent").last.bounding_box()
    assert last["y"] + last["height"] <= 844
    assert page.locator("#field").bounding_box()["width"] >= 200


def test_two_columns_fill_the_page_where_nothing_can_be_drawn(open_page, tmp_path, rng):
    model = Sequential([Affine(3 * 8 * 8, 2, rng=rng)], (3, 8, 8))
    webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((3, 3, 8, 8)), [0, 1, 1]))
    page = open_page(tmp_path / "page.html", viewport={"width": 1200, "height": 800})
    main, right = (page.locator(name).bounding_box() for name in ("main", "#input"))
    assert right["x"] + right["width"] == pytest.approx(main["x"] + main["width"], abs=1)
