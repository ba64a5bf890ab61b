"""A common way to serve a network: ONNX Runtime behind FastAPI; a picture is only scaled and inverted.

    python benchmarks/peers/plain_onnx_server.py MODEL.onnx PORT [threads]

POST /v1/predict takes a form with the file in ``images``, and returns the ten probabilities. With ``threads`` FastAPI
answers each request in a thread; without, one after another in its event loop.
"""

import sys
from io import BytesIO
from typing import Annotated

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, File
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
app = FastAPI()


def predict(images: Annotated[bytes, File()]) -> list[float]:
    picture = ImageOps.invert(Image.open(BytesIO(images)).convert("L").resize((28, 28)))
    planes = np.asarray(picture, dtype=np.uint8)[None, None]
    return session.run(["probabilities"], {"images": planes})[0][0].tolist()


async def predict_in_turn(images: Annotated[bytes, File()]) -> list[float]:
    return predict(images)


app.post("/v1/predict")(predict if "threads" in sys.argv[3:] else predict_in_turn)
uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False)
