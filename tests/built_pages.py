"""What `make site`, `make slides` and `make handouts` give, in files and in a browser: `make pages-test` runs
this. Of sliders it draws only those of one lesson.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import NOT_SET, RAW, browser, serious_findings, watch  # noqa: F401
from notebook_rules import ROOT, contents, drawn_pictures, its_links_lead_somewhere, outputs, read

from lora_lab.pages.handouts import write_handouts
from lora_lab.pages.lessons import has_tag, is_folded, lesson_paths
from lora_lab.pages.sliders import DRAWN, run_and_draw
from lora_lab.pages.slides import copy_what_decks_load, write_deck

PATHS = lesson_paths()
each_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


LOADS = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page at `path` loads, links to and holds."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.ids, self.alts, self.counts = [], [], {""}, [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Called by `feed` for every tag."""
        found = {name: value or "" for name, value in attributes}
        self.ids.add(found.get("id", ""))
        for name in (tag, *(f"{tag}.{kind}" for kind in found.get("class", "").split())):
            self.counts[name] = self.counts.get(name, 0) + 1
        if tag == "a":
            self.links.append(unquote(found.get("href", "")))
        elif found.get(LOADS.get(tag)) and found.get("rel") not in (
            "canonical",
            "index",
            "search",
            "next",
            "prev",
        ):
            self.loads.append(unquote(found[LOADS[tag]]))
        if tag == "img":
            self.alts.append(found.get("alt"))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of a site that was built just now, without a warning."""
    run_and_draw(PATHS[2])
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        "docs",
        "-d",
        folder / "trees",
        ".",
    ]
    built = subprocess.run([*command, folder / "site"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "site"


@pytest.fixture(scope="session")
def decks(tmp_path_factory):
    """The folder of all decks, built just now."""
    folder = tmp_path_factory.mktemp("slides")
    run_and_draw(PATHS[2])
    copy_what_decks_load(folder)
    for path in PATHS:
        write_deck(path, folder)
    return folder


# The site


@each_lesson
def test_a_page_shows_the_figures_and_folds_of_its_lesson(site, path):
    lesson, page = read(path), Page(site / "notebooks" / f"{path.stem}.html")
    figures = [alt for _, output in outputs(lesson) for alt, _ in drawn_pictures(output)]
    assert [alt for alt in page.alts if alt in figures] == figures and all(page.alts)
    assert page.counts.get("details.hide", 0) == sum(map(is_folded, lesson.cells))
    assert page.counts.get("details", 0) - page.counts.get("details.hide", 0) >= contents(lesson)["exercises"]
    assert page.counts.get("a.from-lora-lab", 0) >= 1
    if path == PATHS[2]:
        assert page.counts["div.slider"] == contents(lesson)["sliders"] == 2


def test_a_page_loads_nothing_from_the_web_and_every_link_leads_somewhere(site):
    """But for decks, which may have been built beside it."""
    pages = {path: Page(path) for path in site.rglob("*.html") if path.parent.name != "slides"}
    assert len(pages) > 50
    faults = []
    for path, page in pages.items():
        for place in page.loads + page.links:
            if re.match(r"data:|mailto:", place) or (place in page.links and re.match(r"https?:", place)):
                continue
            file, _, anchor = place.partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                target in pages and place in page.links and anchor not in pages[target].ids
            ):
                faults.append(f"{path.relative_to(site)}: {place}")
    assert not faults, "\n".join(faults)


def test_the_search_finds_words_of_prose_and_names(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    assert all(word in index for word in ("eckart", "landscap", "truncate_svd"))


# Handouts


def test_handouts_hold_no_solution_and_their_links_work(tmp_path):
    folder = write_handouts(PATHS, tmp_path)
    assert {path.name for path in folder.glob("notebooks/*.ipynb")} == {path.name for path in PATHS}
    for path in PATHS:
        copy = read(folder / "notebooks" / path.name)
        assert not any(has_tag(cell, "solution") or cell.get("outputs") for cell in copy.cells)
        assert not list(its_links_lead_somewhere(copy, folder / "notebooks"))
    assert len(read(folder / "answers.ipynb").cells) > 100


# In a browser, from the disk


@pytest.fixture
def opened(browser):  # noqa: F811
    """A function that opens a file, waits for its formulas, and afterwards finds no error and no request."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    faults = watch(page)

    def open_file(path):
        page.goto(Path(path).as_uri())
        page.evaluate("window.MathJax?.startup.promise.then(() => null)")
        return page

    yield open_file
    page.close()
    assert not faults


