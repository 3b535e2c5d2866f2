"""What a person would write: read, split, five folds, the last fit; nothing is judged. `... TABLE TREES DEPTH FOLDS`.

Imports nothing of this project, whose memory it is compared with.
"""

import json
import sys
import time
from typing import Any

import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    path, trees, depth, count = sys.argv[1], *map(int, sys.argv[2:])

    def pipeline() -> Any:
        return make_pipeline(StandardScaler(), RandomForestClassifier(trees, max_depth=depth, random_state=42, n_jobs=-1))

    frame = pd.read_parquet(path)
    labels = frame.pop("y").to_numpy()
    rows, _, truth, _ = train_test_split(frame, labels, test_size=0.2, stratify=labels, random_state=42)
    del frame
    began = time.perf_counter()
    for train, _ in StratifiedKFold(count, shuffle=True, random_state=42).split(rows, truth):
        pipeline().fit(rows.iloc[train], truth[train])
    pipeline().fit(rows, truth)
    print(json.dumps({"fits": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
