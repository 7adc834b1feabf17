"""Models that MLServer serves in the tests: see tests/python/model_server.py."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Twice(MLModel):
    """y = 2 x."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        return self.answer(y=2 * x)

    def answer(self, **outputs: np.ndarray) -> InferenceResponse:
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(name, array) for name, array in outputs.items()],
        )


class Weighted(Twice):
    """Takes `ids` and `weights` by name, and gives their product and the sum of each sample."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        product = (given["ids"] * given["weights"]).astype(np.float32)
        return self.answer(product=product, sum=product.sum(axis=1, keepdims=True))
