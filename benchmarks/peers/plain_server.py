"""A common way to serve a network: PyTorch behind FastAPI, one forward pass for each request.

    python benchmarks/peers/plain_server.py MODEL.pt2 PORT

POST /picture takes an image file, POST /tensor the bytes of a 28 x 28 image; both return the ten probabilities.
"""

import io
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

network = torch.export.load(sys.argv[1]).module()
app = FastAPI()


def probabilities(image: np.ndarray) -> list[float]:
    with torch.inference_mode():
        return network(torch.from_numpy(image.copy()).reshape(1, 1, 28, 28))[1][0].tolist()


@app.post("/picture")
async def picture(request: Request) -> list[float]:
    image = Image.open(io.BytesIO(await request.body())).convert("L").resize((28, 28))
    return probabilities(255 - np.asarray(image))


@app.post("/tensor")
async def tensor(request: Request) -> list[float]:
    return probabilities(np.frombuffer(await request.body(), np.uint8))


uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False)
