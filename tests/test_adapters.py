"""Adapters saved, loaded and swapped: by us, by PEFT, and each by the other; and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from unchanged import assert_unchanged, everything

from lora_lab import adapters
from lora_lab.adapters import load_adapter, save_adapter
from lora_lab.adapters.files import CONFIG, WEIGHTS
from lora_lab.adapters.fused import Update, fuse_qkv, split_qkv
from lora_lab.attention import SelfAttentionWithLoRA
from lora_lab.gpt2 import (
    apply_lora_to_gpt2,
    empty_gpt2,
    load_gpt2,
    lora_layers,
    random_gpt2,
    remove_lora_from_gpt2,
)
from lora_lab.lora import LinearWithLoRA
from lora_lab.merging import lora_modules, merge, unmerge

pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
    pytest.mark.filterwarnings("ignore:Adapter 'default'.* invalid shape"),  # PEFT of its own lora_bias
]

IDS = torch.randint(1, 100, (2, 9), generator=torch.Generator().manual_seed(0))
QKVO = ("q", "k", "v", "o")
EVERY = (*QKVO, "fc", "proj")
FUSED = ("c_attn", "o", "fc", "proj")
TARGETS = [("q",), ("v", "q"), ("k",), QKVO, ("o",), ("c_attn",), FUSED, EVERY, ("fc",), ("k", "proj")]
NUMBERS = [(1, 1), (3, 7), (8, 0.5)]
FIRST_A = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
FIRST_B = FIRST_A.replace("lora_A", "lora_B")


def close(first, second):
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def with_updates(model, seed=1):
    """The same model with every A and B random, ours and PEFT's."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith((".A", ".B")) or "lora_" in name:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


def adapted_gpt2(targets=QKVO, rank=2, alpha=6, seed=1, **options):
    return with_updates(apply_lora_to_gpt2(random_gpt2(), rank, alpha, targets, **options), seed)


def peft_gpt2(target_modules=("c_attn",), base=None, **options):
    asked = target_modules if isinstance(target_modules, str) else list(target_modules)
    options = {"r": 2, "lora_alpha": 6, "target_modules": asked, "task_type": "CAUSAL_LM", **options}
    return with_updates(get_peft_model(base or random_gpt2(), LoraConfig(**options)).eval())


def change_config(folder, remove=(), **settings):
    path = Path(folder, CONFIG)
    config = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in remove}))


def change_tensors(folder, change):
    """Let `change` work on the dictionary of tensors; the metadata stay."""
    path = Path(folder, WEIGHTS)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata)


@pytest.fixture(scope="module")
def peft_files(tmp_path_factory):
    """{name of a file: its bytes} of an adapter on c_attn, made by PEFT."""
    folder = tmp_path_factory.mktemp("peft")
    peft_gpt2().save_pretrained(folder)
    return {name: (folder / name).read_bytes() for name in (WEIGHTS, CONFIG)}


@pytest.fixture
def made_by_peft(peft_files, tmp_path):
    """A folder of its own with these files, for a test to spoil."""
    for name, content in peft_files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def made_by_us(tmp_path):
    save_adapter(adapted_gpt2(("q", "v", "o")), tmp_path)
    return tmp_path


# Saved and loaded


@pytest.mark.parametrize(("rank", "alpha"), NUMBERS, ids=repr)
@pytest.mark.parametrize("targets", TARGETS, ids="-".join)
def test_what_was_saved_is_loaded_bit_for_bit_and_peft_agrees(targets, rank, alpha, tmp_path):
    model = adapted_gpt2(targets, rank, alpha)
    expected = logits(model)
    assert (expected - logits(random_gpt2())).abs().max() > 1e-3
    assert save_adapter(model, tmp_path) is model
    assert torch.equal(logits(model), expected)

    fresh = random_gpt2()
    assert load_adapter(fresh, tmp_path) is fresh
    assert torch.equal(logits(fresh), expected)
    assert fresh.state_dict().keys() == model.state_dict().keys()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}

    close(logits(PeftModel.from_pretrained(random_gpt2(), tmp_path)), expected)


@pytest.mark.filterwarnings("error::UserWarning")
def test_peft_reads_our_files_without_a_warning_and_fits_every_tensor(made_by_us):
    theirs = PeftModel.from_pretrained(random_gpt2(), made_by_us, is_trainable=True)
    theirs.save_pretrained(made_by_us / "again")
    first, second = load_file(made_by_us / WEIGHTS), load_file(made_by_us / "again" / WEIGHTS)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_the_loader_of_transformers_reads_our_files(made_by_us):
    theirs = random_gpt2()
    theirs.load_adapter(made_by_us)
    close(logits(theirs), logits(load_adapter(random_gpt2(), made_by_us)))


