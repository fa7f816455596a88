"""Adapters of rsLoRA, DoRA and PiSSA, and with ranks for each layer, saved and loaded: by us, by PEFT, and
each by the other; and what cannot be saved.
"""

import json
from fractions import Fraction

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from test_adapters import EVERY, FUSED, IDS, QKVO, adapted_gpt2, close, logits, peft_gpt2, with_updates
from torch import nn
from unchanged import assert_unchanged, everything

from lora_lab.adapters import load_adapter, save_adapter
from lora_lab.adapters.files import CONFIG, WEIGHTS
from lora_lab.adapters.settings import as_pattern, by_pattern
from lora_lab.gpt2 import LAYERS, apply_lora_to_gpt2, lora_layers, random_gpt2
from lora_lab.lora import LinearWithLoRA, LoRALayer
from lora_lab.variants import use_dora, use_pissa, use_random_directions, use_rslora

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")

TARGETS = [("q",), ("k",), ("q", "v"), QKVO, ("o",), ("c_attn",), FUSED, EVERY, ("fc", "proj"), ("k", "proj")]
MAGNITUDES = "base_model.model.transformer.h.0.attn.c_attn.lora_magnitude_vector"
VARIANTS = {
    "rsLoRA": [use_rslora],
    "DoRA": [use_dora],
    "rsLoRA and DoRA": [use_rslora, use_dora],
    "PiSSA": [use_pissa],
    "PiSSA and rsLoRA": [use_rslora, use_pissa],
    "random directions": [use_random_directions],
}


