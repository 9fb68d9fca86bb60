"""kserve's clients against a model that Switchback serves itself, one JSON line for each way.

In a process of its own, in the clients' environment: kserve and tritonclient register the same
messages with protobuf. Usage: oip_kserve.py ADDRESS
"""

import asyncio
import json
import os
import sys

import harness

import kserve
import numpy as np

with open(os.path.join(harness.ROOT, "config", "demo", "rows.jsonl")) as f:
    ROWS = np.array([json.loads(line)["request"]["inputs"][0]["data"] for line in f], dtype=np.float32)


def request(binary):
    x = kserve.InferInput("features", list(ROWS.shape), "FP32")
    x.set_data_from_numpy(ROWS, binary_data=binary)
    outputs = [kserve.protocol.infer_type.RequestedOutput(n, {"binary_data": binary})
               for n in ("label", "probabilities")]
    return kserve.InferRequest(model_name="cancer", request_id="k", infer_inputs=[x], request_outputs=outputs)


def show(how, answer):
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    assert answer.id == "k", answer.id
    print(json.dumps({"how": how, "label": outputs["label"].ravel().tolist(),
                      "probabilities": outputs["probabilities"].ravel().tolist()}))


async def main(address):
    base = f"http://{address}"
    rest = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", retries=0))
    assert await rest.is_server_ready(base) and await rest.is_model_ready(base, "cancer")
    show("REST with JSON", await rest.infer(base, request(False), model_name="cancer"))
    show("REST with binary data", await rest.infer(base, request(True), model_name="cancer"))
    await rest.close()
    rpc = kserve.InferenceGRPCClient(address, retries=0)
    assert await rpc.is_server_ready() and await rpc.is_model_ready("cancer")
    show("gRPC", await rpc.infer(request(True)))
    await rpc.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
