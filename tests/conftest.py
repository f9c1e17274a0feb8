"""Every test runs without a network, on one thread, with caches of its own."""

import os
import tempfile

# Read at import by datasets, huggingface_hub and evaluate: set before any test module imports them.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
