"""Whoever has another GPT-2 runs the same cells: lesson 10 with a model of GPT-2 small's true shape."""

import nbformat
import pytest
from nbclient import NotebookClient
from notebook_rules import NOTEBOOKS
from transformers import GPT2Config, GPT2LMHeadModel

from lora_lab.gpt2 import load_tokenizer

# Its steps would take minutes: here each training makes one, with few short texts. Nothing else is changed.
SHORTER = """
import lora_lab.runs.fine_tuning as fine_tuning, lora_lab.story_gpt2.batches as batches
import lora_lab.training as training
real_fit, real_data = training.fit, batches.story_data

def one_step(model, ids, labels, steps, rate, batch_size=16, **settings):
    return real_fit(model, ids[:2], labels[:2], 1, rate, batch_size=2, **settings)

def short_texts(kind, n, held_out=False):
    if kind == "questions":  # the answer is at the end
        return real_data(kind, 2, held_out)
    return [part[:, :8] for part in real_data(kind, min(n, 8 if held_out else 48), held_out)]

training.fit = fine_tuning.fit = one_step
batches.story_data = fine_tuning.story_data = short_texts
"""


@pytest.fixture
def gpt2_small(tmp_path):
    """A folder with a random model of the shape of GPT-2 small. Its tokens are those of the shipped model."""
    GPT2LMHeadModel(GPT2Config()).save_pretrained(tmp_path)
    load_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_lesson_10_runs_on_a_model_of_the_shape_of_gpt2_small(gpt2_small, monkeypatch):
    monkeypatch.setenv("LORA_LAB_MODEL", str(gpt2_small))
    lesson = nbformat.read(NOTEBOOKS / "10_fine_tuning.ipynb", 4)
    lesson.cells.insert(0, nbformat.v4.new_code_cell(SHORTER))
    NotebookClient(lesson, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    outputs = [output for cell in lesson.cells for output in cell.get("outputs", [])]
    printed = " ".join("".join(output.get("text", "") for output in outputs).split())
    assert "124,439,808 parameters" in printed  # it was that model, ...
    assert "trainable 1,327,104 " in printed  # ... with LoRA in all of its blocks, ...
    assert "the whole model 497,759,232 bytes" in printed  # ... and its adapter was saved
