"""LoRA put into a GPT-2 and taken out again, against PEFT and against the model as it was before."""

import itertools
import os
import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Model, GPTNeoConfig, GPTNeoForCausalLM
from unchanged import assert_unchanged, everything

from lora_lab.attention import SelfAttentionWithLoRA
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import (
    ALL_TARGETS,
    GPT2_SIZES,
    LAYERS,
    SHIPPED,
    apply_lora_to_gpt2,
    dense_layers,
    dense_weights,
    empty_gpt2,
    load_gpt2,
    load_tokenizer,
    lora_layers,
    random_gpt2,
    random_gpt2_small,
    remove_lora_from_gpt2,
)
from lora_lab.lora import LinearWithLoRA, LoRALayer
from lora_lab.merging import lora_modules, merge, unmerge

IDS = torch.randint(1, 100, (2, 9), generator=torch.Generator().manual_seed(0))
EVERY = ("q", "k", "v", "o", "fc", "proj")


def close(first, second):
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def tiny_gpt2(**config):
    return random_gpt2(n_embd=16, n_layer=1, **config)


def with_updates(model):
    """The same model with every A and B random."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith((".A", ".B")):
            nn.init.normal_(parameter, std=0.1)
    return model


def adapted_gpt2(targets=EVERY, **options):
    return with_updates(apply_lora_to_gpt2(random_gpt2(), 2, 6, targets, **options))


# The models to practise on


def test_one_seed_gives_one_model():
    first, second = random_gpt2(seed=3)(IDS).logits, random_gpt2(seed=3)(IDS).logits
    assert torch.equal(first, second)
    assert not torch.equal(first, random_gpt2(seed=4)(IDS).logits)


def test_a_random_model_leaves_the_random_numbers_outside_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    random_gpt2(seed=7)
    assert torch.equal(torch.rand(3), expected)


def test_a_random_model_is_in_eval_mode_with_its_head_tied():
    model = random_gpt2()
    assert not any(module.training for module in model.modules())
    assert model.lm_head.weight is model.transformer.wte.weight


def test_a_setting_of_the_configuration_is_obeyed():
    assert len(random_gpt2(n_layer=3).transformer.h) == 3


# Name, heads and parameters as OpenAI's checkpoints have them, without the output layer, which is tied.
@pytest.mark.parametrize(
    ("name", "heads", "parameters"),
    [
        ("gpt2", 12, 124_439_808),
        ("gpt2-medium", 16, 354_823_168),
        ("gpt2-large", 20, 774_030_080),
        ("gpt2-xl", 25, 1_557_611_200),
    ],
)
def test_the_published_sizes_have_the_published_shapes(name, heads, parameters):
    model = empty_gpt2(name)
    attention = model.transformer.h[0].attn
    assert list(GPT2_SIZES).index(name) == [12, 16, 20, 25].index(heads) and len(GPT2_SIZES) == 4
    assert (attention.num_heads, attention.head_dim) == (heads, 64)  # 64 numbers a head, in every size
    assert model.config.n_embd == heads * 64
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert (model.config.vocab_size, model.config.n_positions) == (50257, 1024)


def test_an_empty_model_takes_no_memory():
    assert {parameter.device.type for parameter in empty_gpt2("gpt2").parameters()} == {"meta"}


def test_an_unknown_size_is_named_beside_the_known_ones():
    with pytest.raises(KeyError, match="gpt2-medium, gpt2-large, gpt2-xl, got 'gpt3'"):
        empty_gpt2("gpt3")
    assert len(GPT2_SIZES) == 4


# Putting it in


def test_logits_do_not_change_at_the_start_and_change_with_an_update():
    before = random_gpt2()(IDS).logits
    model = apply_lora_to_gpt2(random_gpt2(), 2, 6, EVERY)
    close(model(IDS).logits, before)
    assert (with_updates(model)(IDS).logits - before).abs().max() > 0.1


def test_dense_targets_are_a_no_op_at_the_start_bit_for_bit():
    before = random_gpt2()(IDS).logits
    assert torch.equal(apply_lora_to_gpt2(random_gpt2(), 2, 6, ("c_attn", "fc", "proj"))(IDS).logits, before)


def test_the_model_is_changed_in_place_and_returned():
    model = random_gpt2()
    assert apply_lora_to_gpt2(model, 2, 6) is model
    assert len(lora_modules(model)) == 2


def test_a_model_without_a_head_takes_lora_too():
    model = apply_lora_to_gpt2(random_gpt2().transformer, 2, 6)
    assert isinstance(model, GPT2Model) and len(lora_modules(model)) == 2


PER_BLOCK = {"q": 2, "k": 2, "v": 2, "o": 2, "c_attn": 4, "fc": 5, "proj": 5}  # times rank times width
SUBSETS = [
    targets
    for size in range(1, len(LAYERS) + 1)
    for targets in itertools.combinations(LAYERS, size)
    if "c_attn" not in targets or not {"q", "k", "v"} & set(targets)
]


@pytest.mark.parametrize("targets", SUBSETS, ids="-".join)
def test_every_choice_of_targets_trains_its_a_and_b_and_nothing_else(targets):
    model = apply_lora_to_gpt2(tiny_gpt2(), 3, 6, targets)
    assert count_trainable_parameters(model) == 3 * 16 * sum(PER_BLOCK[name] for name in targets)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(name.endswith((".A", ".B")) for name in trainable) and len(trainable) == 2 * len(targets)


def test_the_order_of_targets_does_not_matter():
    first, second = adapted_gpt2(("q", "o", "proj")), adapted_gpt2(("proj", "o", "q"))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(IDS).logits, second(IDS).logits)


@pytest.mark.parametrize("targets", [("c_attn",), ("fc",), ("proj",), ("c_attn", "o", "fc", "proj"), EVERY])
def test_merged_and_unmerged_logits_are_equal(targets):
    model = adapted_gpt2(targets)
    unmerged = model(IDS).logits
    assert (unmerged - random_gpt2()(IDS).logits).abs().max() > 0.1
    close(merge(model)(IDS).logits, unmerged)
    assert torch.equal(unmerge(model)(IDS).logits, unmerged)


def test_frozen_weights_are_bit_equal_after_training():
    plain = random_gpt2()
    model = apply_lora_to_gpt2(random_gpt2(), 2, 6, EVERY).train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        model(IDS, labels=IDS).loss.backward()
        optimiser.step()
    assert all(p.any() for p in model.parameters() if p.requires_grad)
    for name, tensor in remove_lora_from_gpt2(model).state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name])


def test_dropout_of_the_update_acts_in_training_only():
    model = adapted_gpt2(dropout=0.5)
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p != 0.5:
            module.p = 0.0  # GPT-2's own
    assert not torch.equal(model.train()(IDS).logits, model(IDS).logits)
    assert torch.equal(model.eval()(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("training", [False, True])
def test_new_modules_are_in_the_mode_of_the_model(training):
    model = apply_lora_to_gpt2(random_gpt2().train(training), 2, 6, EVERY, dropout=0.5)
    assert {module.training for module in model.modules()} == {training}


# PEFT


def peft_pair():
    """LoRA on the fused c_attn, ours and PEFT's, with the same A and B."""
    ours = adapted_gpt2(("c_attn",))
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["c_attn"], fan_in_fan_out=True)
    theirs = get_peft_model(random_gpt2(), config).eval()
    for block, target in zip(ours.transformer.h, theirs.base_model.model.transformer.h, strict=True):
        target.attn.c_attn.lora_A["default"].weight.data.copy_(block.attn.c_attn.lora.A)
        target.attn.c_attn.lora_B["default"].weight.data.copy_(block.attn.c_attn.lora.B)
    return ours, theirs


