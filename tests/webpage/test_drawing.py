"""Drawing on the page: mouse, fingers and keyboard."""

import numpy as np
from cases import STROKES
from pages import check_panels, draw, pictures, pixels, settle

import convnet


def test_drawn_digits_are_read_and_every_panel_follows(open_page, page_file, convnet1):
    page = open_page(page_file)
    assert page.locator("#verdict").inner_text() == "Draw, or choose an example."
    assert page.locator("#image").get_attribute("aria-label") == "Nothing yet"
    right = 0
    for digit in (0, 2, 3, 4, 5, 7):
        if not page.locator("#clear").is_disabled():
            page.locator("#clear").click()
        settle(page)
        draw(page, digit)
        right += page.locator("#verdict").inner_text().startswith(f"{digit}, ")
        (image,) = pixels(page, "#image")
        drawn = page.evaluate("() => { const { shape, data } = bitmap(); return [shape, [...data]]; }")
        prepared = convnet.prepare_digit(np.array(drawn[1], np.uint8).reshape(drawn[0]))
        np.testing.assert_allclose(image, np.stack([prepared] * 3, axis=-1), atol=1)
        check_panels(page, convnet1, convnet1.statistics.apply(image[np.newaxis, :, :, 0].astype(np.uint8)))
    assert right >= 5
    assert page.locator("#image").get_attribute("aria-label") == "The example as the network gets it, 1 by 28 by 28"
    assert page.locator("#bars .winner").count() == 1


def test_the_field_shows_the_ink(open_page, page_file):
    page = open_page(page_file)
    page.evaluate("() => { strokes = [[[100, 50], [100, 150]], [[200, 100]]]; update(); }")
    alpha = "([x, y]) => context_of(field).getImageData(x, y, 1, 1).data[3]"
    for x, y in ((100, 100), (200, 100)):
        found = [page.evaluate(alpha, [x + dx, y]) for dx in (-13, -8, 0, 8, 13)]
        assert found == [0, 255, 255, 255, 0]
    assert [page.evaluate(alpha, [100, y]) for y in (37, 42, 158, 163)] == [0, 255, 255, 0]


