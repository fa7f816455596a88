"""A deck for each lesson, from the notebook itself: what stands on which slide is computed here.

`python -m lora_lab.pages.slides` writes all decks into build/slides; `02 07` behind it writes two. They show
formulas and turn pages with what `npm ci` has put into docs/node_modules.
"""

import ast
import copy
import re
import shutil
import sys

import nbformat

from lora_lab.pages.handouts import unfolded
from lora_lab.pages.heights import SLIDE, height
from lora_lab.pages.lessons import ROOT, has_tag, is_folded, lesson_paths, read_lesson
from lora_lab.pages.sliders import DRAWN, with_sliders

SLIDES = ROOT / "build" / "slides"
DOCS = ROOT / "docs"
LONG = 24  # lines of code that fit on a slide in the usual size
BLOCKS = re.compile(r"```.*?^```|\$\$.*?\$\$|\S(?:(?!\n\n).)*", re.S | re.M)


# From a lesson to slides


def deck(lesson):
    """The notebook of a deck: the lesson in pieces, with the metadata by which nbconvert makes slides.

    A heading # or ## starts a slide to the right; ###, a solution, what follows a question for the class, and
    what does not fit any more start one below. A thought, which is a text and the code it leads to, is broken
    only if it is higher than a slide.
    """
    cells, used = [], SLIDE
    for start, thought in thoughts(lesson):
        together = sum(map(height, thought))
        if not start and used + together > SLIDE and (together <= SLIDE or used > SLIDE / 2):
            start = "subslide"
        for piece in thought:
            if start or used + height(piece) > SLIDE:
                piece.metadata.slideshow, used = {"slide_type": start or "subslide"}, 0
            start, used = None, used + height(piece)
            cells.append(piece)
    title = lesson.cells[0].source.splitlines()[0].lstrip("# ")
    return nbformat.v4.new_notebook(cells=cells, metadata={**lesson.metadata, "title": title})


def thoughts(lesson):
    """Lists of pieces that belong together, each behind the slide that must start with it, if one must."""
    found = []
    for cell in lesson.cells:
        for number, piece in enumerate(pieces(cell)):
            before = found[-1][1][-1] if found else None
            start = starts_slide(piece) or ("subslide" if before and is_question(before) else None)
            if before and start == "subslide" and starts_slide(before):
                start = None  # a heading does not stand alone
            if start or not found or (cell.cell_type == "markdown" and number == 0):
                found.append((start, []))
            found[-1][1].append(piece)
    return found


def starts_slide(piece):
    """ "slide" or "subslide" if a piece is a heading, else None."""
    level = re.match(r"#+(?= )|\*\*Solution", piece.source) if piece.cell_type == "markdown" else None
    return level and ("slide" if level[0] in ("#", "##") else "subslide")


def is_question(piece):
    """Whether a piece asks the class to predict: the answer is for the next slide."""
    return piece.cell_type == "markdown" and piece.source.startswith("> **Predict")


def pieces(cell):
    """A cell as cells that are not divided further: each block of a text; code, and each of its outputs; or
    code that is folded, with them, as is code that prepares or draws. A check, of nothing yet, is left out.
    """
    if cell.cell_type == "markdown":
        solution = has_tag(cell, "solution")
        text = f"**Solution**\n\n{unfolded(cell.source)}" if solution else cell.source
        blocks = BLOCKS.findall(links_of_decks(text))
        return [nbformat.v4.new_markdown_cell(block.strip()) for block in blocks]
    if has_tag(cell, "check"):
        return []
    if is_folded(cell) or is_preparation(cell.source) or draws(cell):
        return [code_piece(cell.source, cell.outputs, "folded")]
    size = ["small"] if len(cell.source.splitlines()) > LONG else []
    return [code_piece(cell.source, [], *size), *(code_piece("", [output]) for output in cell.outputs)]


def code_piece(source, outputs, *tags):
    """A code cell for the deck's template."""
    return nbformat.v4.new_code_cell(source, outputs=copy.deepcopy(outputs), metadata={"tags": [*tags]})


def is_preparation(source):
    """Whether code begins with imports, which nobody reads on a slide, and not only of the course's own."""
    body = ast.parse(source).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in imports if getattr(node, "module", "").startswith("lora_lab")]
    return body[:1] == imports[:1] and len(ours) < len(imports)


def draws(cell):
    """Whether a cell shows a picture: on a slide the picture is the point."""
    return any("<img" in output.get("data", {}).get("text/html", "") for output in cell.outputs)


def links_of_decks(markdown):
    """A text whose links to lessons and pictures lead to those beside a deck."""
    return re.sub(r"\]\((\d\d_\w+)\.ipynb", r"](\1.html", markdown).replace("](../images/", "](images/")


# From slides to a file


def write_deck(path, folder=SLIDES):
    """Write the deck of the lesson at `path` into `folder`, with the pictures of its sliders beside it."""
    from nbconvert import SlidesExporter

    lesson = with_sliders(read_lesson(path), DRAWN / path.stem, f"sliders/{path.stem}")
    looks = {"template_name": "deck", "extra_template_basedirs": [str(DOCS)], "exclude_output_prompt": True}
    exporter = SlidesExporter(**looks)
    page, _ = exporter.from_notebook_node(deck(lesson))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")
    if (DRAWN / path.stem).exists():
        shutil.copytree(DRAWN / path.stem, folder / "sliders" / path.stem, dirs_exist_ok=True)


def copy_what_decks_load(folder=SLIDES):
    """Copy what all decks show and are shown with into `folder`. FileNotFoundError, before that, if npm has
    not fetched it.
    """
    fetched = DOCS / "node_modules"
    if not fetched.exists():
        raise FileNotFoundError(f"{fetched} is missing: `make slides` fetches it, with `npm ci` in {DOCS}")
    for name in ("reveal.css", "reveal.js"):
        copy_file(fetched / "reveal.js" / "dist" / name, folder / "reveal.js" / "dist" / name)
    copy_file(fetched / "mathjax" / "es5" / "tex-svg-full.js", folder / "mathjax" / "tex-svg-full.js")
    for picture in (ROOT / "images").glob("figure_*.png"):
        copy_file(picture, folder / "images" / picture.name)
    copy_file(DOCS / "deck" / "deck.css", folder / "deck.css")
    copy_file(DOCS / "_static" / "sliders.js", folder / "sliders.js")


def copy_file(source, target):
    """Copy a file to a place whose folders need not be there yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


if __name__ == "__main__":
    lessons = lesson_paths(sys.argv[1:])
    copy_what_decks_load()
    for lesson_path in lessons:
        write_deck(lesson_path)
    print(f"{len(lessons)} decks are in {SLIDES}")
