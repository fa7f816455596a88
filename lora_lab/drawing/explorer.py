"""Sliders over one picture that is drawn again while the reader moves them."""

import html
import io
import traceback

import matplotlib.pyplot as plt

from lora_lab.drawing.picture import Picture
from lora_lab.drawing.statements import statements


class QuickPicture(Picture):
    """A picture for a slider, drawn in less than a tenth of a second: the whole canvas at the screen's
    resolution, in all its colours. The tight box of a `Picture` alone takes as long.
    """

    def draw(self, figure):
        """The figure as the bytes of a PNG file."""
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=100, pil_kwargs={"compress_level": 1})
        return drawn.getvalue()


# A slider of ipywidgets does not say its name to a screen reader, since nothing joins its label to its
# handle, and in the place of its value it says which of the positions it is.
NAME_THE_HANDLES = """
export default {
  render({ el }) {
    const name = () => el.parentElement?.querySelectorAll(".widget-slider").forEach((slider) => {
      const label = slider.querySelector(".widget-label"), handle = slider.querySelector(".noUi-handle");
      if (!label || !handle) return;
      handle.setAttribute("aria-label", label.textContent.trim());
      handle.setAttribute("aria-valuetext", slider.querySelector(".widget-readout").textContent);
    });
    const seen = new MutationObserver(name);
    const changes = { childList: true, subtree: true, attributeFilter: ["aria-valuenow"] };
    requestAnimationFrame(() => { name(); seen.observe(el.parentElement, changes); });
    return () => seen.disconnect();
  },
};
"""


def slider_names():
    """An invisible widget that gives each slider beside it its label as its name."""
    import anywidget

    return anywidget.AnyWidget(_esm=NAME_THE_HANDLES)


def positions_of(slider):
    """The positions of a slider: pairs (label, value)."""
    return [option if isinstance(option, tuple) else (option, option) for option in slider.options]


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
        self.box = ipywidgets.VBox([*self.sliders.values(), slider_names(), self.picture])
        self.update()

    def update(self):
        """Draw again at the sliders' present positions."""
        try:
            figure, alt = self.draw(**{name: slider.value for name, slider in self.sliders.items()})
            self.picture.value = QuickPicture(figure, alt)._repr_html_()
        except Exception:
            self.picture.value = f"<pre>{html.escape(traceback.format_exc())}</pre>"

    def faults(self, most=None):
        """The positions at which nothing could be drawn, each with its error, after a walk of every slider
        from end to end, with the others at their first positions and then at their last: through all its
        positions, or the two ends and others between, `most` in all. The sliders end where they were.
        """
        start = [slider.index for slider in self.sliders.values()]
        found = {}
        for places in (*dict.fromkeys(self.walk(most)), start):
            for slider, place in zip(self.sliders.values(), places, strict=True):
                slider.index = place
            if self.picture.value.startswith("<pre>"):
                where = ", ".join(f"{name} = {slider.value}" for name, slider in self.sliders.items())
                error = html.unescape(self.picture.value).removesuffix("</pre>")
                found[where] = error.strip().splitlines()[-1]
        return [f"{where}: {error}" for where, error in found.items()]

    def walk(self, most):
        """The positions of all sliders, for each step of `faults`."""
        lengths = [len(slider.options) for slider in self.sliders.values()]
        for others in ([0] * len(lengths), [length - 1 for length in lengths]):
            for moved, length in enumerate(lengths):
                steps = min(most or length, length) - 1
                for place in (step * (length - 1) // max(steps, 1) for step in range(steps + 1)):
                    yield (*others[:moved], place, *others[moved + 1 :])

    def __repr__(self):
        return f"A slider over {' and '.join(self.sliders)}: run this cell in JupyterLab to move it."

    def _repr_mimebundle_(self, **options):
        data = {**self.box._repr_mimebundle_(**options), "text/plain": repr(self)}
        return data, {"figure": self.statements()}

    def statements(self):
        """What is saved of it, since a widget is not: the positions of its sliders as texts, and what the
        pictures say (see `statements` of a figure) where every slider is at an end.
        """
        said = {"texts": [], "numbers": []}
        for name, slider in self.sliders.items():
            said["texts"] += [name, *(str(label) for label, _ in positions_of(slider))]
        for places in dict.fromkeys(self.walk(2)):
            sliders = zip(self.sliders.items(), places, strict=True)
            try:
                figure, alt = self.draw(
                    **{n: positions_of(slider)[place][1] for (n, slider), place in sliders}
                )
            except Exception as error:  # the reader sees it when the slider is there
                said["texts"].append(repr(error))
                continue
            here = statements(figure)
            said["texts"] += [alt, *here["texts"]]
            said["numbers"] += here["numbers"]
            plt.close(figure)
        return said
