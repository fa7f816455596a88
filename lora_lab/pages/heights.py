"""How high a piece of a lesson is on a slide, estimated from its text by the sizes in docs/deck/deck.css.

Estimates are on the high side: a slide with some room left is better than a slide that is cut.
"""

import base64
import io
import re
from math import ceil

from PIL import Image

from lora_lab.pages.lessons import ROOT

SLIDE = 680  # of 720 pixels, without the padding
WIDTH = 1200
LINE, LETTERS = 34, 88  # a line of text, and how many letters it takes
CODE_LINE, CODE_LETTERS = 23, 112
TABLE_LINE, TABLE_LETTERS = 22, 120
PICTURE = 520  # no picture is higher
FOLDED = 36  # the word "code"
SHOWN = 0.76  # of a text that a cell shows, beside one that is written: its letters are smaller


def height(piece):
    """The height of a markdown cell of one block, or of a code cell, in pixels."""
    if piece.cell_type == "markdown":
        return block_height(piece.source)
    tags = piece.metadata.get("tags", [])
    if not piece.source:
        code = 0
    elif "folded" in tags:
        code = FOLDED
    else:
        code = (19 if "small" in tags else CODE_LINE) * line_count(piece.source, CODE_LETTERS) + 16
    return code + sum(map(output_height, piece.outputs)) + 12


def block_height(text):
    """The height of one block of markdown: a heading, table, formula, picture, quotation, list or text."""
    if text.startswith("#"):
        level = min(len(text) - len(text.lstrip("#")), 3)
        return {1: 210, 2: 60, 3: 47}[level] + {1: 65, 2: 46, 3: 35}[level] * (line_count(text, 60) - 1)
    if text.startswith("```"):
        return CODE_LINE * line_count(text, CODE_LETTERS)
    if text.startswith("$$"):
        return 60 + 44 * len(re.findall(r"\\\\|\\frac|\\sum|\\underbrace|\\begin", text)) + 14
    if text.startswith("!["):
        return picture_height(Image.open(ROOT / "images" / re.search(r"/([^/)]+\.png)", text)[1]).size) + 14
    if text.startswith("|"):
        return 20 + sum(
            TABLE_LINE * line_count(seen_text(row), TABLE_LETTERS) + 11 for row in text.splitlines()
        )
    if text.startswith(">"):
        return 24 + block_height(text.removeprefix("> "))
    return LINE * sum(ceil(len(seen_text(line)) / LETTERS) for line in text.splitlines()) + 14


def output_height(output):
    """The height of one output of a cell."""
    data = output.get("data", {})
    shown = data.get("text/html", "")
    drawn = re.search(r'width: (\d+)px.* src="data:image/png;base64,([^"]*)"', shown)
    if drawn:
        width, ratio = int(drawn[1]), png_size(drawn[2])
        return picture_height((width, width * ratio[1] / ratio[0])) + 8
    moved = re.search(r'width="(\d+)" height="(\d+)"', shown)
    if moved:
        return picture_height((int(moved[1]), int(moved[2]))) + 36 * shown.count("<label>") + 8
    if "text/markdown" in data:
        blocks = re.split(r"\n\n+", data["text/markdown"].strip())
        return sum(42 if block.startswith("#") else SHOWN * block_height(block) for block in blocks) + 8
    return CODE_LINE * line_count(output.get("text") or data.get("text/plain", ""), CODE_LETTERS) + 8


def png_size(base64_text):
    """(width, height) of a PNG."""
    return Image.open(io.BytesIO(base64.b64decode(base64_text))).size


def picture_height(size):
    """The height at which a picture of `size` (width, height) is shown."""
    return min(PICTURE, size[1] * min(1, WIDTH / size[0]))


def line_count(text, letters):
    """How many lines a text takes if `letters` fit into one."""
    return sum(max(1, ceil(len(line) / letters)) for line in text.rstrip("\n").split("\n"))


def seen_text(markdown):
    """What is seen of a line: no addresses of links, and about a letter for each command of a formula."""
    text = re.sub(r"\]\([^)]*\)", "", markdown)
    return re.sub(r"\\[a-zA-Z]+", "x", text).translate(str.maketrans("", "", "{}$*`[\\"))
