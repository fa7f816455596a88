"""How every figure of the course looks, and how a notebook shows it. Importing this module sets matplotlib's
style.

A colour means the same thing in every lesson: frozen weights are grey, trained ones orange, A is blue, B is
green, a control is a thin dashed grey line. The hues are from Okabe and Ito's palette, which colour-blind
readers can tell apart.
"""

import base64
import html
import io
import traceback

import matplotlib.pyplot as plt
from IPython.display import display
from PIL import Image

INK, FROZEN, TRAINED, A_BLUE, B_GREEN = "#222222", "#9b9b9b", "#e69f00", "#0072b2", "#009e73"
SKY, ROSE = "#56b4e9", "#cc79a7"  # for what is none of these, beside INK
CONTROL = {"color": "#8a8a8a", "linestyle": "--", "linewidth": 1}

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


class Picture:
    """A drawn figure as PNG with alt text, which every notebook viewer keeps; a viewer without pictures shows
    the text.
    """

    def __init__(self, figure, alt):
        if not alt.strip():
            raise ValueError("alt must say in words what the figure shows")
        drawn, stored = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", bbox_inches="tight")
        # 256 colours are enough, and halve a notebook full of photographs.
        Image.open(drawn).convert("RGB").quantize(256).save(stored, format="png", optimize=True)
        self.width = round(figure.get_figwidth() * 100)
        self.png, self.alt = stored.getvalue(), alt
        plt.close(figure)

    def _repr_html_(self):
        data = base64.b64encode(self.png).decode()
        style = f"width: {self.width}px; max-width: 100%"
        return f'<img alt="{html.escape(self.alt)}" style="{style}" src="data:image/png;base64,{data}">'

    def __repr__(self):
        return f"Figure: {self.alt}"


def show(figure, alt):
    """Show a matplotlib figure in a notebook, with `alt` as its alternative text. ValueError if `alt` is
    empty.
    """
    display(Picture(figure, alt))


def note(axes, point, text, dx=0, dy=0, color=INK, ha="left"):
    """Write `text` beside a `point` of the plot, shifted right by `dx` and up by `dy`, in points."""
    shift = {"xytext": (dx, dy), "textcoords": "offset points", "va": "center", "ha": ha}
    axes.annotate(text, point, color=color, annotation_clip=False, **shift)


def label_end(axes, line, text, dy=0):
    """Write `text` where `line` ends, in its colour, instead of a legend; `dy` shifts it up, in points."""
    note(axes, (line.get_xdata()[-1], line.get_ydata()[-1]), text, dx=6, dy=dy, color=line.get_color())


def rank_axis(axes, ranks):
    """Put `ranks`, and nothing else, on a logarithmic x axis."""
    axes.set(xscale="log", xticks=ranks, xticklabels=ranks)
    axes.minorticks_off()


class Explorer:
    """Sliders over one picture. `draw(**values)` returns a figure and its alt text; each keyword lists a
    slider's positions.

    An exception in `draw` is shown in place of the picture: JupyterLab would swallow it.
    """

    def __init__(self, draw, **positions):
        import ipywidgets

        self.draw = draw
        self.picture = ipywidgets.HTML()
        self.sliders = {
            name: ipywidgets.SelectionSlider(
                options=list(values), description=name, continuous_update=False, layout={"width": "500px"}
            )
            for name, values in positions.items()
        }
        for slider in self.sliders.values():
            slider.observe(lambda change: self.update(), names="value")
        self.box = ipywidgets.VBox([*self.sliders.values(), self.picture])
        self.update()

    def update(self):
        """Draw again at the sliders' present positions."""
        try:
            self.picture.value = Picture(
                *self.draw(**{n: s.value for n, s in self.sliders.items()})
            )._repr_html_()
        except Exception:
            self.picture.value = f"<pre>{html.escape(traceback.format_exc())}</pre>"

    def __repr__(self):
        return f"A slider over {' and '.join(self.sliders)}: run this cell in JupyterLab to move it."

    def _repr_mimebundle_(self, **options):
        return {**self.box._repr_mimebundle_(**options), "text/plain": repr(self)}
