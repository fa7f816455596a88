"""The diagrams in images/, one function each: `python -m lora_lab.drawing.diagrams` draws them all again.

A function returns a figure and its alt text, which the lessons repeat word for word.
"""

import io
import itertools
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook
from matplotlib.patches import Circle, Polygon, Rectangle
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_lab.drawing import A_BLUE, B_GREEN, FROZEN, INK, TRAINED, Picture
from lora_lab.drawing.statements import statements
from lora_lab.low_rank import truncate_svd

PALE = "#e4e4e4"


def canvas(width, height):
    """An empty figure of `width` x `height` inches, with one unit per inch and no axes."""
    fig, ax = plt.subplots(figsize=(width, height))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    return fig, ax


def box(ax, x, y, width, height, text, colour=PALE, ink=INK, size=10):
    """A filled rectangle with its lower left corner at (x, y) and a text in its middle."""
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=INK, linewidth=0.8))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=ink, size=size)


def arrow(ax, *points, colour=INK):
    """A line through the points, with a head at the last one."""
    for start, end in itertools.pairwise(points[:-1]):
        ax.plot(*zip(start, end, strict=True), color=colour, linewidth=1.2, solid_capstyle="butt")
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=style)


def low_rank_pair(ax, x, y, wide, high, thin=0.22, gap=0.1):
    """A tall green B and a wide blue A side by side, as factors of a (high, wide) matrix."""
    box(ax, x, y, thin, high, "B", B_GREEN, "white")
    box(ax, x + thin + gap, y + high - thin, wide, thin, "A", A_BLUE, "white")


def update_pair(ax, x, y):
    """A small A and B in the order in which an input passes them."""
    box(ax, x, y + 0.06, 0.6, 0.24, "A", A_BLUE, "white")
    box(ax, x + 0.66, y, 0.24, 0.3, "B", B_GREEN, "white")


def argument():
    """The course in three pictures. A product is drawn with B at its left and A above it, so that the shapes
    can be seen to fit: B is as high as BA, and A as wide.
    """
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.1))
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.91, 0.06)
    photo = np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg")).convert("L"), dtype=float)
    rng = np.random.default_rng(0)
    update = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 51)) + rng.standard_normal((60, 51))
    wide, high, thin, gap = 1.28, 1.5, 0.2, 0.06
    left = 1.62 + thin + gap  # of the product
    titles = ("1. Compress a picture", "2. Compress a weight update", "3. Train the compressed form")
    below = ("A picture is a matrix", "What fine-tuning changed is one, too", "That is LoRA")
    for ax, title, text, sign in zip(axes, titles, below, ("≈", "≈", "+"), strict=True):
        ax.set_title(title, weight="bold")
        ax.text(0, -0.5, text, va="center")
        ax.text((wide + 1.62) / 2, high / 2, sign, ha="center", va="center", size=18)
        ax.axis("off")
    for ax, matrix, rank, colours, name in (
        (axes[0], photo, 20, "gray", "M"),
        (axes[1], update, 3, "Oranges", "ΔW"),
    ):
        B, A = truncate_svd(*np.linalg.svd(matrix, full_matrices=False), rank)
        shades = {"cmap": colours, "vmin": matrix.min(), "vmax": matrix.max(), "aspect": "auto"}
        ax.imshow(matrix, extent=(0, wide, 0, high), **shades)
        ax.imshow(B @ A, extent=(left, left + wide, 0, high), **shades)
        # Without their signs, which the SVD leaves open.
        ax.imshow(abs(B) ** 0.5, extent=(1.62, 1.62 + thin, 0, high), cmap="Greens", aspect="auto")
        above = (left, left + wide, high + gap, high + gap + thin)
        ax.imshow(abs(A) ** 0.5, extent=above, cmap="Blues", aspect="auto")
        for x, y, text in ((wide / 2, -0.16, name), (left + wide / 2, -0.16, "BA"), (1.72, -0.16, "B")):
            ax.text(x, y, text, ha="center", va="center")
        ax.text(left - gap - 0.04, high + gap + thin / 2, "A", ha="right", va="center")
    box(axes[2], 0, 0, wide, high, "$W_0$\nfrozen", FROZEN)
    box(axes[2], 1.62, 0, thin, high, "B", B_GREEN, "white")
    box(axes[2], left, high + gap, wide, thin, "A", A_BLUE, "white")
    for patch in axes[2].patches[1:]:
        patch.set(edgecolor=TRAINED, linewidth=3)
    dashed = {"fill": False, "edgecolor": INK, "linewidth": 0.8, "linestyle": "--"}
    axes[2].add_patch(Rectangle((left, 0), wide, high, **dashed))
    axes[2].text(left + wide / 2, high / 2, "BA", ha="center", va="center")
    axes[2].text(1.62, -0.16, "A and B are trained", color="#9c6c00", va="center")
    for ax in axes:
        ax.set(xlim=(-0.02, left + wide + 0.05), ylim=(-0.65, high + gap + thin + 0.05), aspect="equal")
    return fig, (
        "The argument of the course in three pictures. First, a photograph M is nearly the product BA of a "
        "thin matrix B, as high as M, and a flat matrix A, as wide as M. Second, the change delta W of a "
        "weight matrix is treated in the same way. Third, the weight matrix W0 stays frozen; B and A "
        "themselves are trained, and BA is added to W0."
    )


