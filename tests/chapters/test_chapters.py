"""The chapters of the course: each runs, and has its exercises with their answers, and its ten questions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "docs" / "chapters").glob("[0-9]*.py"))
LAST = ["Exercises", "Where this lies in the library"]
LONGEST = 120  # seconds

pytestmark = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


def headings(chapter):
    """Return the headings of a chapter, and the text under each of them."""
    parts = re.split(r"^# (.+)\n# -{3,}\n", chapter.read_text("utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_chapters_are_numbered(chapter):
    number = CHAPTERS.index(chapter) + 1
    assert chapter.stem.startswith(f"{number:02}_")
    assert re.search(rf'^r?"""\n{number}\. .+\n=+$', chapter.read_text("utf-8"), re.M)


def test_the_last_headings_are_exercises_and_the_library(chapter):
    assert list(headings(chapter))[-2:] == LAST


def test_each_exercise_has_an_answer_that_is_tested(chapter):
    text = headings(chapter)["Exercises"]
    numbers = [int(number) for number in re.findall(r"^# (\d+)\. ", text, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 3 <= len(numbers) <= 6
    answers = Path("tests", "chapters", f"test_{chapter.stem}.py")
    assert answers.as_posix() in text
    tests = re.findall(r"^def test_", (ROOT / answers).read_text("utf-8"), re.M)
    assert len(tests) >= len(numbers)


def test_there_are_ten_questions_that_the_chapter_answers(chapter):
    text = Path(__file__).with_name("questions").joinpath(f"{chapter.stem[:2]}.md").read_text("utf-8")
    parts = re.split(r"^(\d+)\. \*\*", text, flags=re.M)
    assert [int(number) for number in parts[1::2]] == list(range(1, 11))
    known = {heading.replace("``", "").replace("`", "") for heading in headings(chapter)}
    for number, question in zip(parts[1::2], parts[2::2], strict=True):
        found = re.search(r"\*\*\n +- Answer: .+\n +- Right if: .+\n +- Section: (.+)\n*\Z", question, re.S)
        assert found, f"question {number} lacks its answer, what is right, or its section"
        sections = {" ".join(section.replace("`", "").split()) for section in found[1].split(";")}
        assert sections <= known, f"question {number}: {sections - known}"


@pytest.mark.slow
def test_the_chapter_runs(chapter, tmp_path):
    command = [sys.executable, "-W", "error", chapter]
    environment = os.environ | {"MPLBACKEND": "agg"}  # no window
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not list(tmp_path.iterdir()), "a chapter leaves files in the reader's folder"
