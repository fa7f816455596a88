"""What comes with the course: licences that are stated, and no file that runs code when it is read."""

import ast
import importlib.metadata
import re

import pytest
from notebook_rules import NOTEBOOKS, ROOT, cells, read
from packaging.requirements import Requirement

FREE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|CNRI|Mozilla|MPL|Zlib|0BSD|CC0|BSL")
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def licence(name):
    """What an installed package says of its licence."""
    data = importlib.metadata.metadata(name)
    kinds = [
        line.split(" :: ")[-1] for line in data.get_all("Classifier") or [] if line.startswith("License")
    ]
    words = (data["License"] or "").strip().partition("\n")[0]
    return data["License-Expression"] or ", ".join(set(kinds) - {"OSI Approved"}) or words


def requirements():
    """What requirements.txt names and has to be installed on this system."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    return [one for one in named if not one.marker or one.marker.evaluate({"extra": ""})]


def all_installed(wanted):
    """The names of these requirements and of all that they require in turn."""
    names, wanted = set(), list(wanted)
    while wanted:
        one = wanted.pop()
        if one.name.lower() not in names and (not one.marker or one.marker.evaluate({"extra": ""})):
            names.add(one.name.lower())
            wanted += map(Requirement, importlib.metadata.requires(one.name) or [])
    return sorted(names)


def dangers(source):
    """What in a source text could run the code that a file brings along."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from UNPICKLERS & {module.partition(".")[0] for module in modules}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "eval", "exec"):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
            yield node.arg


def test_every_package_that_is_installed_states_a_free_licence():
    """But NVIDIA's, which torch brings along where its build for CPUs is not chosen."""
    names = [name for name in all_installed(requirements()) if not name.startswith(("nvidia", "cuda"))]
    stated = {name: licence(name) for name in names}
    assert len(names) > 100 and "torch" in names and "jinja2" in names
    assert all(FREE.search(words) and "GPL" not in words for words in stated.values()), stated


def test_the_page_states_the_licence_of_each_requirement():
    """By its family: another version may write its name in another way, or name more of what it includes."""
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8").partition("## Supply")[2]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", page, re.M))
    assert rows.keys() >= {one.name for one in requirements()}
    for one in requirements():
        assert set(FREE.findall(rows[one.name])) & set(FREE.findall(licence(one.name))), one.name


def test_nothing_in_the_course_runs_code_out_of_a_file():
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "lora_lab").rglob("*.py")}
    for path in NOTEBOOKS.glob("*.ipynb"):
        texts |= {f"{path.name}, {place}": cell.source for place, cell in cells(read(path), "code")}
    assert len(texts) > 500
    found = {place: list(dangers(text)) for place, text in texts.items()}
    assert not {place: names for place, names in found.items() if names}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_code_that_would_run_code_out_of_a_file_is_seen(source):
    assert list(dangers(source))


def test_the_course_ships_texts_numbers_and_pictures_alone():
    kinds = {path.suffix for path in (ROOT / "lora_lab").rglob("*") if path.is_file()}
    assert kinds - {".pyc"} <= {".py", ".json", ".md", ".safetensors", ".css", ".js", ".html"}