@each_lesson
def test_a_page_can_be_read_by_everyone_and_its_sliders_move_by_the_keyboard(site, opened, path):
    page = opened(site / "notebooks" / f"{path.stem}.html")
    assert page.locator("mjx-container").count() > 0 or "$" not in str(read(path))
    assert page.locator(NOT_SET).count() == 0
    assert page.evaluate(RAW, "article") == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if (DRAWN / path.stem / "index.json").exists():
        assert page.locator(".slider").count() == contents(read(path))["sliders"]
    for place in range(page.locator(".slider").count()):
        slider = page.locator(".slider").nth(place)
        for control in slider.locator("input").all():
            before = slider.locator("img").get_attribute("src")
            at_end = control.input_value() == control.get_attribute("max")
            control.press("ArrowLeft" if at_end else "ArrowRight")
            assert slider.locator("img").get_attribute("src") != before
    found = serious_findings(page, ["article"])
    assert not found, "\n".join(found)


def test_a_slider_moves_by_the_keyboard(site, opened):
    page = opened(site / "notebooks" / "02_svd.html")
    slider, image = page.locator(".slider input").first, page.locator(".slider img").first
    before = image.get_attribute("src"), image.get_attribute("alt")
    slider.press("ArrowRight")
    assert image.get_attribute("src") != before[0] and image.get_attribute("alt") != before[1]
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert page.locator(".slider output").first.inner_text() == slider.get_attribute("aria-valuetext") == "2"


def test_formulas_are_set_and_the_search_answers(site, opened):
    page = opened(site / "notebooks" / "02_svd.html")
    assert page.locator("mjx-container").count() > 100
    assert page.locator(NOT_SET).count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".sidebar-search").fill("eckart")
    page.locator(".sidebar-search").press("Enter")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li").count() >= 3


OVERFLOW = """async () => {
  const found = [];
  for (const slide of Reveal.getSlides()) {
    const { h, v } = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const box = document.querySelector(".slides").getBoundingClientRect(), scale = Reveal.getScale();
    for (const part of slide.querySelectorAll("*")) {
      if (part.closest("details > div, mjx-assistive-mml")) continue;
      const { right, bottom, width } = part.getBoundingClientRect();
      if (width && ((right - box.left) / scale > 1280 || (bottom - box.top) / scale > 720))
        found.push(`${h}/${v}: ${part.tagName} ${part.textContent.slice(0, 60)}`);
    }
  }
  return found;
}"""


@each_lesson
def test_no_slide_overflows(decks, opened, path):
    page = opened(decks / f"{path.stem}.html")
    assert page.evaluate("Reveal.getTotalSlides()") >= 15
    assert page.evaluate(OVERFLOW) == []
    assert page.locator(NOT_SET).count() == 0


def test_a_deck_has_sliders_and_code_that_unfolds_over_the_slide(decks, opened):
    page = opened(decks / "02_svd.html")
    place = page.evaluate(
        "(() => { const { h, v } = Reveal.getIndices(document.querySelector('.slider').closest('section'));"
        " Reveal.slide(h, v); return [h, v]; })()"
    )
    image = page.locator(".slider img").first
    before = image.get_attribute("src"), image.bounding_box()
    page.locator(".slider input").first.press("ArrowRight")
    assert image.get_attribute("src") != before[0]
    assert page.evaluate("[Reveal.getIndices().h, Reveal.getIndices().v]") == place, "the key turned the page"
    page.locator("section.present:not(.stack) details summary").first.click()
    assert image.bounding_box() == before[1]
