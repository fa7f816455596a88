"""Importing a part of lora_lab imports no more than it needs, from any folder."""

import subprocess
import sys

import pytest


def run(code, folder):
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
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
