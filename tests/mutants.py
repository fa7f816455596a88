"""Does the regression run notice a mistake? `make mutants` changes the package in one place after another: an
operator, a number, a condition, as cosmic-ray changes them. The unit tests of the changed module
are to fail; where they stay green, its lessons. What nobody notices is printed.

Each mutant is a fork of a process that has imported what is slow to import, so most take a second or two.
No file is changed: the mutant is what `import` finds. Results go to build/mutants, and a run that was stopped
goes on where it was; when a module or its tests change, its mutants are tried again.

`python tests/mutants.py lora low_rank` takes two modules, `--sample 60 checks` sixty mutants of a package.
"""

import argparse
import contextlib
import hashlib
import importlib.abc
import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "build" / "mutants"
WORKERS = 2
# Each module with the unit tests and the lessons that are to notice a change.
MODULES = {
    "low_rank": (("low_rank", "properties"), ("01", "02")),
    "lora": (("lora", "properties"), ("05",)),
    "merging": (("merging", "quantization"), ("06",)),
    "attention": (("attention",), ("08",)),
    "counting": (("counting",), ("09",)),
    "memory": (("memory", "quantization"), ("04",)),
    "training": (("training",), ("10",)),
    "quantization": (("quantization", "properties"), ("13",)),
    "quantized_layers": (("quantization",), ("14",)),
    "loftq": (("loftq",), ("14",)),
    "random_subspace": (("random_subspace",), ("11",)),
    "fast_lora": (("fast_lora",), ("06",)),
    "images": (("images", "properties"), ("03",)),
    "spectra": (("spectra", "why_low_rank"), ("11",)),
    "variants": (("variants", "adapter_variants"), ("12",)),
    "gpt2": (("gpt2", "device", "methods"), ("07", "08")),
}
SAMPLED = {
    "adapters": (("adapters", "adapter_files", "adapter_variants", "properties"), ("10",)),
    "runs": (
        ("runs", "facts", "choosing", "fine_tuning", "why_low_rank", "loftq", "methods"),
        ("10", "11", "12", "14"),
    ),
    "drawing": (("drawing", "statements", "diagrams"), ("02", "12")),
    "checks": (("checks", "progress", "grading"), ()),
    "story_gpt2": (("batches", "language", "parts", "pretraining"), ("10",)),
}
SLOW = "numpy torch transformers.models.gpt2.modeling_gpt2 transformers.models.gpt2.tokenization_gpt2 peft"
SLOW += " bitsandbytes matplotlib.pyplot PIL.Image hypothesis nbformat nbclient ipywidgets anywidget psutil"
SLOW += (
    " safetensors.torch pytest xdist nbval.plugin hypothesis.strategies transformers.trainer scipy.special"
)


class MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Makes `import` find `source` for the module `name`, which is in the file `path`."""

    def __init__(self, name, path, source):
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_loader(
                name, self, origin=self.path, is_package=Path(self.path).name == "__init__.py"
            )

    def get_source(self, name):
        return self.source

    def exec_module(self, module):
        module.__file__ = self.path
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def find_mutant():
    """For a process of its own, such as a notebook's kernel: put the mutant of `LORA_LAB_MUTANT` there."""
    sys.meta_path.insert(0, MutantFinder(*json.loads(Path(os.environ["LORA_LAB_MUTANT"]).read_text())))


def places_of(source):
    """(operator, which of its occurrences, place) for each place that an operator of cosmic-ray changes."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        if get_operator(name).arguments() or re.search(r"_Is(Not)?$", name):
            continue  # for small numbers `is` is `==`, and Python itself warns of it
        operator = get_operator(name)()
        positions = [position for node in nodes for position in operator.mutation_positions(node)]
        for occurrence, (place, _) in enumerate(positions):
            yield operator, occurrence, place


def mutants_of(source, places=None):
    """(place, change, changed source) for these places, or all of them; each source once."""
    from cosmic_ray.mutating import mutate_code

    lines, seen = source.splitlines(), {source}
    for operator, occurrence, place in places_of(source) if places is None else places:
        with contextlib.suppress(AttributeError, SyntaxError):  # cosmic-ray gives up, or makes no Python
            changed = mutate_code(source, operator, occurrence)
            compile(changed, "a mutant", "exec")
            if changed not in seen:
                seen.add(changed)
                new = [new for old, new in zip(lines, changed.splitlines(), strict=False) if old != new]
                change = f"{lines[place[0] - 1].strip()} -> {new[0].strip() if new else '(cut)'}"
                yield place, change, changed


def stays_green(module, path, source, files, seconds):
    """Whether the unit tests pass with a mutant, in a fork of this process."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        with place_for(module, path, source) as where:
            os.environ.update(where)  # for the processes that a test starts
            find_mutant()
            code = run_pytest(files)
        os._exit(code)
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)