def test_logits_of_c_attn_are_bit_equal_to_peft():
    ours, theirs = peft_pair()
    assert (ours(IDS).logits - random_gpt2()(IDS).logits).abs().max() > 0.1
    assert torch.equal(ours(IDS).logits, theirs(IDS).logits)


def test_training_c_attn_is_bit_equal_to_peft():
    losses = []
    for model in peft_pair():
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
        losses.append([])
        for _ in range(10):
            optimiser.zero_grad()
            loss = model(IDS, labels=IDS).loss
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0] - 0.1


def test_the_merged_c_attn_is_bit_equal_to_that_of_peft():
    ours, theirs = peft_pair()
    merge(ours)
    for block, expected in zip(ours.transformer.h, theirs.merge_and_unload().transformer.h, strict=True):
        assert torch.equal(block.attn.c_attn.base.weight, expected.attn.c_attn.weight)


# Taking it out


def test_the_dense_weights_are_what_merging_changes_each_in_its_place():
    model, merged = random_gpt2(), with_updates(apply_lora_to_gpt2(random_gpt2(), 2, 6, EVERY))
    updates = {name: layer.delta_W() for name, layer in lora_layers(merged).items()}
    merge(merged)
    weights = dense_weights(model)
    assert weights.keys() == updates.keys() and len(weights) == 2 * len(EVERY)
    with torch.no_grad():
        before = model(IDS).logits
        for name, weight in weights.items():
            weight += updates[name]
        assert not torch.allclose(model(IDS).logits, before, atol=0.1)
        torch.testing.assert_close(model(IDS).logits, merged(IDS).logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("targets", [EVERY, ("c_attn", "o"), ("fc",)], ids="-".join)
def test_the_dense_weights_under_lora_are_the_frozen_ones_and_merged_the_summed_ones(targets):
    plain, model = random_gpt2(), with_updates(apply_lora_to_gpt2(random_gpt2(), 2, 6, targets))
    names = [f"{number}.{target}" for number in (0, 1) for target in ("q", "k", "v", "o", "fc", "proj")]
    frozen = {name: W.clone() for name, W in dense_weights(model).items()}
    assert list(frozen) == names
    assert all(torch.equal(W, dense_weights(plain)[name]) for name, W in frozen.items())
    merge(model)
    moved = {
        name.split(".")[1] for name, W in dense_weights(model).items() if not torch.equal(W, frozen[name])
    }
    assert moved == {target for target in ALL_TARGETS if {target, LAYERS[target].split(".")[1]} & {*targets}}


def test_the_dense_layers_are_the_very_modules_by_their_names_in_a_block():
    model = random_gpt2()
    layers = dense_layers(model)
    assert list(layers)[3:5] == ["0.mlp.c_proj", "1.attn.c_attn"] and len(layers) == 8
    assert all(model.get_submodule(f"transformer.h.{name}") is layer for name, layer in layers.items())
    apply_lora_to_gpt2(model, 2, 6, ("c_attn", "o", "fc"))
    assert all(dense_layers(model)[name] is layer for name, layer in layers.items())


@pytest.mark.parametrize("targets", SUBSETS, ids="-".join)
def test_the_lora_layers_are_found_by_name_wherever_they_are(targets):
    model = apply_lora_to_gpt2(tiny_gpt2(), 3, 6, targets)
    found, shapes = lora_layers(model), {name: W.shape for name, W in dense_weights(model).items()}
    assert {name.split(".")[1] for name in found} == {*targets}
    assert {id(layer) for layer in found.values()} == {
        id(module) for module in model.modules() if isinstance(module, LoRALayer)
    }
    for name, layer in found.items():
        if not name.endswith("c_attn"):
            assert (len(layer.B), layer.A.shape[1]) == shapes[name]
    assert lora_layers(tiny_gpt2()) == {}


@pytest.mark.parametrize(
    "targets", [("q",), ("c_attn",), ("fc", "proj"), ("c_attn", "o"), EVERY], ids="-".join
)
def test_removal_gives_back_the_very_modules_and_weights(targets):
    model = random_gpt2()
    before = everything(model)
    apply_lora_to_gpt2(model, 2, 6, targets)
    assert lora_modules(model)
    with_updates(model)
    assert remove_lora_from_gpt2(model) is model
    assert_unchanged(model, before)


def test_removal_keeps_frozen_what_was_frozen_before():
    model = random_gpt2()
    model.transformer.wte.requires_grad_(False)
    model.transformer.h[0].mlp.requires_grad_(False)
    model.transformer.h[1].attn.c_attn.bias.requires_grad_(False)
    before = everything(model)
    remove_lora_from_gpt2(apply_lora_to_gpt2(model, 2, 6, EVERY))
    assert_unchanged(model, before)


def test_removal_after_merging_and_unmerging_gives_back_the_weights():
    model = random_gpt2()
    before = everything(model)
    with_updates(apply_lora_to_gpt2(model, 2, 6, EVERY))
    remove_lora_from_gpt2(unmerge(merge(model)))
    assert_unchanged(model, before)


def test_removal_from_a_model_without_lora_changes_nothing():
    model = random_gpt2()
    before = everything(model)
    assert remove_lora_from_gpt2(model) is model
    assert_unchanged(model, before)


def test_after_removal_lora_can_be_put_in_again():
    model = remove_lora_from_gpt2(apply_lora_to_gpt2(random_gpt2(), 2, 6))
    apply_lora_to_gpt2(model, 4, 8, ("c_attn", "fc"))
    assert {type(module) for module in lora_modules(model)} == {LinearWithLoRA}


def test_removal_while_merged_is_refused_and_nothing_changes():
    model = merge(adapted_gpt2())
    before, logits = everything(model), model(IDS).logits
    with pytest.raises(RuntimeError, match=r"unmerge\(model\) first"):
        remove_lora_from_gpt2(model)
    assert_unchanged(model, before)
    assert torch.equal(model(IDS).logits, logits)


# What is refused, with the model untouched


def assert_refused(model, kind, message, rank=2, alpha=6, **options):
    before = everything(model)
    with pytest.raises(kind, match=message):
        apply_lora_to_gpt2(model, rank, alpha, **options)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ((), r"got \(\); the targets are q, k, v, o"),
        ("q", "got 'q'; the targets are"),
        ("c_attn", "got 'c_attn'"),
        (None, "got None"),
        (("q", "x"), "no target 'x'; the targets are q, k, v, o, c_attn, fc, proj"),
        (("attn",), "no target 'attn'"),
        ((1,), "no target 1"),
        (("q", "q"), r"once, got \('q', 'q'\)"),
        (["fc", "o", "fc"], "once"),
        (("lm_head",), "lm_head cannot be adapted.* tied"),
        (("q", "wte"), "wte cannot be adapted.* tied"),
        (("c_attn", "q"), r"not both, got \('c_attn', 'q'\)"),
        (("v", "o", "c_attn"), "not both"),
    ],
    ids=repr,
)
def test_bad_targets_are_named(targets, message):
    assert_refused(tiny_gpt2(), ValueError, message, targets=targets)


