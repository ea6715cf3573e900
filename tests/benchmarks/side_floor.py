"""What the machine itself allows: imports, every photo decoded once, one bf16 forward pass; nothing is learnt.

Written as fast as we know how, with libraries alone: decoding in as many threads as there are cores, BatchNorm
folded, channels last, memory kept between batches; ``--engine openvino`` for the forward pass of that extra.
"""

import argparse
import ctypes
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_START = time.perf_counter()

import torch  # noqa: E402
from torchvision import models  # noqa: E402
from torchvision.io import ImageReadMode, decode_jpeg  # noqa: E402
from torchvision.transforms.v2 import functional as F  # noqa: E402

_RESIZE, _CROP, _BATCH = 256, 224, 32
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def decode(paths, cores):
    """All photos as one uint8 tensor (N, crop, crop, 3)."""
    photos = torch.empty(len(paths), _CROP, _CROP, 3, dtype=torch.uint8)

    def one(number):
        data = torch.frombuffer(bytearray(paths[number].read_bytes()), dtype=torch.uint8)
        image = F.resize(decode_jpeg(data, ImageReadMode.RGB), [_RESIZE], antialias=True)
        photos[number] = F.center_crop(image, [_CROP, _CROP]).permute(1, 2, 0)

    torch.set_num_threads(1)
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(one, range(len(paths))))
    torch.set_num_threads(cores)
    return photos


def forward_torch(network, photos):
    """One pass in bf16, BatchNorm folded, channels last."""
    from torch.fx.experimental.optimization import fuse

    fused = fuse(network).to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    mean = torch.tensor(_MEAN, dtype=torch.bfloat16)
    std = torch.tensor(_STD, dtype=torch.bfloat16)
    with torch.inference_mode():
        for batch in photos.split(_BATCH):
            fused(((batch.to(torch.bfloat16) - mean) / std).permute(0, 3, 1, 2))


def forward_openvino(network, photos):
    """One pass through OpenVINO in bf16, several requests under way."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    example = torch.zeros(1, 3, _CROP, _CROP)
    pipeline = PrePostProcessor(ov.convert_model(network, example_input=example, input=[-1, 3, _CROP, _CROP]))
    pipeline.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    pipeline.input().model().set_layout(ov.Layout("NCHW"))
    pipeline.input().preprocess().convert_element_type(ov.Type.f32).mean(list(_MEAN)).scale(list(_STD))
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "THROUGHPUT"}
    queue = ov.AsyncInferQueue(ov.Core().compile_model(pipeline.build(), "CPU", hints))
    for batch in photos.split(_BATCH):
        queue.start_async({0: batch.numpy()})
    queue.wait_all()


def keep_memory():
    """Large blocks stay with the process: mapping them anew halves the speed of forward passes under glibc."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--engine", choices=("torch", "openvino"), default="torch")
    args = parser.parse_args()
    keep_memory()
    cores = torch.get_num_threads()
    imported = time.perf_counter()
    photos = decode(sorted(args.data.rglob("*.jpg")), cores)
    decoded = time.perf_counter()
    network = models.get_model(args.backbone, weights=None).eval()
    (forward_openvino if args.engine == "openvino" else forward_torch)(network, photos)
    parts = {
        "imports": imported - _START,
        "decode": decoded - imported,
        "forward": time.perf_counter() - decoded,
    }
    print(json.dumps({"parts": parts}))


if __name__ == "__main__":
    main()