def gpt2_block():
    """Where the dense layers sit in one block of GPT-2."""
    fig, ax = canvas(8.4, 4.4)
    ax.text(0.1, 4.15, "One block of GPT-2 holds six weight matrices, 12 d² numbers in all", weight="bold")
    for x, name in ((1.1, "Q"), (2.2, "K"), (3.3, "V")):
        box(ax, x, 0.75, 0.75, 0.75, f"{name}\nd × d")
    box(ax, 0.95, 1.85, 3.3, 0.45, "which tokens look at which", "white")
    box(ax, 2.2, 2.65, 0.75, 0.75, "O\nd × d")
    for x in (1.475, 2.575, 3.675):
        arrow(ax, (2.575, 0.2), (x, 0.35), (x, 0.75))
        arrow(ax, (x, 1.5), (x, 1.85))
    arrow(ax, (2.575, 2.3), (2.575, 2.65))
    box(ax, 5.2, 0.75, 0.75, 2.0, "4d × d")
    box(ax, 6.5, 1.35, 1.5, 0.75, "d × 4d")
    arrow(ax, (2.575, 3.4), (2.575, 3.7), (4.7, 3.7), (4.7, 1.75), (5.2, 1.75))
    arrow(ax, (5.95, 1.75), (6.5, 1.75))
    arrow(ax, (8.0, 1.75), (8.35, 1.75))
    ax.text(2.575, -0.05, "token vectors, d numbers each", ha="center")
    ax.text(0.05, 1.6, "attention\n4 d²", va="center")
    ax.text(6.5, 0.85, "MLP, 8 d²", va="center")
    return fig, (
        "One block of GPT-2, from its input at the bottom to its output at the right: attention holds the "
        "matrices Q, K, V and O of d x d numbers each, the MLP holds one of 4d x d and one of d x 4d; 12 d "
        "squared weights in all."
    )


def inside_block():
    """What a token's vector passes in a block: two norms, attention, MLP, two shortcuts."""
    fig, ax = canvas(10.2, 2.9)
    ax.text(0.1, 2.7, "What attention and MLP find is added to what was there", weight="bold")
    ax.text(0.1, 1.0, "x\n(t, d)", va="center", ha="left")
    arrow(ax, (0.65, 1.0), (1.3, 1.0))
    for x, name in ((1.3, "norm 1"), (5.4, "norm 2")):
        box(ax, x, 0.7, 0.8, 0.6, name, "white")
    box(ax, 2.5, 0.5, 1.7, 1.0, "attention\nbetween tokens", PALE)
    box(ax, 6.6, 0.5, 1.9, 1.0, "MLP, each alone\nd → 4 d → d", PALE)
    for start, plus, parts in ((0.95, 4.65, (1.3, 2.1, 2.5, 4.2)), (5.05, 8.95, (5.4, 6.2, 6.6, 8.5))):
        arrow(ax, (parts[1], 1.0), (parts[2], 1.0))
        arrow(ax, (parts[3], 1.0), (plus - 0.15, 1.0))
        ax.text(plus, 0.98, "+", size=16, ha="center", va="center")
        arrow(ax, (start, 1.0), (start, 2.1), (plus, 2.1), (plus, 1.2))
        ax.text((start + plus) / 2, 2.25, "shortcut", ha="center", size=9)
        ax.text((parts[2] + parts[3]) / 2, 0.25, "(t, d)", ha="center", size=9)
    arrow(ax, (4.8, 1.0), (5.4, 1.0))
    arrow(ax, (9.1, 1.0), (9.5, 1.0))
    ax.text(9.55, 1.0, "x\n(t, d)", va="center")
    return fig, (
        "One block of GPT-2: the token vectors, t by d, pass a norm and the attention, whose output is added "
        "to them by a shortcut; then a norm and an MLP, which widens them to 4 d and back, added by a second "
        "shortcut. The shape at the end is that at the beginning."
    )


def lora():
    """The two ways of the input through a layer with LoRA."""
    fig, ax = canvas(7.6, 3.5)
    ax.text(0.1, 3.3, "A narrow, trained path beside the frozen weight", weight="bold")
    ax.text(0.15, 1.6, "x", size=14, va="center")
    ax.text(0.22, 1.25, "(in)", ha="center", size=9)
    box(ax, 1.6, 1.9, 1.9, 1.0, "$W_0$   (out, in)\nfrozen", FROZEN)
    ax.add_patch(Polygon([(1.6, 0.2), (1.6, 1.3), (2.45, 0.9), (2.45, 0.6)], facecolor=A_BLUE, edgecolor=INK))
    ax.add_patch(
        Polygon([(2.75, 0.6), (2.75, 0.9), (3.6, 1.3), (3.6, 0.2)], facecolor=B_GREEN, edgecolor=INK)
    )
    ax.text(1.95, 0.75, "A", color="white", ha="center", va="center", size=12)
    ax.text(3.25, 0.75, "B", color="white", ha="center", va="center", size=12)
    ax.text(1.95, 0.02, "(r, in)", ha="center", va="center")
    ax.text(3.25, 0.02, "(out, r)", ha="center", va="center")
    ax.text(2.6, 1.08, "(r)", ha="center", size=9)
    arrow(ax, (0.4, 1.6), (1.1, 1.6), (1.1, 2.4), (1.6, 2.4))
    arrow(ax, (1.1, 1.6), (1.1, 0.75), (1.6, 0.75))
    arrow(ax, (2.45, 0.75), (2.75, 0.75))
    box(ax, 4.2, 0.45, 0.8, 0.6, "× α / r", "white")
    arrow(ax, (3.6, 0.75), (4.2, 0.75))
    ax.text(5.8, 1.6, "+", size=16, ha="center", va="center")
    arrow(ax, (5.0, 0.75), (5.8, 0.75), (5.8, 1.42))
    arrow(ax, (3.5, 2.4), (5.8, 2.4), (5.8, 1.78))
    arrow(ax, (5.95, 1.6), (6.7, 1.6))
    ax.text(6.85, 1.6, "h", size=14, va="center")
    ax.text(6.93, 1.25, "(out)", ha="center", size=9)
    ax.add_patch(Rectangle((1.45, -0.12), 2.3, 1.58, fill=False, edgecolor=TRAINED, linewidth=2))
    ax.text(3.85, 0.15, "trained", color="#9c6c00", va="center")
    ax.set_ylim(-0.2, 3.5)
    return fig, (
        "The input x goes two ways: through the frozen weight W0, and through A, which narrows it to r "
        "numbers, and B, which widens it again; the second result is scaled by alpha over r and both are "
        "added to the output h."
    )


def merging():
    """An update goes into its weight; the layer that it comes from waits."""
    fig, ax = canvas(8.4, 2.9)
    ax.text(0.1, 2.7, "Merged, an input passes one matrix; nothing is lost", weight="bold")
    box(ax, 0.3, 0.6, 1.8, 1.2, "$W_0$   (out, in)\nfrozen", FROZEN)
    ax.text(2.4, 1.2, "+", size=16, ha="center", va="center")
    ax.text(2.8, 1.2, "α / r", size=12, ha="center", va="center")
    low_rank_pair(ax, 3.15, 0.6, 1.3, 1.2)
    ax.text(4.1, 0.35, "(out, r) (r, in)", ha="center", va="center", size=9)
    ax.text(5.15, 1.2, "=", size=16, ha="center", va="center")
    box(ax, 5.5, 0.6, 1.8, 1.2, "W   (out, in)", PALE)
    ax.text(6.4, 0.35, "runs", ha="center", va="center", size=9)
    ax.add_patch(Rectangle((0.1, 0.1), 4.75, 2.0, fill=False, edgecolor=INK, linewidth=0.8, linestyle="--"))
    ax.text(0.2, 2.25, "the layer with LoRA: waits, untouched", va="center", size=9)
    return fig, (
        "The frozen weight W0, out by in, plus alpha over r times B A, which has the same shape, gives the "
        "merged weight W. An input then passes one matrix. The layer with W0, A and B waits beside it, "
        "untouched."
    )


