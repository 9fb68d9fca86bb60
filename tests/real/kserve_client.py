"""kserve's two inference clients in a process of their own: one JSON line per answer.

It cannot share a process with tritonclient, since both register the OIP messages with
protobuf. Usage: kserve_client.py rest|grpc ADDRESS MODEL COUNT
"""

import asyncio
import json
import sys

import harness  # noqa: F401  (removes proxies from the environment)
from mlserver_model import MODELS

import kserve
import numpy as np


def request(rows, model, row, request_id):
    x = kserve.InferInput("x", [2, rows.shape[1]], "FP64")
    x.set_data_from_numpy(rows[row:row + 2], binary_data=False)
    outputs = [kserve.protocol.infer_type.RequestedOutput(n) for n in ("predict", "predict_proba")]
    return kserve.InferRequest(model_name=model, request_id=request_id, infer_inputs=[x], request_outputs=outputs)


def show(answer, row):
    output = next(o for o in answer.outputs if o.name == "predict_proba")
    print(json.dumps({
        "row": row, "id": answer.id, "model_name": answer.model_name,
        "probabilities": output.as_numpy().reshape(2, 2).tolist(),
    }))


async def main(protocol, address, model, count):
    with open(f"{MODELS}/rows.json") as f:
        rows = np.array(json.load(f), dtype=np.float64)
    if protocol == "rest":
        base = f"http://{address}"
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", retries=0))
        # MLServer's readiness has an empty body, which this client's server check cannot read.
        ready = await client.is_model_ready(base, model)
        def infer(i):
            return client.infer(base, request(rows, model, i % 60, f"k{i}"), model_name=model)
    else:
        client = kserve.InferenceGRPCClient(address, retries=0)
        ready = await client.is_server_ready() and await client.is_model_ready(model)
        def infer(i):
            return client.infer(request(rows, model, i % 60, f"k{i}"))
    assert ready, "server and model must be ready"
    for start in range(0, count, 8):
        for i, answer in enumerate(await asyncio.gather(*map(infer, range(start, start + 8))), start):
            show(answer, i % 60)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