def test_a_tap_leaves_a_dot(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").click()
    settle(page)
    assert page.locator("#verdict").inner_text() != "Draw, or choose an example."
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == "Draw, or choose an example."
    page.keyboard.press(" ")
    settle(page)
    assert page.locator("#verdict").inner_text() != "Draw, or choose an example."


def test_undo_within_a_stroke_ends_it(open_page, page_file):
    page = open_page(page_file)
    box = page.locator("#field").bounding_box()
    for x in (60, 120):
        page.mouse.move(box["x"] + x, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + x, box["y"] + 150, steps=4)
        if x == 60:
            page.mouse.up()
    before = page.evaluate("() => strokes[0].length")
    page.keyboard.press("Control+z")
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [before]
    page.locator("#field").focus()
    for key in (" ", "ArrowLeft", "Control+z", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [before]
    assert not page.evaluate("() => pen.down")


def test_undo_and_clear(open_page, page_file):
    page = open_page(page_file)
    blank = pictures(page)
    assert page.locator("#undo").is_disabled()
    draw(page, 4)
    both = pictures(page)
    page.locator("#undo").click()
    settle(page)
    page.mouse.move(0, 0)
    assert pictures(page) not in (blank, both)
    page.locator("#clear").click()
    settle(page)
    assert pictures(page) == blank
    assert page.locator("#clear").is_disabled()


def test_fingers_draw(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    script = """(points) => {
        const field = document.getElementById("field");
        const box = field.getBoundingClientRect();
        field.setPointerCapture = () => {};  // there is no such finger to capture
        points.forEach(([x, y], i) => field.dispatchEvent(new PointerEvent(i ? "pointermove" : "pointerdown", {
            pointerId: 7, pointerType: "touch", clientX: box.left + x * box.width, clientY: box.top + y * box.height,
        })));
        field.dispatchEvent(new PointerEvent("pointerup", { pointerId: 7, pointerType: "touch" }));
    }"""
    page.evaluate(script, STROKES[7][0])
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("() => getComputedStyle(field).touchAction") == "none"


def test_another_finger_does_not_draw_and_a_stroke_can_be_cancelled(open_page, page_file):
    page = open_page(page_file)
    script = """([name, pointerId, x, y]) => {
        field.setPointerCapture = () => {};  // there is no such finger to capture
        const box = field.getBoundingClientRect();
        const place = { clientX: box.left + x, clientY: box.top + y };
        field.dispatchEvent(new PointerEvent(name, { pointerId, pointerType: "touch", ...place }));
        return strokes.map((stroke) => stroke.length);
    }"""
    events = [
        (("pointerdown", 7, 40, 40), [1]),
        (("pointermove", 7, 40, 60), [2]),
        (("pointerdown", 8, 90, 90), [2]),
        (("pointermove", 8, 90, 99), [2]),
        (("pointerup", 8, 90, 99), [2]),
        (("pointermove", 7, 40, 80), [3]),
        (("pointercancel", 7, 40, 80), [3]),
        (("pointermove", 7, 40, 99), [3]),
        (("pointerdown", 8, 90, 90), [3, 1]),
    ]
    for event, expected in events:
        assert page.evaluate(script, event) == expected


def test_a_stroke_goes_on_outside_the_field_and_takes_all_points_of_a_frame(open_page, page_file):
    page = open_page(page_file)
    box = page.locator("#field").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] - 10, box["y"] + 50)
    page.mouse.move(box["x"] + 50, box["y"] + 90)
    script = """() => {
        const [first, second] = [5, 9].map((clientX) => new PointerEvent("pointermove", { clientX }));
        field.dispatchEvent(new PointerEvent("pointermove", {
            pointerId: drawing_pointer, coalescedEvents: [first, second] }));
        return strokes.map((stroke) => stroke.length);
    }"""
    assert page.evaluate(script) == [5]
    page.keyboard.press(" ")  # the keyboard's pen stays where it is meanwhile
    page.keyboard.press("ArrowLeft")
    page.mouse.up()
    settle(page)
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [5]
    assert page.locator("#verdict").get_attribute("aria-busy") == "false"


def test_the_right_button_does_not_draw(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").click(button="right")
    assert page.evaluate("() => strokes.length") == 0


def test_the_keyboards_pen_is_seen_and_stays_in_the_field(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").focus()
    pictures = []
    for keys in ([], ["ArrowDown"], [" "], ["Shift+ArrowLeft"] * 12, ["Shift+ArrowUp"] * 12, [" "]):
        for key in keys:
            page.keyboard.press(key)
        settle(page)
        pictures.append(page.evaluate("() => field.toDataURL()"))
    assert len(set(pictures)) == len(pictures)  # lifted, it is drawn otherwise than down
    assert page.evaluate("() => [pen.x, pen.y]") == [8, 8]


def test_the_pen_is_lifted_where_the_field_loses_the_focus(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => [pen.down, pen.shown]") == [True, True]
    settle(page)
    page.locator("#clear").focus()
    assert page.evaluate("() => [pen.down, pen.shown]") == [False, False]
    settle(page)
    assert page.locator("#verdict").get_attribute("aria-busy") == "false"
    page.locator("#field").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [2]


def test_too_much_ink_is_said(open_page, page_file):
    page = open_page(page_file)
    page.evaluate("() => { strokes = [...Array(40).keys()].map((i) => [[0, 7 * i], [256, 7 * i]]); update(); }")
    assert page.locator("#verdict").inner_text() == "Nothing stands out: there is too much ink."


def test_ctrl_z_undoes_and_the_keyboard_stays_in_the_field(open_page, page_file):
    page = open_page(page_file)
    draw(page, 4)
    page.keyboard.press("Control+z")
    settle(page)
    assert page.evaluate("() => strokes.length") == 1
    page.locator("#clear").click()
    settle(page)
    assert page.evaluate("() => document.activeElement.id") == "field"
    assert page.locator("#verdict").inner_text() == "Draw, or choose an example."