def test_the_files_are_those_that_peft_documents(tmp_path):
    save_adapter(adapted_gpt2(("q", "v", "o", "proj"), 3, 7, dropout=0.1), tmp_path / "a" / "b")
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {WEIGHTS, CONFIG}
    assert json.loads((tmp_path / "a" / "b" / CONFIG).read_text()) == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": 3,
        "rank_pattern": {"attn.c_attn": 6},
        "lora_alpha": 7,
        "alpha_pattern": {"attn.c_attn": 14},
        "lora_dropout": 0.1,
        "target_modules": ["attn.c_attn", "attn.c_proj", "mlp.c_proj"],
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": True,
        "bias": "none",
        "inference_mode": True,
    }
    shapes = {key: tuple(tensor.shape) for key, tensor in load_file(tmp_path / "a" / "b" / WEIGHTS).items()}
    block = "base_model.model.transformer.h.1"
    assert len(shapes) == 2 * 3 * 2
    assert shapes[FIRST_A] == (6, 64) and shapes[FIRST_B] == (192, 6)
    assert shapes[f"{block}.attn.c_proj.lora_A.weight"] == (3, 64)
    assert shapes[f"{block}.mlp.c_proj.lora_A.weight"] == (3, 256)
    assert shapes[f"{block}.mlp.c_proj.lora_B.weight"] == (64, 3)


def test_the_name_of_the_base_model_is_written(tmp_path):
    model = adapted_gpt2()
    model.name_or_path = "story-gpt2"
    save_adapter(model, tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["base_model_name_or_path"] == "story-gpt2"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("gpt2", "gpt2"),
        ("openai-community/gpt2", "openai-community/gpt2"),
        ("FOLDER", "my-gpt2"),
        ("FOLDER/", "my-gpt2"),
        ("/home/anna/gone/my-gpt2", "my-gpt2"),  # no longer there
        ("../private/my-gpt2", "my-gpt2"),
        ("../gone", "gone"),
        ("private/my-gpt2", "my-gpt2"),  # a folder from here, which has the look of a name on the hub
        (".", "here"),
    ],
)
def test_a_folder_of_this_machine_is_never_written_only_its_last_part(tmp_path, monkeypatch, name, written):
    folder = tmp_path / "here" / "private" / "my-gpt2"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    model = adapted_gpt2()
    model.name_or_path = name.replace("FOLDER", str(folder))
    save_adapter(model, "adapter")
    assert json.loads(Path("adapter", CONFIG).read_text())["base_model_name_or_path"] == written
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in Path("adapter").iterdir())


def test_an_adapter_of_a_model_from_a_folder_names_no_folder_either(tmp_path):
    random_gpt2().save_pretrained(tmp_path / "my-gpt2")
    model = apply_lora_to_gpt2(load_gpt2(tmp_path / "my-gpt2"), 2, 6)
    save_adapter(model, tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text())["base_model_name_or_path"] == "my-gpt2"


def test_one_adapter_gives_the_same_bytes_every_time(tmp_path):
    model = adapted_gpt2(EVERY)
    saved = set()
    for i in range(5):
        save_adapter(model, tmp_path / str(i))
        saved.add(tuple((tmp_path / str(i) / name).read_bytes() for name in (WEIGHTS, CONFIG)))
    assert len(saved) == 1


def test_saving_changes_nothing_in_the_model(tmp_path):
    model = adapted_gpt2(EVERY)
    before = everything(model)
    save_adapter(model, tmp_path)
    assert_unchanged(model, before)


def test_loading_keeps_the_random_numbers_and_the_mode_of_the_model(made_by_us):
    torch.manual_seed(5)
    expected = torch.rand(3)
    for training in (True, False):
        torch.manual_seed(5)
        model = load_adapter(random_gpt2().train(training), made_by_us)
        assert torch.equal(torch.rand(3), expected)
        assert {module.training for module in model.modules()} == {training}


def test_dropout_is_saved_and_loaded(tmp_path):
    save_adapter(adapted_gpt2(EVERY, dropout=0.25), tmp_path)
    layers = lora_layers(load_adapter(random_gpt2(), tmp_path))
    assert {lora.dropout.p for lora in layers.values()} == {0.25}


