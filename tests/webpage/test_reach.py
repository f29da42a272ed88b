"""Who reaches what: the keyboard, screen readers, and the policy."""

from pages import settle


def test_the_keyboard_reaches_everything(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "field"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(9):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    settle(page)
    drawn = page.locator("#verdict").inner_text()
    assert drawn.startswith("1, ")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.ariaLabel ?? document.activeElement.textContent"))
    assert {"Undo", "Clear"} <= set(reached)
    assert sum(text.startswith("Example: ") for text in reached if text) >= 10
    assert reached.count("map 1 of 32") == 2
    page.locator(".maps button").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.ariaLabel") == "map 2 of 32"
    assert "Filter 2 of conv1" in page.locator(".detail").first.inner_text()
    columns = page.evaluate(
        "() => getComputedStyle(document.querySelector('.maps')).gridTemplateColumns.split(' ').length"
    )
    for key, reached in (("ArrowDown", 2 + columns), ("ArrowLeft", 1 + columns), ("ArrowUp", 1), ("ArrowUp", 1)):
        page.keyboard.press(key)
        assert page.evaluate("() => document.activeElement.ariaLabel") == f"map {reached} of 32"
    page.locator(".maps button").nth(4).click()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("() => document.activeElement.ariaLabel") == "map 5 of 32"


def test_what_has_the_focus_what_is_chosen_and_what_is_misread_look_different(open_page, page_file):
    page = open_page(page_file)
    look = """(button) => (({ outlineStyle, outlineColor, borderStyle, borderColor, borderWidth }) => [
        outlineStyle, outlineColor, borderStyle, borderColor, borderWidth])(getComputedStyle(button))"""
    for buttons in (page.locator(".maps button"), page.locator("#samples button")):
        plain = buttons.nth(1).evaluate(look)
        buttons.nth(2).click()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        both = buttons.nth(2).evaluate(look)
        page.locator("#field").focus()
        chosen = buttons.nth(2).evaluate(look)
        assert both[0] == "solid"
        assert both[:2] != chosen[:2] == plain[:2]
        assert both[2:] == chosen[2:] != plain[2:]
    assert page.locator("#samples button").last.evaluate(look)[2] == "dashed"


def test_everything_has_a_name_and_what_changes_is_read_out(open_page, page_file):
    page = open_page(page_file)
    page.locator("#samples button").nth(3).click()
    page.locator(".maps button").nth(3).hover()
    nameless = """() => [...document.querySelectorAll("[role=img], [role=group], [role=application], button")]
        .filter((node) => !(node.ariaLabel || node.textContent || node.getAttribute("aria-labelledby")))
        .map((node) => node.outerHTML)"""
    assert page.evaluate(nameless) == []
    # Every picture is one by itself, or part of a picture or of a button.
    bare = """() => [...document.querySelectorAll("canvas")]
        .filter((canvas) => !canvas.closest("[role=img], [role=application], button")).length"""
    assert page.evaluate(bare) == 0
    assert page.evaluate("() => document.documentElement.lang") == "en"
    for place in ("#verdict", "#sample-note", ".detail"):
        assert page.locator(place).first.get_attribute("role") == "status"
    titles = page.evaluate("() => [...document.querySelectorAll('#bars .name')].map(({ title }) => title)")
    assert titles == list("0123456789")
    arrow = "(item) => getComputedStyle(item.querySelector('.percent'), '::after').content"
    marked = [" ◀" in item.evaluate(arrow) for item in page.locator("#bars li").all()]
    assert marked == [label == 3 for label in range(10)]


def test_the_policy_stops_requests(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    script = """async () => {
        const stopped = [];
        document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
        await fetch("https://example.org/").catch(() => null);
        const [image, script, style] = ["img", "script", "style"].map((tag) => document.createElement(tag));
        image.src = "https://example.org/a.png";
        script.textContent = "window.ran = true";
        style.textContent = "body { display: none }";
        document.body.append(image, script, style);
        for (let i = 0; i < 100 && stopped.length < 4; i++) await new Promise((done) => setTimeout(done, 50));
        return [stopped.toSorted(), window.ran ?? false];
    }"""
    assert page.evaluate(script) == [["connect-src", "img-src", "script-src-elem", "style-src-elem"], False]
    page.close()


def test_a_key_held_down_counts_once_and_the_browsers_keys_stay_its_own(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").focus()
    for _ in range(4):
        page.keyboard.down(" ")
    page.keyboard.up(" ")
    assert page.evaluate("() => [strokes.length, pen.down]") == [1, True]
    prevented = """() => {
        const event = new KeyboardEvent("keydown", {key: "ArrowLeft", altKey: true, cancelable: true, bubbles: true});
        document.activeElement.dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    assert not page.evaluate(prevented)
    page.locator(".maps button").first.focus()
    assert not page.evaluate(prevented)


def test_nothing_is_read_out_before_a_stroke_is_done(open_page, page_file):
    page = open_page(page_file)
    busy = "() => ['#verdict', '.detail'].map((name) => document.querySelector(name).ariaBusy)"
    page.locator("#field").focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert page.evaluate(busy) == ["true", "true"]
    page.keyboard.press(" ")
    settle(page)
    assert page.evaluate(busy) == ["false", "false"]
