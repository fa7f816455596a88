"""The rooms of lora_lab: who imports whom, and the picture of it in the README."""

import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest
from notebook_rules import ROOT

PACKAGE = ROOT / "lora_lab"
FILES = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {".".join(parts).removesuffix(".__init__") for parts in FILES.values()} - {"__init__", "__main__"}

LORA = {"lora", "merging", "attention", "gpt2", "adapters", "spectra", "variants", "quantized_layers"}
ON_TOP = {"pages", "runs", "drawing", "checks"}
DRAWS = {"pages"}  # a room on top that imports another, drawing
# What a module at the ground may import: of lora_lab, and of other people's packages.
KNOWS = {
    "low_rank": {"numpy"},
    "images": {"lora_lab.low_rank", "numpy", "PIL"},
    "lora": {"lora_lab.low_rank", "torch"},
    "quantization": {"torch"},
    "random_subspace": {"torch"},
    "memory": {"torch"},
    "counting": {"lora_lab.low_rank"},
    "training": {"torch", "tqdm", "IPython"},
}


def imports(tree):
    """The full names of what a syntax tree imports, in functions too: lora_lab.gpt2.load_tokenizer, torch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: say lora_lab.x instead of .x"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def owners(names):
    """What `imports` gives, by its owner: lora_lab.x for a module or room x, or a package of other people."""
    parts = [name.split(".") for name in names]
    return {".".join(p[:2]) if p[0] == "lora_lab" else p[0] for p in parts} - sys.stdlib_module_names


IMPORTS = {parts: set(imports(ast.parse(path.read_text(encoding="utf-8")))) for path, parts in FILES.items()}


def room_imports(room):
    """The owners of all that the modules of a room, or one module, import from elsewhere."""
    names = set().union(*(names for parts, names in IMPORTS.items() if parts[0] == room))
    return owners(names) - {f"lora_lab.{room}"}


# The rules


@pytest.mark.parametrize("module", KNOWS)
def test_a_module_at_the_ground_knows_no_more_than_it_needs(module):
    assert room_imports(module) <= KNOWS[module]


@pytest.mark.parametrize("module", ["training", "story_gpt2"])
def test_training_and_the_toy_language_know_nothing_of_lora(module):
    known = set().union(*(names for parts, names in IMPORTS.items() if parts[0] == module))
    known -= {"lora_lab.gpt2.load_tokenizer", "lora_lab.gpt2.on_device"}
    assert not {name for name in known if name.split(".")[1:2] and name.split(".")[1] in LORA | ON_TOP}


def test_nothing_imports_what_sits_on_top():
    """But its own room."""
    for parts, names in IMPORTS.items():
        used = {owner.removeprefix("lora_lab.") for owner in owners(names)} & ON_TOP
        allowed = {parts[0]} | ({"drawing"} if parts[0] in DRAWS else set())
        assert used <= allowed, f"{'/'.join(parts)}.py imports {used - allowed}"


def test_what_it_imports_from_others_is_in_its_dependencies():
    """What pages imports may also be in the extra that makes them, and JupyterLab is opened if there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {
        *(line.split(">=")[0] for line in project["dependencies"]),
        "ipython",
    }  # IPython comes with ipywidgets
    extra = {line.split("==")[0] for line in project["optional-dependencies"]["site"]}
    packages = importlib.metadata.packages_distributions()
    for parts, names in IMPORTS.items():
        allowed = listed | {"pages": extra, "__main__": {"jupyterlab"}}.get(parts[0], set())
        others = {name for name in owners(names) if not name.startswith("lora_lab")}
        assert others <= {name for name in packages if {*packages[name]} & allowed}, "/".join(parts)


# The picture in the README


def picture():
    """{module or room: (lines that the picture says, modules of the room)}, from top to bottom."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n(.*?)```", readme, re.S)[1]
    rows = re.findall(r"^ *│ +(\w+/?) +(\d+) *(.*)$", block, re.M)
    return {name: (int(lines), modules.split()) for name, lines, modules in rows}


def layout():
    """The same, of what is there, in no order."""
    found = {}
    for path, (name, *module) in FILES.items():
        if name not in ("__init__", "__main__"):
            lines, modules = found.get(name + "/" * len(module), (0, []))
            lines += len(path.read_text(encoding="utf-8").splitlines())
            modules = modules + [part for part in module if not part.startswith("__")]
            found[name + "/" * len(module)] = lines, modules
    return found


def row(name, lines, modules):
    """The line of the picture to write."""
    return f"│ {name} {lines} {' '.join(modules)}".rstrip()


def test_the_picture_shows_every_module_in_its_room_and_no_other():
    shown, there = picture(), layout()
    assert len(there) > 10 and sum(len(modules) for _, modules in there.values()) > 10
    missing = [row(name, *there[name]) for name in there if name not in shown]
    assert not missing, f"the picture in README.md needs these lines: {missing}"
    assert not shown.keys() - there.keys()
    wrong = [row(name, *there[name]) for name in there if set(there[name][1]) != set(full(shown[name][1]))]
    assert not wrong, f"these rooms hold other modules than the picture in README.md says: {wrong}"


def full(modules):
    """With `lesson_00 ... lesson_14` written out."""
    if "..." not in modules:
        return modules
    place = modules.index("...")
    first, last = (int(modules[beside][-2:]) for beside in (place - 1, place + 1))
    lessons = [f"lesson_{number:02}" for number in range(first, last + 1)]
    return modules[: place - 1] + lessons + modules[place + 2 :]


def test_the_picture_says_how_long_each_is_within_a_tenth():
    shown = picture()
    wrong = [row(name, lines, modules) for name, (lines, modules) in layout().items()
             if abs(shown[name][0] - lines) > lines / 10]  # fmt: skip
    assert not wrong, f"the picture in README.md should say {wrong}"


def test_all_imports_go_the_way_of_the_arrow():
    """From a line of the picture to lines below it."""
    order = [name.rstrip("/") for name in picture()]
    for place, name in enumerate(order):
        used = {owner.removeprefix("lora_lab.") for owner in room_imports(name)} & set(order)
        upward = used - set(order[place + 1 :])
        assert not upward, f"{name} imports {upward}, which the picture in README.md shows above it"