def test_a_model_without_a_head_is_saved_and_loaded(tmp_path):
    model = with_updates(apply_lora_to_gpt2(random_gpt2().transformer, 2, 6, EVERY)).eval()
    save_adapter(model, tmp_path)
    fresh = load_adapter(random_gpt2().transformer, tmp_path)
    theirs = PeftModel.from_pretrained(random_gpt2().transformer, tmp_path)
    with torch.no_grad():
        expected = model(IDS).last_hidden_state
        assert torch.equal(fresh(IDS).last_hidden_state, expected)
        close(theirs(IDS).last_hidden_state, expected)


def test_half_precision_is_saved_and_loaded_as_it_is(tmp_path):
    model = with_updates(apply_lora_to_gpt2(random_gpt2().bfloat16(), 2, 6, EVERY))
    save_adapter(model, tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / WEIGHTS).values()} == {torch.bfloat16}
    assert torch.equal(logits(load_adapter(random_gpt2().bfloat16(), tmp_path)), logits(model))
    assert load_adapter(random_gpt2(), tmp_path).transformer.h[0].attn.lora["q"].A.dtype == torch.float32


def test_an_adapter_can_be_trained_after_loading_and_saved_again(made_by_us):
    model = load_adapter(random_gpt2(), made_by_us).train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    model(IDS, labels=IDS).loss.backward()
    optimiser.step()
    save_adapter(model.eval(), made_by_us)
    assert torch.equal(logits(load_adapter(random_gpt2(), made_by_us)), logits(model))


def test_the_size_of_the_files_of_gpt2_small(tmp_path):
    model = apply_lora_to_gpt2(empty_gpt2("gpt2"), 8, 8, QKVO)
    for lora in lora_layers(model).values():
        lora.A, lora.B = (nn.Parameter(torch.zeros(p.shape)) for p in (lora.A, lora.B))
    save_adapter(model, tmp_path)
    # c_attn at rank 24 and c_proj at rank 8, in 12 blocks, 4 bytes a number
    numbers = 12 * (24 * (768 + 2304) + 8 * (768 + 768))
    assert numbers == 1_032_192 and sum(t.numel() for t in load_file(tmp_path / WEIGHTS).values()) == numbers
    size = (tmp_path / WEIGHTS).stat().st_size
    assert 4 * numbers < size < 4 * numbers + 8_000


# Adapters made by PEFT


@pytest.mark.parametrize(
    ("target_modules", "targets"),
    [
        (["c_attn"], {"c_attn"}),
        (["attn.c_attn"], {"c_attn"}),
        (["c_proj"], {"o", "proj"}),
        (["attn.c_proj"], {"o"}),
        (["mlp.c_proj", "mlp.c_fc"], {"fc", "proj"}),
        (["c_attn", "c_proj", "c_fc"], set(FUSED)),
        ("all-linear", set(FUSED)),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_an_adapter_made_by_peft_gives_the_same_logits_here(target_modules, targets, tmp_path):
    theirs = peft_gpt2(target_modules)
    theirs.save_pretrained(tmp_path)
    ours = load_adapter(random_gpt2(), tmp_path)
    assert lora_layers(ours).keys() == {f"{i}.{target}" for i in (0, 1) for target in targets}
    assert (logits(theirs) - logits(random_gpt2())).abs().max() > 0.1
    close(logits(ours), logits(theirs))


def test_all_linear_layers_of_a_deeper_model_have_shorter_names(tmp_path):
    theirs = peft_gpt2("all-linear", base=random_gpt2(n_layer=6))
    theirs.save_pretrained(tmp_path)
    assert len(json.loads((tmp_path / CONFIG).read_text())["target_modules"]) < 6
    close(logits(load_adapter(random_gpt2(n_layer=6), tmp_path)), logits(theirs))


def test_an_adapter_trained_by_peft_on_c_attn_is_bit_equal_here(tmp_path):
    theirs = peft_gpt2(lora_dropout=0.1).train()
    optimiser = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        theirs(IDS, labels=IDS).loss.backward()
        optimiser.step()
    theirs.eval().save_pretrained(tmp_path)
    assert torch.equal(logits(load_adapter(random_gpt2(), tmp_path)), logits(theirs))


def test_through_peft_and_back_q_k_v_come_home_as_c_attn(made_by_us):
    expected = logits(load_adapter(random_gpt2(), made_by_us))
    PeftModel.from_pretrained(random_gpt2(), made_by_us).save_pretrained(made_by_us)
    ours = load_adapter(random_gpt2(), made_by_us)
    assert lora_layers(ours).keys() == {"0.c_attn", "0.o", "1.c_attn", "1.o"}
    close(logits(ours), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"fan_in_fan_out": False},
        {"init_lora_weights": "gaussian", "task_type": None, "inference_mode": False, "revision": "main"},
        {"auto_mapping": {"base_model_class": "GPT2LMHeadModel"}, "a_future_setting": None},
        {"target_modules": "all-linear"},
        {"rank_pattern": None, "alpha_pattern": None, "use_rslora": None, "use_dora": None},
        {"remove": ("lora_dropout", "bias", "init_lora_weights", "fan_in_fan_out", "task_type")},
    ],
    ids=repr,
)
def test_settings_that_change_nothing_are_no_hindrance(settings, tmp_path):
    theirs = peft_gpt2("all-linear")
    theirs.save_pretrained(tmp_path)
    change_config(tmp_path, **settings)
    close(logits(load_adapter(random_gpt2(), tmp_path)), logits(theirs))


