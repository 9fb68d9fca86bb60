"""An MLServer runtime for ONNX files: what people write when they serve one with MLServer.

MLServer loads `onnx_model.OnnxModel` by name; it needs this folder on its Python path.
"""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """One session; every output of the graph is an output of the answer."""

    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        # A tensor of JSON comes as doubles; the graph says what it wants.
        inputs = {x.name: NumpyCodec.decode_input(x).astype(np.float32) for x in payload.inputs}
        names = [output.name for output in self.session.get_outputs()]
        values = self.session.run(names, inputs)
        return InferenceResponse(
            id=payload.id, model_name=self.name, model_version=self.version,
            outputs=[output(name, value) for name, value in zip(names, values)],
        )


def output(name, value):
    """The tensor in the shape that the graph gives it: MLServer's codec writes [n] as [n, 1],
    which is another shape than the same model has anywhere else."""
    encoded = NumpyCodec.encode_output(name, value)
    encoded.shape = list(value.shape)
    return encoded