@pytest.mark.parametrize("targets", [("q",), ("c_attn",), ("fc", "q")], ids="-".join)
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"rank": 17}, ValueError, "from 1 to 16 .* got 17"),
        ({"rank": 0}, ValueError, "got 0"),
        ({"rank": 2.0}, TypeError, r"got 2\.0"),
        ({"alpha": -1}, ValueError, "alpha must be .* got -1"),
        ({"dropout": 2.0}, ValueError, r"2\.0"),
    ],
    ids=repr,
)
def test_a_bad_number_is_named(targets, options, kind, message):
    assert_refused(tiny_gpt2(), kind, message, targets=targets, **options)


def test_an_error_in_the_last_block_is_undone_in_the_first():
    model = random_gpt2()
    model.transformer.h[0].ln_1.requires_grad_(False)
    model.transformer.h[1].attn.reorder_and_upcast_attn = True
    assert_refused(model, ValueError, "reorder_and_upcast_attn", targets=EVERY)


def test_applying_it_twice_is_refused_and_the_first_update_stays():
    model = adapted_gpt2()
    logits = model(IDS).logits
    assert_refused(model, ValueError, r"remove_lora_from_gpt2\(model\) first", targets=("q",))
    assert torch.equal(model(IDS).logits, logits)


@pytest.mark.parametrize("model", [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))], ids=repr)
def test_what_is_no_transformer_is_named(model):
    assert_refused(model, TypeError, f"got {type(model).__name__}")


