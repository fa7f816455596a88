"""Sphinx's settings for `make site`: the README, the lessons with their saved outputs, and the package.

The source folder is the repository, so every link between its files holds on the site, too. No lesson is run.
"""

import json
import shutil
from pathlib import Path

from lora_lab.pages.site import (
    defined_as,
    imported_names,
    link_imported,
    link_names,
    package_page,
    page_of_lesson,
    plain_text,
    rooms,
)
from lora_lab.pages.sliders import DRAWN, with_sliders

DOCS = Path(__file__).parent
BESIDE = DOCS.parent / "build"  # where decks and handouts are, if they were built before

project, author, language = "LoRA, from the rank of a matrix to GPT-2", "", "en"
html_title = "LoRA, from the rank of a matrix to GPT-2"

# What is a page
root_doc = "README"
MODEL = "lora_lab/story_gpt2/model/README"
include_patterns = ["README.md", "notebooks/*.ipynb", "docs/*.md", "docs/teaching/*.md"]
include_patterns += ["docs/package/*.rst", f"{MODEL}.md"]
exclude_patterns = [".*", "build", "docs/node_modules", "**/.ipynb_checkpoints"]

# How it is read
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
nb_execution_mode = "off"
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "lora_lab.pages.site.jupyter_anchor"
default_role = "literal"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
    "ignore-module-all": True,  # each name once, where it is defined
}
autodoc_inherit_docstrings = False

# How it looks, with nothing from the web
html_theme = "furo"
html_static_path = ["_static", "node_modules/mathjax/es5/tex-svg-full.js", str(DRAWN.parent)]
html_css_files, html_js_files = ["site.css"], ["sliders.js", "keyboard.js"]
mathjax_path = "tex-svg-full.js"
mathjax3_config = {"svg": {"scale": 0.92}}  # as high as the letters around it
html_copy_source = html_show_copyright = False
html_show_search_summary = False  # fetched from the pages found, which a browser refuses without a server

CONTENTS = """
```{toctree}
:hidden:
:glob:
:caption: The lessons

notebooks/*
```

```{toctree}
:hidden:
:caption: For teachers

docs/teaching/README
```

```{toctree}
:hidden:
:glob:
:caption: For maintainers

docs/*
```

```{toctree}
:hidden:
:caption: The package

%s
```
"""

TEACHING = """
```{toctree}
:hidden:
:glob:

plans
[0-9]*
```
"""


def contents():
    """The lists of pages beside every page."""
    return CONTENTS % "\n".join([*(f"docs/package/{room}" for room in rooms()), MODEL])


def write_package_pages(app):
    """A page for each module or room, in a folder that git ignores."""
    DRAWN.mkdir(parents=True, exist_ok=True)
    (DOCS / "package").mkdir(exist_ok=True)
    for room, modules in rooms().items():
        (DOCS / "package" / f"{room}.rst").write_text(package_page(room, modules), encoding="utf-8")


def prepare(app, document, content):
    """Change the text of a page before it is read."""
    if document.startswith("notebooks/"):
        name = Path(document).name
        app.env.note_dependency(str(DRAWN / name / "index.json"))
        lesson = with_sliders(json.loads(content[0]), DRAWN / name, f"../_static/sliders/{name}")
        forms = {"slides": f"slides/{name}.html", "handout": f"handouts/notebooks/{name}.ipynb"}
        built = {form: path for form, path in forms.items() if (BESIDE / path).exists()}
        content[0] = json.dumps(page_of_lesson(lesson, built))
    elif document == "docs/teaching/README":
        content[0] += TEACHING
    elif document == root_doc:
        content[0] = link_names(content[0]) + contents()


def escape_docstring(app, what, name, object, options, lines):
    """A docstring is plain text with names in backquotes: nothing else in it is markup."""
    lines[:] = map(plain_text, lines)


def link_code(app, document, template, context, doctree):
    """What a lesson imports from lora_lab is a link wherever its code names it."""
    if document.startswith("notebooks/"):
        objects = app.env.domains.python_domain.objects
        places = {
            name: f"{app.builder.get_relative_uri(document, objects[name].docname)}#{objects[name].node_id}"
            for imported in imported_names(json.loads(Path(app.env.doc2path(document)).read_bytes()))
            for name in defined_as(imported, objects)
        }
        context["body"] = link_imported(context["body"], places)


def finish(app, exception):
    """The README is the first page, also under the name that a server looks for; decks and handouts that were
    built before come with the site.
    """
    if not exception:
        shutil.copy(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))
        for name in ("slides", "handouts"):
            if (BESIDE / name).exists():
                shutil.copytree(BESIDE / name, Path(app.outdir, name), dirs_exist_ok=True)


def setup(app):
    """What Sphinx calls first."""
    app.connect("builder-inited", write_package_pages)
    app.connect("source-read", prepare)
    app.connect("autodoc-process-docstring", escape_docstring)
    app.connect("html-page-context", link_code)
    app.connect("build-finished", finish)
