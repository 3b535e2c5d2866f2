"""One thread each: what is fitted here is small, and threads that wait for one another use up the cores of other workers."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP
