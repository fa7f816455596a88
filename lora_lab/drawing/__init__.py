"""How every figure of the course looks, and how a notebook shows it: colours (`style`), pictures with
alternative text (`picture`), what they say (`statements`), charts (`charts`) and sliders (`explorer`).
"""

from lora_lab.drawing.charts import chart, curve, gallery, level, note, panels, valley, values_of
from lora_lab.drawing.explorer import Explorer
from lora_lab.drawing.picture import Picture, show
from lora_lab.drawing.style import A_BLUE, B_GREEN, CONTROL, FROZEN, INK, ROSE, SKY, TRAINED

__all__ = [
    "A_BLUE",
    "B_GREEN",
    "CONTROL",
    "FROZEN",
    "INK",
    "ROSE",
    "SKY",
    "TRAINED",
    "Explorer",
    "Picture",
    "chart",
    "curve",
    "gallery",
    "level",
    "note",
    "panels",
    "show",
    "valley",
    "values_of",
]