# q, k and v in one


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("names", ["q", "k", "v", "qk", "qv", "kv", "qkv"])
def test_fused_and_split_again(names, rslora):
    n, power = len(names), 0.5 if rslora else 1
    ranks = {name: 2 if name in names else 0 for name in "qkv"}
    parts = {
        name: Update(torch.randn(r, 5), torch.randn(5, r), 6 if r else 0, torch.rand(5))
        for name, r in ranks.items()
    }
    A, B, alpha, m = fused = fuse_qkv(dict(reversed(parts.items())), rslora)
    assert A.shape == (2 * n, 5) and B.shape == (15, 2 * n)
    assert alpha / (2 * n) ** power == pytest.approx(6 / 2**power)
    rows, lengths = (dict(zip("qkv", whole.split(5), strict=True)) for whole in (B @ A, m))
    for name, part in parts.items():
        torch.testing.assert_close(rows[name], part.B @ part.A)
        assert torch.equal(lengths[name], part.m)
    split = split_qkv(fused, {name: (2, 6) for name in names})
    assert list(split) == ["q", "k", "v"]
    for name, part in parts.items():
        assert split[name].alpha == part.alpha
        assert all(torch.equal(split[name][i], part[i]) for i in (0, 1, 3))


def test_the_fused_matrices_of_a_case_done_by_hand():
    nothing = Update(torch.zeros(0, 2), torch.zeros(2, 0), 0)
    A, B, alpha, m = fuse_qkv({
        "q": Update(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]), 5),
        "k": nothing,
        "v": Update(torch.tensor([[5.0, 6.0]]), torch.tensor([[7.0], [8.0]]), 5),
    })  # fmt: skip
    assert A.tolist() == [[1, 2], [5, 6]]
    assert B.tolist() == [[3, 0], [4, 0], [0, 0], [0, 0], [0, 7], [0, 8]]
    assert (alpha, m) == (10, None)


# Swapping


def test_two_adapters_are_swapped_in_the_very_same_parameters(tmp_path):
    expected = []
    for seed in (1, 2):
        model = adapted_gpt2(("q", "v"), seed=seed)
        expected.append(logits(model))
        save_adapter(model, tmp_path / str(seed))
    assert not torch.equal(*expected)
    model = load_adapter(random_gpt2(), tmp_path / "1")
    modules, parameters = everything(model)[:2]
    for seed in (2, 1, 2):
        assert torch.equal(logits(load_adapter(model, tmp_path / str(seed))), expected[seed - 1])
        assert all(module is modules[name] for name, module in model.named_modules())
        assert all(parameter is parameters[name] for name, parameter in model.named_parameters())


@pytest.mark.parametrize(
    "options",
    [{"targets": ("c_attn",)}, {"rank": 3}, {"alpha": 7}, {"dropout": 0.5}, {"targets": ("fc", "q")}],
)
def test_an_adapter_of_another_kind_takes_the_place_of_the_first(options, tmp_path):
    second = adapted_gpt2(**options)
    save_adapter(second, tmp_path)
    model = load_adapter(adapted_gpt2(seed=3), tmp_path)
    assert torch.equal(logits(model), logits(second))
    assert model.state_dict().keys() == second.state_dict().keys()


def test_removal_after_swapping_gives_back_the_base(tmp_path):
    save_adapter(adapted_gpt2(EVERY), tmp_path / "1")
    save_adapter(adapted_gpt2(("c_attn",)), tmp_path / "2")
    model = random_gpt2()
    model.transformer.wte.requires_grad_(False)
    before, expected = everything(model), logits(model)
    for name in ("1", "2", "1"):
        load_adapter(model, tmp_path / name)
        assert not torch.equal(logits(model), expected)
    assert_unchanged(remove_lora_from_gpt2(model), before)
    assert torch.equal(logits(model), expected)


# Files that are refused, with the model untouched


