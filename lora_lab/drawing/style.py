"""What a colour means in every figure of the course. Importing this module sets matplotlib's style.

Frozen weights are grey, trained ones orange, A is blue, B is green, a control is a thin dashed grey line. The
hues are from Okabe and Ito's palette, which colour-blind readers can tell apart.
"""

import matplotlib.pyplot as plt

INK, FROZEN, TRAINED, A_BLUE, B_GREEN = "#222222", "#9b9b9b", "#e69f00", "#0072b2", "#009e73"
SKY, ROSE = "#56b4e9", "#cc79a7"  # for what is none of these, beside INK
CONTROL = {"color": "#8a8a8a", "linestyle": "--", "linewidth": 1, "marker": ""}
# Letters on white must be darker than lines, to be read: these have a contrast of 4.5 or more (WCAG AA).
LETTERS = {TRAINED: "#9c6c00", B_GREEN: "#008662", SKY: "#3b7ca1", ROSE: "#a36186", FROZEN: "#767676"}
LETTERS[CONTROL["color"]] = "#757575"

plt.rcParams.update(
    {
        "figure.figsize": (7, 3.6),
        "figure.dpi": 100,
        "savefig.dpi": 140,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
    }
)
