"""What people write themselves: FastAPI, orjson and onnxruntime, one worker, one thread.

    MODEL=model.onnx uvicorn peer_fastapi:app --port 8000
"""

import os

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
dtypes = {"tensor(float)": ("FP32", np.float32), "tensor(int64)": ("INT64", np.int64)}
kinds = {i.name: dtypes[i.type] for i in session.get_inputs()}
datatypes = {o.name: dtypes[o.type][0] for o in session.get_outputs()}
app = FastAPI()


@app.get("/v2/health/ready")
async def ready():
    return {"ready": True}


@app.post("/v2/models/{model}/infer")
async def infer(model: str, request: Request):
    asked = orjson.loads(await request.body())
    inputs = {
        i["name"]: np.asarray(i["data"], dtype=kinds[i["name"]][1]).reshape(i["shape"]) for i in asked["inputs"]
    }
    outputs = session.run(names, inputs)
    answer = {
        "model_name": model,
        "outputs": [
            {"name": n, "datatype": datatypes[n], "shape": list(v.shape), "data": v.ravel()}
            for n, v in zip(names, outputs)
        ],
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