def trained(model, seed=1):
    """The same model with a random step in all that is trained."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def variant(name, targets=QKVO, rank=3, alpha=7, **options):
    model = apply_lora_to_gpt2(random_gpt2(), rank, alpha, targets, **options)
    for change in VARIANTS[name]:
        torch.manual_seed(0)
        change(model)
    return trained(model)


@pytest.mark.parametrize("targets", TARGETS, ids="-".join)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_gives_the_same_logits_here_in_peft_and_back(name, targets, tmp_path):
    model = variant(name, targets)
    expected = logits(model)
    before = everything(model)
    save_adapter(model, tmp_path)
    assert_unchanged(model, before)
    ours = load_adapter(random_gpt2(), tmp_path)
    close(logits(ours), expected)
    theirs = PeftModel.from_pretrained(random_gpt2(), tmp_path)
    close(logits(theirs), expected)
    theirs.save_pretrained(tmp_path / "back")
    close(logits(load_adapter(random_gpt2(), tmp_path / "back")), expected)
    settings = json.loads((tmp_path / CONFIG).read_text())
    assert settings["use_rslora"] == ("rsLoRA" in name) and settings["use_dora"] == ("DoRA" in name)
    layers, loaded = lora_layers(model), lora_layers(ours)
    if VARIANTS[name][-1] not in (use_pissa, use_random_directions):
        assert torch.equal(logits(ours), expected)
        assert [vars_of(layer) for layer in loaded.values()] == [vars_of(layer) for layer in layers.values()]
    else:
        assert {(layer.rank, len(layer.A)) for layer in loaded.values()} == {(6, 6)}


def vars_of(layer):
    return type(layer), layer.rank, layer.alpha, layer.scale, layer.dropout.p


@pytest.mark.parametrize("targets", [("c_attn",), FUSED, ("fc", "proj")], ids="-".join)
@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True},
        {"rank_pattern": {"c_proj": 1, "attn.c_attn": 5}},
        {"alpha_pattern": {"mlp.c_proj": 1, r"h\.1\..*": 0.5}},
        {"rank_pattern": {r"h\.[1-9]\.attn.*": 4, "c_fc": 1}, "alpha_pattern": {"c_fc": 9}, "use_dora": True},
        {"rank_pattern": {"c_attn": 7, "fc": 1}, "alpha_pattern": {"transformer.h.0.attn.c_attn": 1}},
    ],
    ids=str,
)
def test_what_peft_made_gives_the_same_logits_here_and_is_saved_again(options, targets, tmp_path):
    modules = [LAYERS[target] for target in targets]
    theirs = trained(peft_gpt2(modules, **options))
    theirs.save_pretrained(tmp_path)
    expected = logits(
        PeftModel.from_pretrained(random_gpt2(), tmp_path)
    )  # with the patterns in the file's order
    ours = load_adapter(random_gpt2(), tmp_path)
    close(logits(ours), expected)
    save_adapter(ours, tmp_path / "again")
    assert torch.equal(logits(load_adapter(random_gpt2(), tmp_path / "again")), logits(ours))
    close(logits(PeftModel.from_pretrained(random_gpt2(), tmp_path / "again")), expected)


def test_dora_of_q_and_v_alone_leaves_k_to_the_base_in_peft(tmp_path):
    save_adapter(variant("DoRA", ("q", "v")), tmp_path)
    m = load_file(tmp_path / WEIGHTS)[MAGNITUDES]
    lengths = random_gpt2().transformer.h[0].attn.c_attn.weight.norm(dim=0).chunk(3)
    assert m.shape == (192,)
    assert [torch.allclose(part, length) for part, length in zip(m.chunk(3), lengths, strict=True)] == [
        False,
        True,
        False,
    ]


def test_dora_with_dropout_is_trained_here_as_in_peft(tmp_path):
    """One step with the same random numbers, on a layer that both adapt as a whole."""
    save_adapter(variant("DoRA", ("fc",), dropout=0.5), tmp_path)
    ours = load_adapter(random_gpt2(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0), tmp_path).train()
    theirs = PeftModel.from_pretrained(
        random_gpt2(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0), tmp_path, is_trainable=True
    ).train()
    results = []
    for model in (ours, theirs):
        torch.manual_seed(3)
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    by_shape = [sorted(result, key=lambda t: (t.shape, t.abs().sum())) for result in results]
    for ours, theirs in zip(*by_shape, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_half_precision_dora_is_saved_and_loaded_as_it_is(tmp_path):
    model = trained(use_dora(apply_lora_to_gpt2(random_gpt2().bfloat16(), 2, 6, EVERY)))
    save_adapter(model, tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / WEIGHTS).values()} == {torch.bfloat16}
    assert torch.equal(logits(load_adapter(random_gpt2().bfloat16(), tmp_path)), logits(model))


# Swapping


@pytest.mark.parametrize("name", ["rsLoRA", "DoRA", "rsLoRA and DoRA"])
def test_the_same_variant_is_swapped_in_the_very_same_parameters(name, tmp_path):
    first, second = variant(name), trained(variant(name), seed=2)
    save_adapter(first, tmp_path / "1")
    save_adapter(second, tmp_path / "2")
    model = load_adapter(random_gpt2(), tmp_path / "1")
    parameters = dict(model.named_parameters())
    expected = logits(second)
    assert torch.equal(logits(load_adapter(model, tmp_path / "2")), expected)
    assert all(parameter is parameters[key] for key, parameter in model.named_parameters())


@pytest.mark.parametrize("there", ["rsLoRA", "DoRA"])
@pytest.mark.parametrize("name", ["rsLoRA", "DoRA", "rsLoRA and DoRA", "PiSSA"])
def test_another_variant_takes_the_place_of_the_first(name, there, tmp_path):
    model = variant(name)
    save_adapter(model, tmp_path)
    close(logits(load_adapter(variant(there), tmp_path)), logits(model))
    save_adapter(adapted_gpt2(rank=3, alpha=7), tmp_path)
    assert torch.equal(logits(load_adapter(variant(there), tmp_path)), logits(adapted_gpt2(rank=3, alpha=7)))


def test_nothing_is_loaded_into_a_model_whose_frozen_weights_were_changed(tmp_path):
    save_adapter(adapted_gpt2(), tmp_path)
    model = variant("PiSSA")
    before = everything(model)
    with pytest.raises(ValueError, match="use_pissa has changed them: load the adapter into a fresh model"):
        load_adapter(model, tmp_path)
    assert_unchanged(model, before)


# Ranks by patterns


def test_the_smallest_file_is_written_for_q_k_v_and_o(tmp_path):
    save_adapter(adapted_gpt2(QKVO, rank=2, alpha=6), tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text())
    assert (settings["r"], settings["rank_pattern"]) == (2, {"attn.c_attn": 6})
    assert (settings["lora_alpha"], settings["alpha_pattern"]) == (6, {"attn.c_attn": 18})
    numbers = sum(tensor.numel() for tensor in load_file(tmp_path / WEIGHTS).values())
    assert numbers == 2 * (6 * (64 + 192) + 2 * (64 + 64))


def test_layers_of_ones_own_rank_get_precision_mode_and_dropout_of_the_model(tmp_path):
    peft_gpt2(rank_pattern={r"h\.1\..*": 5}, lora_dropout=0.5).save_pretrained(tmp_path)
    layers = lora_layers(load_adapter(random_gpt2().bfloat16().train(), tmp_path))
    assert [layer.rank for layer in layers.values()] == [2, 5]
    assert all(layer.A.dtype == torch.bfloat16 and layer.dropout.p == 0.5 for layer in layers.values())
    assert all(module.training for layer in layers.values() for module in layer.modules())
    layers = lora_layers(load_adapter(random_gpt2().eval(), tmp_path))
    assert not any(module.training for layer in layers.values() for module in layer.modules())


def test_an_alpha_that_json_does_not_know_is_written_as_a_number(tmp_path):
    save_adapter(adapted_gpt2(("q",), alpha=Fraction(7, 2)), tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["lora_alpha"] == 3.5
    assert lora_layers(load_adapter(random_gpt2(), tmp_path))["0.q"].alpha == 3.5


def test_a_pattern_is_read_as_it_was_written():
    values = {"0.attn.c_attn": 6, "1.attn.c_attn": 6, "0.mlp.c_fc": 2, "1.mlp.c_fc": 3,
              "0.mlp.c_proj": 2, "1.mlp.c_proj": 2}  # fmt: skip
    default, pattern = as_pattern(values)
    assert (default, pattern) == (2, {"attn.c_attn": 6, "h.1.mlp.c_fc": 3})
    assert {name: by_pattern(f"transformer.h.{name}", default, pattern) for name in values} == values
    assert as_pattern({"0.attn.c_attn": 6, "0.mlp.c_fc": 6, "0.attn.c_proj": 2}) == (6, {"attn.c_proj": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("h.1.attn.c_attn", 3),
        ("h.11.attn.c_attn", 2),
        ("attn.c_attn", 1),
        ("h.1.xattn.c_attn", 0),
        ("attn.c_attn.x", 0),
    ],
)
def test_a_pattern_matches_whole_dotted_parts_and_the_first_that_matches_counts(name, value):
    pattern = {r"h\.1\.attn.c_attn": 3, r"h\..*\.attn.c_attn": 2, "attn.c_attn": 1}
    assert by_pattern(name, 0, pattern) == value


# What cannot be saved


def scale_by_hand(model):
    lora_layers(model)["1.k"].scale = 0.5


def rslora_in_one_layer(model):
    layer = lora_layers(model)["0.q"]
    layer.scale = layer.alpha / layer.rank**0.5


def dora_in_one_block(model):
    for name, layer in lora_layers(model).items():
        if name.startswith("0."):
            nn.init.zeros_(layer.B)
    use_dora(model.transformer.h[0])


def a_class_of_ones_own(model):
    class Doubled(LoRALayer):
        def forward(self, x):
            return 2 * super().forward(x)

    lora_layers(model)["0.q"].__class__ = Doubled


def another_dropout(model):
    lora_layers(model)["0.o"].dropout = nn.Dropout(0.5)


def another_rank_for_q(model):
    model.transformer.h[0].attn.lora["q"] = LoRALayer(64, 64, 3, 6)


def another_alpha_for_q(model):
    model.transformer.h[0].attn.lora["q"] = LoRALayer(64, 64, 2, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale_by_hand, r"alpha / sqrt\(r\) in all: .* has .* for alpha = 6 and r = 2"),
        (rslora_in_one_layer, r"the scale must be alpha / r in all layers, or alpha / sqrt\(r\) in all"),
        (dora_in_one_block, r"all DoRALayers, they are \['lora_lab.lora.LoRALayer', 'lora_lab.variants.DoR"),
        (a_class_of_ones_own, "all layers must be LoRALayers .*Doubled"),
        (another_dropout, r"one dropout, this model has \[0.0, 0.5\]"),
        (
            another_rank_for_q,
            r"q, k and v of a block must have one \(rank, alpha\), got \[\(3, 6\), \(2, 6\)",
        ),
        (another_alpha_for_q, r"one \(rank, alpha\), got \[\(2, 5\), \(2, 6\)"),
    ],
)
def test_what_the_format_has_no_place_for_is_refused_and_nothing_written(change, message, tmp_path):
    model = adapted_gpt2()
    change(model)
    with pytest.raises(ValueError, match=message):
        save_adapter(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_pissa_of_more_than_half_the_full_rank_is_refused(tmp_path):
    with pytest.raises(ValueError, match="rank must be from 1 to 64 for a 64 x 64 matrix, got 66"):
        save_adapter(variant("PiSSA", ("o",), rank=33), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_trained_beside_lora_is_not_left_out_in_silence(tmp_path):
    model = variant("rsLoRA")
    model.transformer.ln_f.bias.requires_grad_(True)
    with pytest.raises(ValueError, match=r"LoRA alone, and transformer\.ln_f\.bias is trained beside it"):
        save_adapter(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_ranks_of_ones_own_are_saved_where_a_layer_is_whole(tmp_path):
    model = random_gpt2().requires_grad_(False)
    for block, rank in zip(model.transformer.h, (2, 3), strict=True):
        block.mlp.c_fc = LinearWithLoRA(block.mlp.c_fc, rank, 6)
    with_updates(model)
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(random_gpt2(), tmp_path)), logits(model))
    close(logits(PeftModel.from_pretrained(random_gpt2(), tmp_path)), logits(model))
