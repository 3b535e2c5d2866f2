"""What makes some thousands of small tests quick.

One thread each: what is fitted here is small, and threads that wait for one another use up the cores of other workers.
What was imported stays: looking through all of it for garbage, again and again, would take seconds of each worker.
"""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP
gc.disable()


def pytest_collection_finish() -> None:
    """Everything is imported."""
    gc.freeze()
    gc.enable()