@pytest.mark.parametrize("targets", [("q",), ("c_attn",), ("fc",)], ids="-".join)
def test_a_transformer_that_is_no_gpt2_is_refused(targets):
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]}
    model = GPTNeoForCausalLM(GPTNeoConfig(**sizes, vocab_size=20, bos_token_id=0, eos_token_id=0))
    assert_refused(model, TypeError, "GPTNeo|Linear", targets=targets)


def test_the_attention_is_replaced_only_if_one_of_its_own_targets_is_named():
    block = apply_lora_to_gpt2(tiny_gpt2(), 2, 6, ("c_attn", "fc")).transformer.h[0]
    assert not isinstance(block.attn, SelfAttentionWithLoRA)
    block = apply_lora_to_gpt2(tiny_gpt2(), 2, 6, ("c_attn", "o")).transformer.h[0]
    assert isinstance(block.attn, SelfAttentionWithLoRA) and isinstance(
        block.attn.base.c_attn, LinearWithLoRA
    )


# Pretrained models


def test_the_shipped_model_is_loaded_ready_to_use():
    model, tokenizer = load_gpt2(), load_tokenizer()
    ids = torch.tensor(
        [[tokenizer.eos_token_id, *tokenizer("Once upon a time there was a child called Mia.").input_ids]]
    )
    assert not model.training and model.dtype == torch.float32
    assert model(ids, labels=ids).loss < 1.0


