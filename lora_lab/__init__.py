"""Helper package of the course on LoRA. The modules of this folder are the course's subject, one idea each.
What it takes besides has rooms: adapters (save and load), story_gpt2 (the shipped model and its language),
runs (made beforehand and stored), drawing, and checks (of the exercises). The README has a sentence for each
module, and a picture of who imports whom.
"""

import logging

# bitsandbytes, where it is installed, is imported by PEFT, and tells some processors that an optional part of
# it is missing. Nothing here needs that part, and a lesson should not begin with it.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