def attention_lora():
    """Self-attention of GPT-2 with an update beside each of its four matrices, and the shapes on the way."""
    fig, ax = canvas(10.8, 4.1)
    ax.text(0.1, 3.85, "Each of the four matrices gets an update of its own", weight="bold")
    ax.text(0.1, 1.95, "x", size=13, va="center")
    ax.text(0.05, 1.6, "(t, d)", size=8, va="center")
    ax.plot([0.35, 0.7], [1.95, 1.95], color=INK, linewidth=1.2)
    for y, name in ((2.75, "q"), (1.65, "k"), (0.55, "v")):
        with_update(ax, 1.1, y, f"$W_{name}$", 0.7)
        arrow(ax, (0.7, 1.95), (0.7, y + 0.3), (1.1, y + 0.3))
        ax.text(3.75, y + 0.3, name, va="center", size=13)
        ax.text(3.68, y, "(t, d)", size=8, va="center")
        arrow(ax, (3.98, y + 0.3), (4.4, y + 0.3), (4.75, min(max(y + 0.3, 1.3), 2.6)))
    outline(ax, 1.0, 0.47, 1.0, 2.96, "c_attn: d → 3d", 3.54)
    for i in (3, 2, 1, 0):  # the heads, one behind the other
        box(ax, 4.75 + 0.1 * i, 1.2 + 0.1 * i, 2.25, 1.5, "", "white")
    ax.text(5.875, 2.4, "in each head", ha="center", va="center", size=9)
    ax.text(5.875, 1.95, "softmax$(q\\,k^T / \\sqrt{d_{head}})\\,v$", ha="center", va="center")
    ax.text(5.875, 1.5, "weights: (t, t), masked", ha="center", va="center", size=9)
    ax.text(6.0, 3.15, "q, k, v cut into heads: (t, $d_{head}$)", ha="center", size=8)
    arrow(ax, (7.3, 1.95), (8.05, 1.95))
    ax.text(7.62, 2.05, "joined", ha="center", size=9)
    ax.text(7.55, 1.72, "(t, d)", ha="center", size=8)
    with_update(ax, 8.05, 1.65, "$W_o$", 7.85)
    outline(ax, 7.95, 1.57, 1.0, 0.76, "c_proj: d → d", 2.44)
    ax.text(10.62, 1.95, "output", va="center")
    ax.text(10.68, 1.65, "(t, d)", size=8, va="center")
    ax.text(6.0, 0.25, "grey: frozen", color="#6e6e6e", va="center")
    ax.text(7.3, 0.25, "A (r, d) and B (d, r): trained", color="#9c6c00", va="center")
    ax.set_xlim(0, 11.2)
    return fig, (
        "Self-attention with LoRA. The token vectors x, t rows of d numbers, go through the frozen layer "
        "c_attn, which holds Wq, Wk and Wv. Beside each of the three, a small A and B make an update, which "
        "is added: q, k and v, of shape (t, d) each. They are cut into heads; each head weighs its values "
        "with the masked softmax of q k transposed. The heads side by side, again (t, d), go through the "
        "frozen layer c_proj, which is Wo, with an update beside it, and give the output."
    )


def with_update(ax, x, y, name, corner):
    """A frozen matrix at (x, y), a trained A and B beside it, and the sum of the two; the way of the input to
    A turns at x = `corner`.
    """
    middle, lower, sum_at = y + 0.3, y - 0.2, x + 2.2
    box(ax, x, y, 0.8, 0.6, name, FROZEN)
    update_pair(ax, x + 1.05, y - 0.38)
    arrow(ax, (corner, middle), (corner, lower), (x + 1.05, lower))
    ax.add_patch(Circle((sum_at, middle), 0.1, facecolor="white", edgecolor=INK, linewidth=0.8))
    ax.text(sum_at, middle - 0.01, "+", ha="center", va="center")
    arrow(ax, (x + 0.8, middle), (sum_at - 0.1, middle))
    arrow(ax, (x + 1.95, lower), (sum_at, lower), (sum_at, middle - 0.1))
    arrow(ax, (sum_at + 0.1, middle), (sum_at + 0.33, middle))


