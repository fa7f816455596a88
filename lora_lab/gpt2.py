"""A GPT-2 to practise on, LoRA put into it, and taken out again. Lessons 08 and 09 build on this file."""

import os
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.utils.logging import disable_progress_bar

from lora_lab.attention import ATTENTION_TARGETS, SelfAttentionWithLoRA
from lora_lab.lora import LinearWithLoRA, dense_weight
from lora_lab.merging import check_unmerged, frozen_layer, has_lora, is_merged, lora_modules, replace_modules

# The model of every lesson that needs a pretrained one, and where it is: set LORA_LAB_MODEL to "gpt2" to use
# the real one, and LORA_LAB_DEVICE to "cuda" if there is a GPU.
MODEL_NAME = os.environ.get("LORA_LAB_MODEL", "story-gpt2")
DEVICE = os.environ.get("LORA_LAB_DEVICE", "cpu")
SHIPPED = Path(__file__).parent / "story_gpt2" / "model"

# Width d, layers L and heads of the four published sizes (Radford et al., 2019, table 2).
GPT2_SIZES = {
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12},
    "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},
    "gpt2-large": {"n_embd": 1280, "n_layer": 36, "n_head": 20},
    "gpt2-xl": {"n_embd": 1600, "n_layer": 48, "n_head": 25},
}

# The layer of a block that holds each target. GPT-2 has Q, K and V side by side in one: c_attn is all three.
LAYERS = {
    "q": "attn.c_attn",
    "k": "attn.c_attn",
    "v": "attn.c_attn",
    "o": "attn.c_proj",
    "c_attn": "attn.c_attn",
    "fc": "mlp.c_fc",
    "proj": "mlp.c_proj",
}
ALL_TARGETS = (*ATTENTION_TARGETS, "fc", "proj")  # every dense weight of a block, each once


def random_gpt2(seed=0, **config):
    """A small GPT-2 with random weights, in eval mode: 2 layers, 4 heads, width 64, 100 tokens, unless
    `config` says otherwise.

    Weights are drawn with standard deviation 0.2, ten times GPT-2's own: with 0.02 attention would be nearly
    uniform, and a forgotten mask or a swapped matrix would hardly show. The state of torch's random numbers
    outside is not touched.
    """
    small = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 100}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "loss_type": "ForCausalLM"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(GPT2Config(**{"initializer_range": 0.2, **small, **special, **config})).eval()


def random_gpt2_small():
    """A model of the shape of GPT-2 small, with random weights and no dropout."""
    no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**GPT2_SIZES["gpt2"], **no_dropout))
    model.loss_type = "ForCausalLM"
    return model


def load_gpt2(name=MODEL_NAME):
    """A pretrained GPT-2 on DEVICE, in float32 and eval mode: "story-gpt2", which ships with the course, one
    of GPT2_SIZES if its weights are in the local cache, or any folder in Hugging Face format (safetensors
    only).

    Nothing is downloaded: FileNotFoundError, with what to do, if the weights are not on this machine.
    ValueError if torch has no such DEVICE here.
    """
    model = from_local(GPT2LMHeadModel, name, use_safetensors=True, dtype=torch.float32)
    model.loss_type = "ForCausalLM"  # transformers warns if it has to guess
    model.name_or_path = str(name)  # what an adapter says it was made for: not where the files are here
    return on_device(model).eval()


def on_device(tensor_or_model):
    """The same on DEVICE. ValueError if torch has no such device here."""
    try:
        return tensor_or_model.to(DEVICE)
    except (AssertionError, RuntimeError) as error:  # torch's kind of error depends on the device
        raise ValueError(
            f"LORA_LAB_DEVICE is {DEVICE!r}, which torch cannot use here: take 'cpu', or leave it out"
        ) from error


def load_tokenizer(name=MODEL_NAME):
    """The tokenizer that belongs to `load_gpt2(name)`. Raises what `load_gpt2` raises."""
    return from_local(AutoTokenizer, name)


def from_local(kind, name, **options):
    """`kind.from_pretrained(name)` without a network."""
    disable_progress_bar()  # of loading a few weights, which would stay in a saved notebook
    try:
        return kind.from_pretrained(local_folder(name), **options)
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{name!r} is not on this machine: fetch it once with `hf download {name}`, give the folder of a "
            "GPT-2, or use 'story-gpt2', which ships with the course"
        ) from error


def local_folder(name):
    """Where the files of a model lie. transformers is given this and never a name, for which it asks the hub
    how to introduce itself, even with local_files_only. FileNotFoundError if there is no model.
    """
    folder = SHIPPED if name == "story-gpt2" else Path(name)
    if (folder / "config.json").is_file():
        return folder
    cached = try_to_load_from_cache(str(name), "config.json")
    if not isinstance(cached, str):  # None, or a mark that the hub has no such file
        raise FileNotFoundError(f"there is no config.json in {folder} or in the local cache")
    return Path(cached).parent


def empty_gpt2(name):
    """One of the published GPT-2s with its true shapes and no weights, on torch's meta device: to count, in
    no time and no memory. KeyError if `name` is none of GPT2_SIZES.
    """
    if name not in GPT2_SIZES:
        raise KeyError(f"name must be one of {', '.join(GPT2_SIZES)}, got {name!r}")
    with torch.device("meta"):
        return GPT2LMHeadModel(GPT2Config(**GPT2_SIZES[name]))


