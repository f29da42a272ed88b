"""Tables as text and as HTML."""

from html.parser import HTMLParser

import numpy as np
import pytest
from cases import image_solver, small_data

from convnet import ConvNet1, preprocess
from convnet.core.tables import Table


class Cells(HTMLParser):
    """Reads the rows of a page's one table, and all of its tags and text."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.tags, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1] and self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def cells_of(thing):
    page = thing._repr_html_()
    assert "color" not in page  # a fixed colour would be lost on a dark or on a light page
    return Cells(page)


def test_text_and_html_have_the_same_cells():
    table = Table([("name", "count"), ("  a", "1,000"), ("<b>bold</b> & co", "2")], "<>", "Title <i>", "Note </div>")
    lines = str(table).splitlines()
    assert lines == [
        "Title <i>",
        "name              count",
        "  a               1,000",
        "<b>bold</b> & co      2",
        "Note </div>",
    ]
    found = cells_of(table)
    assert found.rows == [list(row) for row in table.rows]
    assert set(found.tags) == {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert found.text.startswith("Title <i>")
    assert found.text.endswith("Note </div>")


def test_a_table_of_a_head_alone():
    table = Table([("a", "b")], "<>")
    assert str(table) == "a  b"
    assert cells_of(table).rows == [["a", "b"]]


def test_a_model_is_its_summary():
    model = ConvNet1((1, 8, 8), num_classes=2, num_filters=3, hidden_size=4)
    model.class_names = ["<script>alert(1)</script>", "b & c"]
    found = cells_of(model)
    lines = model.summary().splitlines()
    assert ["".join("".join(row).split()) for row in found.rows] == ["".join(line.split()) for line in lines]
    assert "script" not in found.tags
    assert found.text.endswith("classes: <script>alert(1)</script>, b & c")


@pytest.mark.parametrize("make", [lambda plan: plan, lambda plan: plan.profile(np.zeros((2, 1, 8, 8)), seconds=0.01)])
def test_plan_and_profile_are_their_text(make):
    thing = make(ConvNet1((1, 8, 8), num_classes=2, num_filters=3, hidden_size=4).plan())
    found, text = cells_of(thing), str(thing)
    assert len(found.rows) >= 4
    for row in found.rows:
        assert "".join("".join(row).split()) in "".join(text.split())
    assert text.splitlines()[0] in found.text


def test_statistics_say_what_they_do():
    _, statistics = preprocess(*small_data(3), num_validation=4, num_test=None)
    rows = dict(cells_of(statistics).rows[1:])
    assert rows["shape"] == "(3, 5, 7)"
    assert rows["divided by 255"] == "yes"
    assert rows["mean, subtracted"].startswith("an image, from ")
    assert float(rows["standard deviation, divided by"]) == pytest.approx(float(statistics.std), rel=1e-3)
    assert rows["made of files by"] == "-"


@pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")
def test_a_solver_is_its_last_checks(rng):
    solver = image_solver(rng, 12)
    found = cells_of(solver)
    assert len(found.rows) == 1
    assert "0 of 12 epochs, 0 of 36 iterations" in found.text
    solver.epochs = 1
    solver.train()
    initial, first = cells_of(solver).rows[1:]
    assert initial[:2] == ["0", "-"]
    assert first[:2] == ["1", f"{np.mean(solver.loss_history):.4f}"]
    solver.epochs = 12
    solver.train()
    head, *rows = cells_of(solver).rows
    assert head == ["epoch", "loss", "training accuracy", "validation accuracy", "validation loss", ""]
    assert [int(row[0]) for row in rows] == list(range(3, 13))
    assert rows[-1][2] == f"{solver.train_accuracy_history[-1]:.2%}"
    assert rows[-1][4] == f"{solver.validation_loss_history[-1]:.4f}"
    best = [int(row[0]) for row in rows if row[-1] == "best"]
    assert best in ([solver.state.best_check], [])
    assert "The last 10 of 13 checks" in cells_of(solver).text
    assert [row.split() for row in str(solver).splitlines() if row.lstrip()[:1].isdigit()] == [
        [part for cell in row for part in cell.split()] for row in rows
    ]