def test_a_local_folder_is_loaded_as_it_is(tmp_path):
    saved = random_gpt2()
    saved.save_pretrained(tmp_path)
    loaded = load_gpt2(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))


def test_a_loaded_model_goes_by_the_name_that_was_asked_for_and_knows_its_loss():
    model = load_gpt2()
    assert model.name_or_path == "story-gpt2"  # and not the folder that it lies in on this machine
    assert model.loss_type == "ForCausalLM"  # else transformers guesses, and says so in the lesson


def test_only_the_files_on_this_machine_are_used_whatever_the_environment_says(tmp_path):
    """A model in the local cache is loaded by its name, one that is not there is refused, and nobody even
    asks for an address.
    """
    snapshot = tmp_path / "hub" / "models--gpt2" / "snapshots" / "123abc"
    shutil.copytree(SHIPPED, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("123abc")
    online = {name: value for name, value in os.environ.items() if "OFFLINE" not in name} | {
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    result = subprocess.run([sys.executable, "-c", WATCHED], env=online, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["loaded", "loaded", "refused", "refused", "watched:", "0", "1"]


WATCHED = """
import socket

asked = []

def refuse(*where, **more):
    asked.append(where)
    raise OSError(f"the test allows no network, asked for {where}")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = socket.socket.connect_ex = refuse

import huggingface_hub
from lora_lab.gpt2 import load_gpt2, load_tokenizer

assert not huggingface_hub.constants.HF_HUB_OFFLINE  # or nothing here would be tested
for load in (load_gpt2, load_tokenizer):
    load("gpt2")
    print("loaded")
for load in (load_gpt2, load_tokenizer):
    try:
        load("gpt2-medium")
    except FileNotFoundError:
        print("refused")
before = len(asked)
try:
    socket.create_connection(("huggingface.co", 443))
except OSError:
    print("watched:", before, len(asked))
"""


@pytest.mark.parametrize("load", [load_gpt2, load_tokenizer])
@pytest.mark.parametrize("name", ["gpt2-medium", "/no/such/folder", "no such name", "a/b/c"])
def test_a_model_that_is_not_on_this_machine_is_not_fetched(load, name):
    with pytest.raises(FileNotFoundError, match=f"'{name}' is not on this machine: fetch it once"):
        load(name)


@pytest.mark.parametrize("load", [load_gpt2, load_tokenizer])
def test_an_adapter_is_no_model_and_the_base_that_it_names_is_not_looked_for(load, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "gpt2"}')
    with pytest.raises(FileNotFoundError, match="is not on this machine"):
        load(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
    model = random_gpt2()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError):
        load_gpt2(tmp_path)


def test_loading_prints_nothing(capfd):
    load_gpt2()
    assert capfd.readouterr() == ("", "")


def test_a_random_model_has_the_settings_that_are_said():
    config = random_gpt2().config
    shape = config.n_embd, config.n_layer, config.n_head, config.n_positions, config.vocab_size
    assert shape == (64, 2, 4, 64, 100) and config.loss_type == "ForCausalLM"
    assert config.bos_token_id == config.eos_token_id == config.pad_token_id == 0
    assert random_gpt2().lm_head.weight.std().item() == pytest.approx(0.2, rel=0.02)


def test_a_random_gpt2_small_has_its_shape_and_drops_nothing():
    with torch.device("meta"):
        model = random_gpt2_small()
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    assert model.config.n_head == 12 and model.loss_type == "ForCausalLM"
    drops = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert len(drops) > 24 and not any(drops)
