"""Importing a part of lora_lab imports no more than it needs, from any folder."""

import subprocess
import sys

import pytest
from notebook_rules import ROOT


def run(code, folder, *arguments):
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("low_rank", {"torch", "transformers", "matplotlib", "PIL"}),
        ("images", {"torch", "transformers", "matplotlib"}),
        ("counting", {"torch", "transformers"}),
        ("lora", {"transformers", "matplotlib"}),
        ("quantization", {"transformers", "matplotlib"}),
    ],
)
def test_a_module_imports_no_more_than_it_needs(module, unneeded, tmp_path):
    loaded = run(f"import lora_lab.{module}, sys; print(*sys.modules)", tmp_path)
    assert f"lora_lab.{module}" in loaded
    assert not unneeded & set(loaded)


def test_lora_lab_can_be_imported_from_any_folder_and_imports_nothing_itself(tmp_path):
    loaded = run("import lora_lab, sys; print(*sys.modules)", tmp_path)
    assert "lora_lab" in loaded
    assert not {"numpy", "torch", "transformers"} & set(loaded)


EACH_ALONE = """
import importlib, sys

for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "lora_lab"]:
        del sys.modules[name]
    importlib.import_module(module)
    print(module)
"""


def test_each_module_can_be_the_first_that_is_imported(tmp_path):
    """So none waits for another to have been imported before it, and no two wait for each other."""
    parts = [
        path.relative_to(ROOT).with_suffix("").parts for path in sorted((ROOT / "lora_lab").rglob("*.py"))
    ]
    modules = [".".join(part).removesuffix(".__init__") for part in parts]
    assert {"lora_lab", "lora_lab.gpt2", "lora_lab.adapters.fused", "lora_lab.runs.__main__"} <= set(modules)
    assert run(EACH_ALONE, tmp_path, *modules) == modules
