"""KServe's own client asks a server. Runs in an environment of its own: KServe pins older versions than this project has."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(url: str, names: list[str], rows: list[list[float]]) -> dict[str, Any]:
    """What it hears on every road that it knows."""
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    table = InferInput("input-0", [len(rows), len(names)], "FP64")
    table.set_data_from_numpy(np.array(rows), binary_data=False)
    columns = []
    for index, name in enumerate(names):
        columns.append(InferInput(name, [len(rows)], "FP64"))
        columns[-1].set_data_from_numpy(np.array([row[index] for row in rows]), binary_data=True)
    by_table = await v2.infer(url, InferRequest(model_name="fraud", infer_inputs=[table]), model_name="fraud")
    by_column = await v2.infer(url, InferRequest(model_name="fraud", infer_inputs=columns), model_name="fraud")
    return {
        "v1": (await v1.infer(url, {"instances": rows}, model_name="fraud"))["predictions"],
        "v2 table": by_table.outputs[0].as_numpy().tolist(),
        "v2 columns, binary": by_column.outputs[0].as_numpy().tolist(),
        "live": await v2.is_server_live(url),
        "ready": await v2.is_server_ready(url),
        "model ready": [await client.is_model_ready(url, "fraud") for client in (v1, v2)],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])))))