def run_pytest(files):
    import pytest

    try:
        return int(pytest.main(["-n", "0", "-x", "-q", "-p", "no:cacheprovider", *files]))
    except BaseException:
        return 1


@contextlib.contextmanager
def place_for(module, path, source):
    """The environment in which Python finds a mutant by itself, as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        here = repr(str(ROOT / "tests"))
        (folder / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({here})\nfrom mutants import find_mutant\nfind_mutant()\n"
        )
        (folder / "mutant.json").write_text(json.dumps([module, str(path), source]))
        yield {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "LORA_LAB_MUTANT": str(folder / "mutant.json")}


def lessons_stay_green(module, path, source, lessons):
    """Whether the lessons' outputs are the saved ones with a mutant."""
    notebooks = [str(p) for n in lessons for p in ROOT.glob(f"notebooks/{n}_*.ipynb")]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-p", "no:cacheprovider", *notebooks]
    with place_for(module, path, source) as where:
        run = subprocess.run(command, cwd=ROOT, env={**os.environ, **where}, capture_output=True)
    return run.returncode == 0


def tried(module, path, mutants, units, lessons):
    """(place, change, who noticed) for each mutant: "tests", "lessons", "nobody", or "no test" before the
    lessons were asked.
    """
    files = [str(ROOT / f"tests/test_{unit}.py") for unit in units]
    known = {}
    stamp = hashlib.sha256(b"".join(Path(p).read_bytes() for p in [path, *files])).hexdigest()
    store = RESULTS / f"{module}.json"
    if store.exists() and (found := json.loads(store.read_text()))["of"] == stamp:
        known = found["noticed"]
    began = time.monotonic()
    if not stays_green("nothing", path, "", files, 600):
        sys.exit(f"the unit tests of {module} fail without any change: {' '.join(files)}")
    seconds = 10 + 5 * (time.monotonic() - began)

    def noticed(mutant):
        key = hashlib.sha256(mutant[2].encode()).hexdigest()
        if key not in known:
            known[key] = "tests" if not stays_green(module, path, mutant[2], files, seconds) else "no test"
        if known[key] == "no test" and lessons:
            known[key] = "nobody" if lessons_stay_green(module, path, mutant[2], lessons) else "lessons"
        store.write_text(json.dumps({"of": stamp, "noticed": dict(known)}))
        return *mutant[:2], known[key]

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(noticed, mutants))


def report(name, results):
    left = [f"line {line}: {change}" for (line, _), change, by in results if by.startswith("no")]
    by_lessons = sum(by == "lessons" for _, _, by in results)
    said = (
        f"{name}: {len(results) - len(left)} of {len(results)} noticed, {by_lessons} of them by lessons only"
    )
    print(said, *left, sep="\n  ", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=60, help="mutants of a package")
    parser.add_argument("--no-lessons", action="store_true", help="unit tests alone")
    parser.add_argument("names", nargs="*", help=", ".join([*MODULES, *SAMPLED]))
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.chdir(ROOT)
    sys.path[:0] = str(ROOT), str(ROOT / "tests")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for slow in SLOW.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(slow)
    for name in asked.names or [*MODULES, *SAMPLED]:
        units, lessons = (MODULES | SAMPLED)[name]
        lessons = () if asked.no_lessons else lessons
        if name in MODULES:
            path = ROOT / "lora_lab" / f"{name}.py"
            mutants = list(mutants_of(path.read_text(encoding="utf-8")))
            report(name, tried(f"lora_lab.{name}", path, mutants, units, lessons))
            continue
        texts = {p: p.read_text(encoding="utf-8") for p in sorted((ROOT / "lora_lab" / name).glob("*.py"))}
        places = [(path, place) for path, text in texts.items() for place in places_of(text)]
        results = []
        chosen = random.Random(0).sample(places, min(asked.sample, len(places)))
        for path in sorted({path for path, _ in chosen}):
            mutants = list(mutants_of(texts[path], [place for file, place in chosen if file == path]))
            stem = "" if path.stem == "__init__" else f".{path.stem}"
            by = units, lessons
            if checkers_of := re.fullmatch(r"lesson_(\d\d)", path.stem):  # its lesson asks them
                by = ("checks",), checkers_of.groups()
            results += tried(f"lora_lab.{name}{stem}", path, mutants, *by)
        report(name, results)