def outline(ax, x, y, width, height, text, above):
    """A dashed frame round what is one layer, with its name above it."""
    dashed = {"fill": False, "edgecolor": INK, "linewidth": 0.9, "linestyle": "--"}
    ax.add_patch(Rectangle((x, y), width, height, **dashed))
    ax.text(x + width / 2, above, text, ha="center", va="center", size=9)


def peft_family():
    """The branches of the survey arXiv 2303.15647, with the four members that lesson 04 builds."""
    fig, ax = canvas(9.6, 4.9)
    ax.text(
        0.1, 4.65, "Add something, choose something, or write the change in a smaller form", weight="bold"
    )
    box(ax, 3.3, 3.95, 3.0, 0.45, "parameter-efficient fine-tuning", "white")
    for x, width, text in (
        (0.3, 4.2, "additive\nnew parts are trained"),
        (4.75, 2.2, "selective\nold parts are trained"),
        (7.25, 2.2, "reparametrised\na smaller form is trained"),
    ):
        ax.plot([4.8, 4.8, x + width / 2, x + width / 2], [3.95, 3.75, 3.75, 3.55], color=INK, linewidth=1.2)
        box(ax, x, 2.95, width, 0.6, text, "white", size=9)
    names = ("soft prompt", "bottleneck adapter", "biases only", "LoRA")
    others = ("also: prefix tuning", "also: (IA)³", "also: layer norms only", "also: KronA")
    centres = (1.3, 3.5, 5.85, 8.35)
    for x, parent, name, other in zip(centres, (2.4, 2.4, 5.85, 8.35), names, others, strict=True):
        ax.plot([parent, parent, x, x], [2.95, 2.72, 2.72, 2.5], color=INK, linewidth=1.2)
        ax.text(x, 2.33, name, ha="center", va="center", weight="bold")
        ax.text(x, 0.0, other, ha="center", va="center", size=9)
    for i in range(5):  # the trained vectors stand before those of the words
        box(ax, 0.45 + 0.36 * i, 0.62, 0.26, 0.4, "", TRAINED if i < 2 else "white")
    box(ax, 0.35, 1.3, 1.9, 0.62, "model", FROZEN)
    arrow(ax, (1.3, 1.04), (1.3, 1.3))
    box(ax, 3.0, 0.5, 1.0, 0.42, "layer", FROZEN)
    ax.add_patch(
        Polygon([(3.1, 1.18), (3.9, 1.18), (3.6, 1.4), (3.9, 1.62), (3.1, 1.62), (3.4, 1.4)],
                facecolor=TRAINED, edgecolor=INK, linewidth=0.8)
    )  # fmt: skip
    for start, end in ((0.25, 0.5), (0.92, 1.18), (1.62, 1.82), (2.02, 2.2)):
        arrow(ax, (3.5, start), (3.5, end))
    arrow(ax, (3.5, 1.04), (4.2, 1.04), (4.2, 1.92), (3.6, 1.92))  # the shortcut past the adapter
    ax.add_patch(Circle((3.5, 1.92), 0.1, facecolor="white", edgecolor=INK, linewidth=0.8))
    ax.text(3.5, 1.91, "+", ha="center", va="center")
    box(ax, 5.2, 1.0, 1.0, 0.75, "W", FROZEN)
    box(ax, 6.3, 1.0, 0.22, 0.75, "b", TRAINED)
    arrow(ax, (5.7, 0.5), (5.7, 1.0))
    box(ax, 7.45, 1.0, 0.8, 0.75, "W", FROZEN)
    low_rank_pair(ax, 8.45, 1.0, 0.55, 0.75)
    ax.add_patch(Rectangle((8.37, 0.9), 1.05, 0.95, fill=False, edgecolor=TRAINED, linewidth=2))
    arrow(ax, (8.35, 0.45), (7.85, 0.6), (7.85, 1.0))
    arrow(ax, (8.35, 0.45), (8.88, 0.6), (8.88, 0.9))
    ax.set_ylim(-0.2, 4.9)
    return fig, (
        "The family tree of parameter-efficient fine-tuning. Additive methods train new parts: a soft prompt "
        "puts trained vectors before those of the words, a bottleneck adapter puts small layers behind a "
        "frozen one. Selective methods train some of the old numbers: biases only. Reparametrised methods "
        "write the change of a frozen weight in a smaller form, beside it: LoRA."
    )


