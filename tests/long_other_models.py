"""Whoever has another GPT-2 runs the same cells: lesson 10 with a model of GPT-2 small's true shape, the
other lessons with a smaller one, since what they take apart would take minutes.
"""

import nbformat
import pytest
from nbclient import NotebookClient
from notebook_rules import NOTEBOOKS
from transformers import GPT2Config, GPT2LMHeadModel

from lora_lab.gpt2 import load_tokenizer

# Its steps would take minutes: here each training makes one, with few short texts. Nothing else is changed.
SHORTER = """
import lora_lab.runs.fine_tuning as fine_tuning, lora_lab.runs.one_run as one_run
import lora_lab.story_gpt2.batches as batches, lora_lab.training as training
real_fit, real_data = training.fit, batches.story_data

def one_step(model, ids, labels, steps, rate, batch_size=16, **settings):
    return real_fit(model, ids[:2], labels[:2], 1, rate, batch_size=2, **settings)

def short_texts(kind, n, held_out=False):
    if kind == "questions":  # the answer is at the end
        return real_data(kind, 2, held_out)
    return [part[:, :8] for part in real_data(kind, min(n, 8 if held_out else 48), held_out)]

def whole_floor(*which, real_floor=batches.floor_per_token, **more):
    batches.story_data = real_data
    try:
        return real_floor(*which, **more)
    finally:
        batches.story_data = short_texts

real_halves = one_run.halves
one_run.halves = lambda kind, n: real_halves(kind, 8)
training.fit = one_run.fit = fine_tuning.fit = one_step
batches.floor_per_token = whole_floor
batches.story_data = one_run.story_data = fine_tuning.story_data = short_texts
"""


@pytest.fixture
def printed_with(tmp_path, monkeypatch):
    """A function that runs a lesson with a random model and returns what it prints. The model's tokens are
    those of the shipped one.
    """

    def run(lesson, **config):
        GPT2LMHeadModel(GPT2Config(**config)).save_pretrained(tmp_path)
        load_tokenizer().save_pretrained(tmp_path)
        monkeypatch.setenv("LORA_LAB_MODEL", str(tmp_path))
        (path,) = NOTEBOOKS.glob(f"{lesson}_*.ipynb")
        notebook = nbformat.read(path, 4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORTER))
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return " ".join("".join(output.get("text", "") for output in outputs).split())

    return run


def test_lesson_10_runs_on_a_model_of_the_shape_of_gpt2_small(printed_with):
    printed = printed_with("10")
    assert "124,439,808 parameters" in printed  # it was that model, ...
    assert "trainable 1,327,104 " in printed  # ... with LoRA in all of its blocks, ...
    assert "the whole model 497,759,232 bytes" in printed  # ... and its adapter was saved


@pytest.mark.parametrize(
    ("lesson", "said"),
    [
        ("11", "18 updates: 0.q,"),
        ("12", "larger rate and A difference from alpha 256: 0.00"),
        ("13", "touched 95%"),
        ("14", "as trained (1) dequantised"),
        ("15", "learned"),
    ],
)
def test_a_lesson_runs_on_another_model(lesson, said, printed_with):
    """Three blocks, twice as wide as those of the shipped model, random."""
    assert said in printed_with(lesson, n_embd=256, n_layer=3, n_head=4, vocab_size=len(load_tokenizer()))
