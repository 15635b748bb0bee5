"""Batches: many addresses at once."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy starts threads for matrices, of which there are none