def assert_load_refused(folder, message, kind=ValueError):
    """By a model without LoRA, with LoRA that could be swapped, and with LoRA that would be removed."""
    for model in (random_gpt2(), adapted_gpt2(("c_attn",)), adapted_gpt2(("q",), rank=5)):
        before, expected = everything(model), logits(model)
        with pytest.raises(kind, match=message) as caught:
            load_adapter(model, folder)
        assert len(str(caught.value).splitlines()) == 1
        assert_unchanged(model, before)
        assert torch.equal(logits(model), expected)


def test_a_missing_folder_is_named(tmp_path):
    assert_load_refused(tmp_path / "none", "there is no folder .*none", FileNotFoundError)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_named(name, made_by_peft):
    (made_by_peft / name).unlink()
    assert_load_refused(made_by_peft, f"there is no {name} in", FileNotFoundError)


@pytest.mark.parametrize(
    "change",
    [
        lambda old: b"",
        lambda old: old[:7],
        lambda old: old[:100],
        lambda old: old[:-1],
        lambda old: b"PK" + old,
    ],
    ids=["empty", "no header", "half a header", "one byte short", "another format"],
)
def test_damaged_weights_are_refused(change, made_by_peft):
    path = made_by_peft / WEIGHTS
    path.write_bytes(change(path.read_bytes()))
    assert_load_refused(made_by_peft, f"{WEIGHTS} is damaged or no safetensors file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"peft_type": "LORA", ', "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[1, 2]", r"must hold settings by name, got \[1, 2\]"),
        (b"{}", "has no peft_type: it must be 'LORA'"),
    ],
)
def test_a_configuration_that_is_none_is_refused(content, message, made_by_peft):
    (made_by_peft / CONFIG).write_bytes(content)
    assert_load_refused(made_by_peft, message)


