"""The environment of every test and of every notebook kernel."""

import os

# Set here, before anything else is imported, since the kernels that the tests start inherit it. This file is
# in the root folder and not in tests/, since `pytest notebooks` does not read tests/conftest.py.

# Several tests run at once, and more threads than cores slow them all down.
os.environ["OMP_NUM_THREADS"] = "1"
# The course works without a network and without a cache: a test that asks for one must fail.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = os.path.join(os.path.dirname(__file__), ".no_cache")
# Otherwise jupyter_core warns that its folders will move.
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
# nbval does not know that a cell can be cleared, as the progress bar of a training does when it is done.
os.environ["TQDM_DISABLE"] = "1"
