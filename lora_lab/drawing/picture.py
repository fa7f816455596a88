"""How a figure is put into a notebook: as a PNG with alternative text, and with what it says in numbers."""

import base64
import html
import io

import matplotlib.pyplot as plt
from IPython.display import display
from PIL import Image

from lora_lab.drawing.statements import statements


class Picture:
    """A drawn figure as PNG with alt text, which every notebook viewer keeps; a viewer without pictures shows
    the text. A saved notebook keeps beside it what it says (see `statements`), by which two runs of a lesson
    are compared. ValueError if `alt` is empty.
    """

    def __init__(self, figure, alt):
        if not alt.strip():
            raise ValueError("alt must say in words what the figure shows")
        self.figure, self.alt = figure, alt
        self.png = self.draw(figure)
        plt.close(figure)

    def draw(self, figure):
        """The figure as the bytes of a PNG file, without its empty margins."""
        drawn, stored = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", bbox_inches="tight")
        # 256 colours are enough, and halve a notebook full of photographs.
        Image.open(drawn).convert("RGB").quantize(256).save(stored, format="png", optimize=True)
        return stored.getvalue()

    def _repr_html_(self):
        data = base64.b64encode(self.png).decode()
        style = f"width: {self.figure.get_figwidth() * 100:.0f}px; max-width: 100%"
        return f'<img alt="{html.escape(self.alt)}" style="{style}" src="data:image/png;base64,{data}">'

    def __repr__(self):
        return f"Figure: {self.alt}"

    def _repr_mimebundle_(self, **options):
        data = {"text/html": self._repr_html_(), "text/plain": repr(self)}
        return data, {"figure": statements(self.figure)}


def show(figure, alt):
    """Show a matplotlib figure in a notebook, with `alt` as its alternative text. ValueError if `alt` is
    empty.
    """
    display(Picture(figure, alt))
