"""The environment of every test and of every notebook kernel."""

import os

# Set here, before anything else is imported, since the kernels that the tests start inherit it. This file is
# in the root folder and not in tests/, since `pytest notebooks` does not read tests/conftest.py.
os.environ["OMP_NUM_THREADS"] = (
    "1"  # several tests run at once, and more threads than cores slow them all down
)
os.environ["HF_HUB_OFFLINE"] = "1"  # the course works without a network: a test that asks for one must fail
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"  # otherwise jupyter_core warns that its folders will move