def qlora():
    """What is stored, and what lives only for a moment, in a pass forward and a pass backward of a layer."""
    fig, ax = canvas(9.6, 4.6)
    ax.text(0.1, 4.4, "Stored all the time", weight="bold", va="center")
    ax.text(2.6, 4.4, "For a moment", weight="bold", va="center")
    ax.text(4.5, 4.4, "The two passes", weight="bold", va="center")
    box(ax, 0.3, 1.75, 1.3, 1.0, "codes, 4 bits\nand scales", FROZEN)
    ax.text(0.95, 1.5, "of W (out × in)", ha="center", va="center", size=9)
    for y, name in ((3.05, "Forward"), (0.75, "Backward")):
        start = 2.4 if name == "Forward" else 2.1
        arrow(ax, (1.6, start), (2.1, start), (2.1, y + 0.35), (2.7, y + 0.35))
        ax.text(2.62, y + 1.0, name, va="center", weight="bold", size=9)
        ax.add_patch(Rectangle((2.7, y - 0.15), 1.0, 1.0, facecolor="white", edgecolor=INK, linestyle="--"))
        ax.text(3.2, y + 0.35, "$\\hat W$\nout × in", ha="center", va="center")
        ax.text(3.2, y - 0.33, "then thrown away", ha="center", va="center", size=9)
        arrow(ax, (3.7, y + 0.35), (4.5, y + 0.35))
    ax.text(1.95, 2.25, "dequantise", ha="left", va="center", size=9)
    ax.plot([4.15, 4.15], [0.3, 4.1], color=PALE, linewidth=1, zorder=0)
    box(ax, 4.5, 3.1, 1.3, 0.6, "$x \\hat W^T$", "white")
    box(ax, 4.5, 0.8, 1.3, 0.6, "$g \\hat W$", "white")
    low_rank_pair(ax, 4.72, 1.72, 0.6, 0.8)
    ax.text(5.75, 2.25, "A  r × in and B  out × r:\nstored too, and trained", va="center", size=9)
    ax.text(7.95, 3.4, "+", size=14, va="center", ha="center")
    arrow(ax, (5.8, 3.4), (7.8, 3.4))
    ax.text(6.8, 3.58, "n × out", ha="center", va="center", size=9)
    arrow(ax, (4.83, 2.52), (4.83, 2.8), (7.95, 2.8), (7.95, 3.2))
    arrow(ax, (5.15, 3.92), (4.32, 3.92), (4.32, 1.55), (5.35, 1.55), (5.35, 2.28))
    arrow(ax, (8.1, 3.4), (8.7, 3.4))
    ax.text(8.8, 3.4, "y", va="center", style="italic")
    arrow(ax, (8.7, 1.1), (5.8, 1.1))
    ax.text(8.8, 1.1, "g", va="center", style="italic")
    ax.text(7.3, 1.28, "gradient of y, n × out", ha="center", va="center", size=9)
    arrow(ax, (5.15, 0.8), (5.15, 0.25))
    ax.text(5.3, 0.35, "its share of the gradient of x, n × in", va="center", size=9)
    arrow(ax, (5.15, 4.15), (5.15, 3.7))
    ax.text(5.3, 4.02, "x, n × in", va="center", size=9)
    return fig, (
        "A layer of QLoRA. Stored all the time are the 4-bit codes and scales of the frozen weight, and A "
        "and B. In the forward pass the weight W-hat is dequantised, multiplied with x, and thrown away; x "
        "also goes through A and B, and the update is added. In the backward pass it is dequantised a second "
        "time, multiplied with the gradient g of the output, which gives its share of the gradient of x, and "
        "thrown away again."
    )


FIGURES = {
    "figure_argument.png": argument,
    "figure_gpt2_block.png": gpt2_block,
    "figure_inside_block.png": inside_block,
    "figure_lora.png": lora,
    "figure_merging.png": merging,
    "figure_attention_lora.png": attention_lora,
    "figure_peft_family.png": peft_family,
    "figure_qlora.png": qlora,
}


def write_all(folder):
    """Draw every diagram into `folder`, with what it says (see `statements`) as a text in its file."""
    for name, draw in FIGURES.items():
        picture, said = Picture(*draw()), PngInfo()
        said.add_text("figure", json.dumps(statements(picture.figure)))
        Image.open(io.BytesIO(picture.png)).save(Path(folder) / name, "png", optimize=True, pnginfo=said)


if __name__ == "__main__":
    write_all(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "images")
