"""The pages for teachers: every lesson has one of the same form, its minutes add up, its links lead
somewhere, and what it quotes is what the lesson prints.
"""

import re
from urllib.parse import unquote

import pytest
from notebook_rules import NOTEBOOKS, ROOT, anchors, output_texts, outputs, read

TEACHING = ROOT / "docs" / "teaching"
PAGES = sorted(TEACHING.glob("[0-9]*.md"))
PARTS = [
    "45 minutes",
    "Ask before you show",
    "Wrong answers, and what to ask back",
    "On the board",
    "Cut",
    "The machine",
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def parts(page):
    """{heading: text} of the parts of a page."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r"^## ([^\n]+)\n(.+?)(?=^## |\Z)", text, re.M | re.S))


def minutes(text):
    """The first column of the tables in a text."""
    return [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)]


def test_every_lesson_has_a_page_of_the_same_parts():
    assert [page.stem for page in PAGES] == [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    for page in PAGES:
        assert list(parts(page)) == PARTS, page.name
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 60, page.name


@each_page
def test_a_period_has_45_minutes_and_an_exercise(page):
    timetable = parts(page)["45 minutes"]
    assert sum(minutes(timetable)) == 45 and min(minutes(timetable)) >= 3
    assert re.search(r"exercise|questions", timetable)


def test_the_plans_add_up():
    plans = parts(TEACHING / "plans.md")
    assert list(plans) == ["90 minutes", "Half a day", "Four weeks", "A term"]
    assert sum(minutes(plans["90 minutes"])) == 90
    assert sum(minutes(plans["Half a day"])) == int(re.match(r"\s*(\d+) minutes", plans["Half a day"])[1])
    sessions = re.findall(r"^\| \d \|.*?\|(.*?)\|", plans["Four weeks"], re.M)
    assert [sum(map(int, re.findall(r"\b(\d+) (?:minutes )?of \[", session))) for session in sessions] == [
        90
    ] * 4
    assert minutes(plans["A term"]) == list(range(1, 15))


@pytest.mark.parametrize(
    "page", [*PAGES, TEACHING / "plans.md", TEACHING / "README.md"], ids=lambda page: page.stem
)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".ipynb":
            assert anchor in anchors(read(target)), link
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in [heading.replace(" ", "-") for heading in headings], link


@each_page
def test_what_a_page_quotes_is_what_the_lesson_prints(page):
    lesson = read(NOTEBOOKS / f"{page.stem}.ipynb")
    printed = " ".join(text for _, output in outputs(lesson) for text in output_texts(output).values())
    source = " ".join(cell.source for cell in lesson.cells)
    known = " ".join(f"{printed} {source}".split())
    quotes = re.findall(r"`([^`]+)`", parts(page)["Ask before you show"])
    assert len(quotes) >= 1
    for quote in quotes:
        assert " ".join(quote.split()) in known, quote
