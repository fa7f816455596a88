"""Tests of lora_lab.spectra: what is trained, taken from a model, cut and put back."""

import numpy as np
import torch

from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import dense_names, dense_weights, load_gpt2
from lora_lab.runs.methods import LORA_TARGETS, make_trainable
from lora_lab.spectra import train_only_dense, truncated, weight_updates, with_updates


def test_only_the_weights_that_lora_adapts_are_trained():
    model = train_only_dense(load_gpt2())
    shown = sum(W.numel() for W in dense_weights(load_gpt2()).values())
    assert count_trainable_parameters(model) == shown == 786_432
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == set(dense_names(model)) and len(trained) == 16
    adapted = make_trainable(load_gpt2(), next(iter(LORA_TARGETS)), rank=1)
    bases = [
        n for n, _ in adapted.named_parameters() if ".h." in n and n.endswith("weight") and "ln_" not in n
    ]
    assert len(bases) == len(trained)


def test_updates_taken_from_a_model_and_put_back_give_the_same_model():
    model, ids = load_gpt2(), torch.arange(40)[None]
    torch.manual_seed(0)
    with torch.no_grad():
        for W in dense_weights(model).values():
            W += 0.05 * torch.randn(W.shape)
        again = with_updates(weight_updates(model))
        assert not torch.allclose(model(ids).logits, load_gpt2()(ids).logits, atol=0.1)
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-3, rtol=1e-3)


def test_truncated_updates_have_the_rank_and_keep_the_top():
    update = np.diag([4.0, 2.0, 1.0])
    np.testing.assert_allclose(truncated({"0.q": update}, 2)["0.q"], np.diag([4.0, 2.0, 0.0]), atol=1e-12)
