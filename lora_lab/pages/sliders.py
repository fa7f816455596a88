"""Sliders for a page, where no kernel runs: every picture that one can show is drawn beforehand.

`python -m lora_lab.pages.sliders` draws those of all lessons into build/drawn/sliders; with `02 07` behind,
of two. Each lesson is run for it from top to bottom, and again only when it or lora_lab has changed.
"""

import base64
import hashlib
import html
import io
import json
import re
import sys
import time
from pathlib import Path

from PIL import Image

from lora_lab.drawing.explorer import Explorer
from lora_lab.pages.lessons import ROOT, WIDGET, has_slider, lesson_paths, read_lesson

DRAWN = ROOT / "build" / "drawn" / "sliders"
MOST = 60  # pictures of a lesson
SECONDS_PER_CELL = 600
IMAGE = re.compile(r'<img alt="(?P<alt>[^"]*)" .*src="data:image/png;base64,(?P<png>[^"]*)">')
LAST_CELL = "from lora_lab.pages.sliders import draw_sliders\ndraw_sliders(list(_oh.values()), {folder!r})"


# Which pictures


def shares(lengths, most):
    """How many positions each control gets of `most` in all: an equal share, or all that it has."""
    given = {}
    for control in sorted(range(len(lengths)), key=lambda control: lengths[control]):
        left = (most - sum(given.values())) // (len(lengths) - len(given))
        given[control] = min(lengths[control], left)
    return [given[control] for control in range(len(lengths))]


def chosen_positions(length, start, most):
    """At most `most` of `length` positions, in order: both ends, `start`, and others evenly between.
    ValueError if there is no room for these three.
    """
    if most < min(length, 3):
        raise ValueError(f"both ends of a slider and its saved setting are 3 pictures, not {most}")
    steps = min(length, most) - 1
    places = [step * (length - 1) // max(steps, 1) for step in range(steps + 1)]
    if start not in places:
        places[min(range(1, steps), key=lambda step: abs(places[step] - start))] = start
    return places


# Drawing them, in the kernel of a lesson that has run


def draw_sliders(values, folder, most=MOST):
    """Write into `folder` what each `Explorer` among `values` can show, and a list of them into index.json:
    {control: {"saved": place of the saved setting, "frames": [{"value", "file", "alt"}]}}. One control moves,
    the others stay at their saved settings.
    """
    for old in Path(folder).glob("*.png"):
        old.unlink()
    explorers = [value for value in values if isinstance(value, Explorer)]
    lengths = [len(slider.options) for explorer in explorers for slider in explorer.sliders.values()]
    given, index = iter(shares(lengths, most)), []
    for number, explorer in enumerate(explorers):
        saved = {name: slider.index for name, slider in explorer.sliders.items()}
        index.append({})
        for name, slider in explorer.sliders.items():
            places = chosen_positions(len(slider.options), saved[name], next(given))
            frames = [frame(explorer, {**saved, name: place}, name, number, folder) for place in places]
            index[-1][name] = {"saved": places.index(saved[name]), "frames": frames}
    Path(folder, "index.json").write_text(json.dumps(index), encoding="utf-8")


def frame(explorer, places, moved, number, folder):
    """Move the controls of `explorer` to `places`, {control: position}, and keep what is seen there, with the
    setting of `moved`. RuntimeError if nothing could be drawn.
    """
    for name, place in places.items():
        explorer.sliders[name].index = place
    seen = IMAGE.match(explorer.picture.value)
    if not seen:
        raise RuntimeError(f"nothing can be drawn at {places}: {explorer.picture.value}")
    file = "-".join(map(str, [number, *places.values()])) + ".png"
    colours = Image.open(io.BytesIO(base64.b64decode(seen["png"]))).convert("RGB").quantize(256)
    colours.save(Path(folder, file), optimize=True)
    return {"value": explorer.sliders[moved].label, "file": file, "alt": html.unescape(seen["alt"])}


def run_and_draw(path):
    """Run the lesson at `path` and draw its sliders, unless that is done. The folder they are in, or None if
    it has none.
    """
    lesson, folder = read_lesson(path), DRAWN / path.stem
    if not any(has_slider(cell) for cell in lesson.cells):
        return None
    made_from = folder / "made_from"
    if not made_from.exists() or made_from.read_text() != sources_hash(path):
        import nbformat
        from nbclient import NotebookClient

        folder.mkdir(parents=True, exist_ok=True)
        lesson.cells.append(nbformat.v4.new_code_cell(LAST_CELL.format(folder=str(folder))))
        where = {"metadata": {"path": str(path.parent)}}
        NotebookClient(lesson, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=where).execute()
        made_from.write_text(sources_hash(path))
    return folder


def sources_hash(path):
    """A hash of the notebook at `path` and of all that draws its sliders, stored runs and model included."""
    files = (file for file in (ROOT / "lora_lab").rglob("*") if file.is_file())
    package = [file for file in files if file.parent.name not in ("pages", "__pycache__")]
    files = [path, Path(__file__), *sorted(package)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


# Showing them


def with_sliders(notebook, folder, address):
    """The notebook with each slider's view replaced by HTML that shows the pictures in `folder`, which a page
    finds at `address`; by words if none were drawn.
    """
    drawn = folder / "index.json"
    index = iter(json.loads(drawn.read_text(encoding="utf-8")) if drawn.exists() else [])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output.get("data", {}).pop(WIDGET, None) and drawn.exists():
                output["data"]["text/html"] = slider_html(next(index), folder, address)
    return notebook


def slider_html(controls, folder, address):
    """One `Explorer` as HTML: a range input for each control, and the picture of the saved setting, which is
    in `folder` and found at `address`.
    """
    rows = "".join(control_html(name, **control) for name, control in controls.items())
    first = next(iter(controls.values()))
    image = first["frames"][first["saved"]]
    width, height = Image.open(folder / image["file"]).size
    return (
        f'<div class="slider" data-address="{address}">{rows}<img src="{address}/{image["file"]}"'
        f' alt="{html.escape(image["alt"])}" width="{width}" height="{height}"></div>'
    )


def control_html(name, saved, frames):
    """A labelled range input that carries its frames."""
    return (
        f'<label>{html.escape(name)} <input type="range" min="0" max="{len(frames) - 1}" value="{saved}"'
        f' data-saved="{saved}" data-frames="{html.escape(json.dumps(frames))}"'
        f' aria-valuetext="{html.escape(frames[saved]["value"])}">'
        f" <output>{html.escape(frames[saved]['value'])}</output></label>"
    )


if __name__ == "__main__":
    for lesson_path in lesson_paths(sys.argv[1:]):
        began = time.perf_counter()
        if drawn := run_and_draw(lesson_path):
            pictures, seconds = len([*drawn.glob("*.png")]), time.perf_counter() - began
            print(f"{drawn.name}: {pictures} pictures, {seconds:.0f} s", flush=True)
