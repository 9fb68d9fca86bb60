"""An ONNX model on KServe's Python server: MODEL=model.onnx python peer_kserve.py PORT."""

import os
import sys

import onnxruntime as ort
from kserve import InferOutput, InferResponse, Model, ModelServer


class Onnx(Model):
    def __init__(self, name):
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        values = self.session.run(self.names, {x.name: x.as_numpy() for x in payload.inputs})
        outputs = []
        for name, value in zip(self.names, values):
            datatype = {"float32": "FP32", "int64": "INT64"}[str(value.dtype)]
            output = InferOutput(name=name, shape=list(value.shape), datatype=datatype)
            output.set_data_from_numpy(value, binary_data=False)
            outputs.append(output)
        return InferResponse(response_id=payload.id or "1", model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    sys.argv, port = sys.argv[:1], int(sys.argv[1])
    ModelServer(http_port=port, workers=1, enable_grpc=False, enable_docs_url=False).start([Onnx("m")])