@pytest.mark.parametrize("name", ["peft_type", "r", "lora_alpha", "target_modules"])
def test_a_missing_setting_is_named(name, made_by_peft):
    change_config(made_by_peft, remove=(name,))
    assert_load_refused(made_by_peft, f"has no {name}: it must be")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("peft_type", "IA3", "peft_type must be 'LORA', got 'IA3'"),
        ("r", 0, "r must be a whole number from 1, got 0"),
        ("r", 2.0, r"r must be .* got 2\.0"),
        ("r", True, "r must be .* got True"),
        ("r", "2", "r must be .* got '2'"),
        ("r", 3, r"h\.0\.attn\.c_attn\.lora_A\.weight must be \(3, 64\) of floats for r = 3, got \(2, 64\)"),
        ("lora_alpha", None, "lora_alpha must be a positive number, got None"),
        ("lora_alpha", 0, "lora_alpha must be .* got 0"),
        ("lora_alpha", -6, "lora_alpha must be .* got -6"),
        ("lora_alpha", float("nan"), "lora_alpha must be .* got nan"),
        ("lora_alpha", float("inf"), "lora_alpha must be .* got inf"),
        ("lora_alpha", "6", "lora_alpha must be .* got '6'"),
        ("lora_alpha", 10**400, "lora_alpha must be"),
        ("lora_dropout", 1.5, r"lora_dropout must be from 0 to 1, got 1\.5"),
        ("lora_dropout", None, "lora_dropout must be"),
        ("target_modules", None, "target_modules must be a list of names or 'all-linear', got None"),
        ("target_modules", [], r"target_modules must be .* got \[\]"),
        ("target_modules", ".*c_attn", r"target_modules must be .* got '\.\*c_attn'"),
        (
            "target_modules",
            ["q_proj"],
            "target_modules has 'q_proj', but the layers .* are attn.c_proj, attn.c_at",
        ),
        ("target_modules", ["c_attn", "attn"], "target_modules has 'attn',"),
        ("target_modules", ["c_attn", "lm_head"], "target_modules has 'lm_head',"),
        ("target_modules", ["attn.c_fc"], r"target_modules has 'attn\.c_fc',"),
        ("target_modules", ["tn.c_attn"], r"target_modules has 'tn\.c_attn',"),
        ("target_modules", ["c_attn", ""], "target_modules has '',"),
        ("target_modules", [["c_attn"]], r"target_modules has \['c_attn'\],"),
        ("target_modules", "all-linear", r"has no .*h\.0\.attn\.c_proj\.lora_A\.weight"),
        ("target_modules", ["c_attn", "c_fc"], r"has no .*h\.0\.mlp\.c_fc\.lora_A\.weight"),
        ("target_modules", ["c_fc"], r"has no .*h\.0\.mlp\.c_fc\.lora_A\.weight"),
        ("bias", "all", "bias must be 'none', got 'all'"),
        ("bias", "lora_only", "bias must be"),
        ("init_lora_weights", "pissa", "init_lora_weights must be a start .* got 'pissa'"),
        ("init_lora_weights", "olora", "init_lora_weights must be"),
        ("init_lora_weights", "loftq", "init_lora_weights must be"),
        ("use_dora", True, r"has no .*h\.0\.attn\.c_attn\.lora_magnitude_vector"),
        ("use_dora", 1, "use_dora must be true or false, got 1"),
        ("use_rslora", "yes", "use_rslora must be true or false, got 'yes'"),
        ("lora_bias", True, "lora_bias is not implemented"),
        ("use_qalora", True, "use_qalora is not implemented"),
        ("rank_pattern", {"c_attn": 4}, r"must be \(4, 64\) of floats for r = 4, got \(2, 64\)"),
        ("rank_pattern", {"c_attn": 2.0}, r"rank_pattern must be ranks by .* got \{'c_attn': 2\.0\}"),
        ("rank_pattern", {"c_attn(": 2}, r"rank_pattern must be .* got \{'c_attn\('"),
        ("rank_pattern", {"(?i)c_attn": 2}, r"rank_pattern must be"),
        ("rank_pattern", {"a{99999999999999}": 2}, r"rank_pattern must be"),
        ("rank_pattern", {"(" * 3000 + ")" * 3000: 2}, r"rank_pattern must be"),
        ("rank_pattern", [2], r"rank_pattern must be .* got \[2\]"),
        ("alpha_pattern", {"c_attn": -4}, "alpha_pattern must be positive numbers by the names of layers, g"),
        ("modules_to_save", ["lm_head"], "modules_to_save is not implemented"),
        ("layers_to_transform", 0, "layers_to_transform is not implemented here, and it is 0"),
        ("layers_to_transform", [0, 1], "layers_to_transform is not implemented"),
        ("layer_replication", [[0, 2]], "layer_replication is not implemented"),
        ("exclude_modules", ["mlp"], "exclude_modules is not implemented"),
        ("megatron_config", {"a": 1}, "megatron_config is not implemented"),
        ("trainable_token_indices", [1], "trainable_token_indices is not implemented"),
        ("target_parameters", ["wte.weight"], "target_parameters is not implemented"),
        ("alora_invocation_tokens", [1], "alora_invocation_tokens is not implemented"),
        ("a_future_setting", "on", "a_future_setting is not implemented here, and it is 'on'"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_setting_is_named_with_its_value(name, value, message, made_by_peft):
    change_config(made_by_peft, **{name: value})
    assert_load_refused(made_by_peft, message)


@pytest.mark.parametrize(
    "options",
    [
        {"lora_bias": True},
        {"modules_to_save": ["ln_f"]},
        {"layers_to_transform": [1]},
        {"init_lora_weights": "pissa"},
        {"bias": "lora_only"},
        {"target_modules": ["c_attn", "wte"]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_peft_writes_for_a_variant_is_refused_by_its_name(options, tmp_path):
    peft_gpt2(**{"target_modules": ("c_attn", "c_proj"), **options}).save_pretrained(tmp_path)
    model = random_gpt2()
    before = everything(model)
    with pytest.raises(ValueError, match=next(iter(options))):
        load_adapter(model, tmp_path)
    assert_unchanged(model, before)


def put(key, tensor):
    return lambda tensors: tensors.update({key: tensor})


def spoil(value):
    return lambda tensors: tensors[FIRST_B].__setitem__((3, 1), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(FIRST_B), f"{WEIGHTS} has no {FIRST_B}"),
        (lambda tensors: tensors.pop(FIRST_A), f"{WEIGHTS} has no {FIRST_A}"),
        (lambda tensors: tensors.clear(), f"{WEIGHTS} has no {FIRST_A}"),
        (
            put("base_model.model.lm_head.weight", torch.ones(2)),
            r"has base_model\.model\.lm_head\.weight, but",
        ),
        (
            put(FIRST_A.replace("c_attn", "c_proj"), torch.ones(2, 64)),
            r"has .*h\.0\.attn\.c_proj\.lora_A\.weight, b",
        ),
        (put(FIRST_A.replace("lora_A", "lora_C"), torch.ones(2, 64)), r"has .*c_attn\.lora_C\.weight, but"),
        (put(FIRST_A, torch.ones(64, 2)), rf"{FIRST_A} must be \(2, 64\) of floats .* got \(64, 2\)"),
        (put(FIRST_A, torch.ones(4, 64)), rf"{FIRST_A} must be \(2, 64\) .* got \(4, 64\)"),
        (put(FIRST_A, torch.ones(2)), rf"{FIRST_A} must be \(2, 64\) .* got \(2,\)"),
        (put(FIRST_B, torch.ones(64, 2)), rf"{FIRST_B} must be \(192, 2\) .* got \(64, 2\)"),
        (
            put(FIRST_A, torch.ones(2, 64, dtype=torch.int64)),
            rf"{FIRST_A} must be .* of floats .* of torch.int64",
        ),
        (spoil(float("nan")), f"{FIRST_B} holds a NaN or infinite number"),
        (spoil(float("inf")), f"{FIRST_B} holds a NaN or infinite number"),
        (spoil(float("-inf")), f"{FIRST_B} holds a NaN or infinite number"),
    ],
)
def test_a_bad_tensor_is_named(change, message, made_by_peft):
    change_tensors(made_by_peft, change)
    assert_load_refused(made_by_peft, message)


def test_a_number_that_is_too_large_for_the_model_is_refused(made_by_peft):
    change_tensors(made_by_peft, spoil(1e6))
    load_adapter(random_gpt2(), made_by_peft)
    with pytest.raises(ValueError, match="NaN or infinite"):
        load_adapter(random_gpt2().half(), made_by_peft)


@pytest.mark.parametrize(
    "target_modules", [["c_attn"], ["c_fc"], ["attn.c_proj"], ["mlp.c_proj"], "all-linear"]
)
@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"n_layer": 3}, "3 layers and width 64"),
        ({"n_layer": 1}, "1 layers and width 64"),
        ({"n_embd": 32}, "2 layers and width 32"),
        ({"n_layer": 3, "n_embd": 128}, "3 layers and width 128"),
    ],
    ids=repr,
)
def test_an_adapter_for_a_model_of_another_size_is_refused(other, named, target_modules, tmp_path):
    peft_gpt2(target_modules, base=random_gpt2(**other)).save_pretrained(tmp_path)
    model = random_gpt2()
    before = everything(model)
    with pytest.raises(ValueError, match=f"made for a GPT-2 of {named}, the model has 2 layers and width 64"):
        load_adapter(model, tmp_path)
    assert_unchanged(model, before)


