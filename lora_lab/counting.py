"""Parameters, counted on a model and from a closed formula. Lesson 09 builds on this file."""

from lora_lab.low_rank import check_rank


def count_parameters(model):
    """All numbers in the parameters of `model`; a weight that two layers share is counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_trainable_parameters(model):
    """The numbers that an optimiser may change: those of parameters with `requires_grad`."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def gpt2_parameters(width, layers, vocabulary=50_257, positions=1_024):
    """Parameters of a GPT-2 with tied output layer: V d + T d + L (12 d^2 + 13 d) + 2 d.

    d = `width`, L = `layers`, V = `vocabulary`, T = `positions`. A block holds 12 d^2 weights (3 + 1 in
    attention, 4 + 4 in the MLP) and 13 d biases and layer norm parameters; 2 d is the last layer norm.
    Radford et al., 2019. ValueError for a size below 1.
    """
    if min(width, layers, vocabulary, positions) < 1:
        raise ValueError(f"every size must be at least 1, got {(width, layers, vocabulary, positions)}")
    embeddings = vocabulary * width + positions * width
    blocks = layers * (12 * width**2 + 13 * width)
    return embeddings + blocks + 2 * width


def lora_parameters(shapes, rank):
    """Numbers in A and B for every weight of `shapes`, pairs (in, out): the sum of rank * (in + out). arXiv
    2106.09685, section 4.2. `shapes` is a list or tuple. Raises what `check_rank` raises.
    """
    for fan_in, fan_out in shapes:
        check_rank(rank, fan_out, fan_in)
    return sum(rank * (fan_in + fan_out) for fan_in, fan_out in shapes)