def apply_lora_to_gpt2(model, rank, alpha, targets=ATTENTION_TARGETS, dropout=0.0):
    """Put LoRA on `targets` in every block of `model`, freeze all the rest, and return `model`, which is
    changed in place.

    q, k, v, o: the four matrices of attention; c_attn: Q, K and V as the one fused layer that GPT-2 stores,
    as PEFT does by default; fc, proj: the two of the MLP. Raises, with `model` untouched, TypeError if it is
    no GPT-2 and ValueError for a target that does not exist or is tied, for q, k or v beside c_attn, and for
    a model that has LoRA already; and what `LoRALayer` raises.
    """
    blocks = gpt2_blocks(model)
    check_targets(targets)
    if lora_modules(model) or is_merged(model):
        raise ValueError("this model has LoRA already: call remove_lora_from_gpt2(model) first")
    attention_targets = [name for name in targets if name in ATTENTION_TARGETS]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for block in blocks:
            if attention_targets:
                block.attn = SelfAttentionWithLoRA(block.attn, rank, alpha, attention_targets, dropout)
            for target in targets:
                if target not in ATTENTION_TARGETS:
                    parent, name = place(block, target)
                    setattr(parent, name, LinearWithLoRA(getattr(parent, name), rank, alpha, dropout))
    except Exception:
        take_out(model, trained)
        raise
    for parameter in trained:
        parameter.requires_grad_(False)
    for module in lora_modules(model):
        module.train(model.training)
        module.trained_before = trained  # in a list: no part of the module
    return model


def remove_lora_from_gpt2(model):
    """Take LoRA out again and return `model`: the very modules that were there are back, frozen or trainable
    as they were, and bit-equal, unless `use_pissa` or `use_loftq` has written into them. RuntimeError if LoRA
    is merged. A model without LoRA stays as it is.
    """
    check_unmerged(model)
    gpt2_blocks(model)
    take_out(model, [p for module in lora_modules(model) for p in getattr(module, "trained_before", ())])
    return model


def take_out(model, trained):
    """Put back the layers that LoRA was put around, and let the parameters `trained` be trained again."""
    while lora_modules(model):  # twice, if c_attn has LoRA inside an attention that has it
        replace_modules(model, has_lora, frozen_layer)
    for parameter in trained:
        parameter.requires_grad_(True)


def gpt2_blocks(model):
    """The transformer blocks of a GPT2LMHeadModel or GPT2Model. TypeError for anything else."""
    blocks = getattr(getattr(model, "transformer", model), "h", None)
    if blocks is None or not all(isinstance(block, GPT2Block) for block in blocks):
        raise TypeError(f"a GPT-2 of transformers is needed, got {type(model).__name__}")
    return blocks


def place(block, target):
    """(parent, name) of the layer of `block` that holds `target`: getattr(parent, name) is the layer, or what
    LoRA has put around it.
    """
    parent, name = LAYERS[target].split(".")
    return frozen_layer(getattr(block, parent)), name


def dense_layers(model):
    """The frozen dense layers of every block, as a dict from "0.attn.c_attn", "0.attn.c_proj", "0.mlp.c_fc",
    "0.mlp.c_proj", "1.attn.c_attn", ... With LoRA beside them or without; of a merged model, the summed ones.
    """
    return {
        f"{number}.{LAYERS[target]}": frozen_layer(getattr(*place(block, target)))
        for number, block in enumerate(gpt2_blocks(model))
        for target in ("c_attn", "o", "fc", "proj")
    }


def dense_weights(model):
    """What LoRA can adapt, the weights (out, in) of those layers, as a dict from "0.q", "0.k", "0.v", "0.o",
    "0.fc", "0.proj", "1.q", ... Each is a view: to change it is to change the model.
    """
    weights = {}
    for name, layer in dense_layers(model).items():
        number, layer_name = name.split(".", 1)
        targets = [target for target in ALL_TARGETS if LAYERS[target] == layer_name]
        parts = dense_weight(layer).chunk(len(targets))  # [Q | K | V], or one whole
        weights |= {f"{number}.{target}": part for target, part in zip(targets, parts, strict=True)}
    return weights


def lora_layers(model):
    """The LoRALayers of a GPT-2, as a dict from "0.q", "0.c_attn", ... RuntimeError if LoRA is merged."""
    check_unmerged(model)
    layers = {}
    for number, block in enumerate(gpt2_blocks(model)):
        of_block = dict(block.attn.lora) if has_lora(block.attn) else {}
        for target in ("c_attn", "fc", "proj"):
            layer = getattr(*place(block, target))
            if has_lora(layer):
                of_block[target] = layer.lora
        layers |= {f"{number}.{target}": of_block[target] for target in LAYERS if target in of_block}
    return layers


def dense_names(model):
    """The names of the parameters of `model`, a GPT-2 without LoRA, that `dense_layers` hold as weights."""
    layers = [id(layer.weight) for layer in dense_layers(model).values()]
    return [name for name, parameter in model.named_parameters() if id(parameter) in layers]


def check_targets(targets):
    """Raise ValueError unless `targets` names matrices that `apply_lora_to_gpt2` can adapt together."""
    known = f"the targets are {', '.join(LAYERS)}"
    if isinstance(targets, str) or not targets:
        raise ValueError(f"targets must be a tuple or list of names, got {targets!r}; {known}")
    for name in targets:
        if name in ("lm_head", "wte"):
            raise ValueError(
                f"{name} cannot be adapted: lm_head and wte are one tied weight, so a merged update of the "
                f"output layer would change the embeddings too; {known}"
            )
        if name not in LAYERS:
            raise ValueError(f"there is no target {name!r}; {known}")
    if len(set(targets)) < len(targets):
        raise ValueError(f"each target can be named once, got {targets!r}")
    if "c_attn" in targets and {"q", "k", "v"} & set(targets):
        raise ValueError(f"c_attn is q, k and v in one: name it or them, not both, got {targets!r}")
