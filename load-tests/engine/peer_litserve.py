"""An ONNX model on LitServe, one worker: MODEL=model.onnx python peer_litserve.py PORT."""

import os
import sys

import litserve as ls
import numpy as np
import onnxruntime as ort

KINDS = {"FP32": np.float32, "INT64": np.int64}


class Onnx(ls.LitAPI):
    def setup(self, device):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def decode_request(self, request):
        return {x["name"]: np.asarray(x["data"], KINDS[x["datatype"]]).reshape(x["shape"]) for x in request["inputs"]}

    def predict(self, inputs):
        return self.session.run(self.names, inputs)

    def encode_response(self, output):
        kinds = {"float32": "FP32", "int64": "INT64"}
        outputs = [{"name": n, "datatype": kinds[str(v.dtype)], "shape": list(v.shape), "data": v.ravel().tolist()} for n, v in zip(self.names, output)]
        return {"model_name": "m", "outputs": outputs}


if __name__ == "__main__":
    server = ls.LitServer(Onnx(api_path="/v2/models/m/infer"), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="warning")