def test_an_adapter_of_a_model_without_a_head_does_not_fit_one_with_a_head(tmp_path):
    save_adapter(apply_lora_to_gpt2(random_gpt2().transformer, 2, 6), tmp_path)
    assert_load_refused(tmp_path, f"has no {FIRST_A}")


def test_a_rank_too_large_for_the_model_is_refused_before_the_old_lora_goes(tmp_path):
    peft_gpt2(r=65).save_pretrained(tmp_path)
    assert_load_refused(tmp_path, "rank must be from 1 to 64 for a 192 x 64 matrix, got 65")


def test_separate_q_k_v_may_need_a_larger_rank_in_peft_than_c_attn_has_here(tmp_path):
    model = adapted_gpt2(("q", "k", "v"), rank=40)
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(random_gpt2(), tmp_path)), logits(model))
    close(logits(PeftModel.from_pretrained(random_gpt2(), tmp_path)), logits(model))


def test_an_attention_that_cannot_be_replaced_is_refused_before_the_old_lora_goes(made_by_us):
    model = adapted_gpt2(("c_attn",))
    model.transformer.h[1].attn.reorder_and_upcast_attn = True
    before = everything(model)
    with pytest.raises(ValueError, match="reorder_and_upcast_attn"):
        load_adapter(model, made_by_us)
    assert_unchanged(model, before)


# Our note


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 3},
        {"lora_alpha": 18},
        {"rank_pattern": {}},
        {"alpha_pattern": {"attn.c_attn": 13}},
        {"use_rslora": True},
        {"target_modules": ["attn.c_attn"]},
        {"target_modules": ["c_attn", "c_proj"]},
    ],
)
def test_a_configuration_from_another_save_is_refused(settings, made_by_us):
    change_config(made_by_us, **settings)
    assert_load_refused(made_by_us, f"{CONFIG} and {WEIGHTS} are not from one save")


def noted(alpha=6, **ranks):
    """A note as `save_adapter` writes it, for two blocks."""
    layers = {f"{i}.{target}": [rank, alpha] for i in (0, 1) for target, rank in ranks.items()}
    return json.dumps({"use_rslora": False, "layers": layers})


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("", "the note in .* is damaged: ''"),
        ("{", "damaged"),
        ("[1]", "damaged"),
        ("{}", "damaged"),
        (noted(q=2, v=2, o=2).replace("use_rslora", "rslora"), "damaged"),
        (noted(q=2, x=2), "damaged"),
        (noted(q=2, v=2, c_attn=2), "damaged"),
        (noted(q=2, v=2, o=2).replace("1.q", "0.k"), "damaged"),
        (noted(q=2.0, v=2, o=2), "damaged"),
        (noted("6", q=2, v=2, o=2), "damaged"),
        (noted(q=2, v=3, o=2), r"q, k and v of a block must have one \(rank, alpha\), got"),
        (noted(q=2, v=2, o=3), "not from one save"),
        (noted(q=2, k=2, v=2, o=2), "not from one save"),
        (noted(5, q=2, v=2, o=2), "not from one save"),
        (noted(q=4, o=2).replace("[4, 6]", "[4, 12]"), "0.attn.c_attn in .* is not made of q, as the note"),
        (noted(v=2, k=2, o=2), "0.attn.c_attn in this adapter is not made of v, k, as the note in it says"),
    ],
)
def test_a_note_that_does_not_fit_is_refused(note, message, made_by_us):
    save_file(load_file(made_by_us / WEIGHTS), made_by_us / WEIGHTS, {adapters.NOTE: note})
    assert_load_refused(made_by_us, message)


def test_a_number_outside_the_blocks_is_refused(made_by_us):
    change_tensors(made_by_us, lambda tensors: tensors[FIRST_B].__setitem__((0, 3), 1.0))
    assert_load_refused(
        made_by_us, "0.attn.c_attn in this adapter is not made of q, v, as the note in it says"
    )


# Models that are refused


@pytest.mark.parametrize("use", [save_adapter, load_adapter])
def test_a_merged_model_is_refused(use, made_by_us):
    model = merge(adapted_gpt2())
    before, files = everything(model), [(made_by_us / name).read_bytes() for name in (WEIGHTS, CONFIG)]
    with pytest.raises(RuntimeError, match=r"call unmerge\(model\) first"):
        use(model, made_by_us)
    assert_unchanged(model, before)
    assert files == [(made_by_us / name).read_bytes() for name in (WEIGHTS, CONFIG)]
    use(unmerge(model), made_by_us)


@pytest.mark.parametrize("use", [save_adapter, load_adapter])
def test_what_is_no_gpt2_is_refused(use, made_by_us):
    with pytest.raises(TypeError, match="GPT-2 of transformers is needed, got Linear"):
        use(nn.Linear(4, 4), made_by_us)


def test_a_model_without_lora_cannot_be_saved(tmp_path):
    with pytest.raises(
        ValueError, match=r"no LoRA in this model: call apply_lora_to_gpt2\(model, \.\.\.\) first"
    ):
        save_adapter(random_gpt2(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_not_saved(value, tmp_path):
    model = adapted_gpt2(("q", "v"))
    model.transformer.h[1].attn.lora["v"].A.data[0, 0] = value
    key = FIRST_A.replace("h.0", "h.1")
    with pytest.raises(ValueError, match=f"{key} holds a NaN or infinite number"):
        save_adapter(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_lora_in_some_blocks_only_is_refused(made_by_us):
    model = random_gpt2()
    model.transformer.h[0].attn = SelfAttentionWithLoRA(model.transformer.h[0].attn, 2, 6, ("q",))
    before = everything(model)
    for use in (save_adapter, load_adapter):
        with pytest.raises(
            ValueError, match=r"same targets of all blocks .*'transformer\.h\.0\.attn\.lora\.q'"
        ):
            use(model, made_by_us)
        assert_unchanged(model, before)


def test_lora_elsewhere_is_refused(made_by_us):
    model = adapted_gpt2(("q",))
    mlp = model.transformer.h[1].mlp
    model.extra = LinearWithLoRA(mlp.c_fc, 2, 6)
    before = everything(model)
    for use in (save_adapter, load_adapter):
        with pytest.raises(ValueError, match=r"only there, it is in .*'extra\.lora'"):
            use(model, made_by_us)
        assert_unchanged(model, before)


def test_lora_that_came_in_another_way_is_replaced_too(made_by_us):
    model = random_gpt2()
    for block in model.transformer.h:
        block.mlp.c_fc = LinearWithLoRA(block.mlp.c_fc, 2, 6)
    load_adapter(model, made_by_us)
    assert torch.equal(model(IDS).logits, load_adapter(random_gpt2(), made_by_us)(IDS).logits)
    assert not any(
        module is block.mlp.c_fc for block in model.transformer.h for module in lora_modules(model)
    )
