"""The app's own way from a photo to a network's input, as an ONNX graph: resize, crop, normalise.

ONNX has an antialiased ``Resize`` of its own, but ONNX Runtime's gives other pixels than torch: up to 20 of 255
levels off, in 2 to 4 % of all values. Here torch's fixed-point sums are written out with plain integer operators, so
that every pixel is the same. Knows nothing of networks.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tl_app.data.decode import LONGEST_RATIO
from tl_app.data.preprocessing import Preprocessing
from tl_app.export.contract import PHOTOS
from tl_app.export.steps import Steps

PIXELS = "pixels"  # the output
_TAPS = {"bilinear": 2, "bicubic": 4}  # of the filter, in pixels of the larger grid
_BITS = 22  # torch's limit of a weight's binary places
_ROWS, _COLUMNS = 1, 2  # axes


def preprocessing_graph(preprocessing: Preprocessing) -> onnx.ModelProto:
    """The graph from ``photos``, uint8 (N, H, W, 3), to ``pixels``, float32 (N, 3, crop, crop), normalised.

    The same as ``Preprocessing.shrink``, ``center`` and ``normalise`` one after the other.
    """
    to, size = Steps("pre_"), preprocessing.crop
    photos = _without_ends(to, PHOTOS)
    height, width = _sides(to, photos)
    short = to.add("Min", height, width)
    # Across first, then down, as torch does: both round to whole levels.
    for side in (width, height):
        # Turned on its side, so that whole lines of numbers are added; the second turn puts it upright again.
        turned = to.add("Transpose", photos, perm=[0, 2, 1, 3])
        lines = to.add("Reshape", turned, to.constant([0, 0, -1]))
        wanted = to.add("Div", to.add("Mul", side, to.constant([preprocessing.resize])), short)
        lines = _resized(to, lines, side, wanted, preprocessing)
        photos = to.add("Reshape", lines, to.constant([0, 0, -1, 3]))
    if preprocessing.resize < size:
        photos = _padded(to, photos, size)
    floats = to.add("Cast", photos, to=TensorProto.FLOAT)
    mean = to.constant([255 * value for value in preprocessing.mean], np.float32)
    scale = to.constant([1 / (255 * value) for value in preprocessing.std], np.float32)
    normal = to.add("Mul", to.add("Sub", floats, mean), scale)
    to.add("Transpose", normal, perm=[0, 3, 1, 2], name=PIXELS)
    return to.model(
        [helper.make_tensor_value_info(PHOTOS, TensorProto.UINT8, ["photos", "height", "width", 3])],
        [helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, ["photos", 3, size, size])],
    )


def _sides(to: Steps, photos: str) -> tuple[str, str]:
    """Height and width, int64 (1,) each."""
    return (
        to.add("Shape", photos, start=_ROWS, end=_ROWS + 1),
        to.add("Shape", photos, start=_COLUMNS, end=_COLUMNS + 1),
    )


def _without_ends(to: Steps, photos: str) -> str:
    """The middle of photos that are too long for their width."""
    height, width = _sides(to, photos)
    kept = to.add("Mul", to.add("Min", height, width), to.constant([LONGEST_RATIO]))
    zero, two = to.constant([0]), to.constant([2])
    # max(0, (side - kept) // 2): whole-number division rounds towards 0, but what is below 0 counts as 0 anyway.
    starts = [to.add("Max", zero, to.add("Div", to.add("Sub", side, kept), two)) for side in (height, width)]
    ends = [to.add("Add", start, kept) for start in starts]
    return str(
        to.add(
            "Slice",
            photos,
            to.add("Concat", *starts, axis=0),
            to.add("Concat", *ends, axis=0),
            to.constant([_ROWS, _COLUMNS]),
        )
    )


def _resized(to: Steps, photos: str, side: str, wanted: str, steps: Preprocessing) -> str:
    """Photos with another number of lines, antialiased, and only the middle ``crop`` of those.

    Source: ``upsample_avx_bilinear_bicubic_uint8`` and ``compute_index_ranges_int16_weights`` of PyTorch's
    ``aten/src/ATen/native/cpu/UpSampleKernel.cpp``, after Pillow's ``Resample.c``.

    Args:
        to: The graph.
        photos: uint8 (N, lines, numbers).
        side: How many lines there are, int64 (1,).
        wanted: How many there will be, int64 (1,).
        steps: What is done.

    Returns:
        uint8 (N, min(wanted, crop), numbers).
    """
    first, weights, bits = _weights(to, side, wanted, _TAPS[steps.interpolation])
    begin, count = _middle(to, wanted, steps)
    end, rows = to.add("Add", begin, count), to.constant([0])
    first = to.add("Slice", first, begin, end, rows)  # (count,)
    weights = to.add("Slice", weights, begin, end, rows)  # (count, taps)
    last = to.add("Squeeze", to.add("Sub", side, to.constant([1])), rows)
    one = to.constant(1, np.uint32)
    half = to.add("BitShift", one, to.add("Sub", bits, one), direction="LEFT")
    shape = to.add("Concat", to.add("Shape", photos, end=1), count, to.add("Shape", photos, start=2), axis=0)
    start = to.add("Expand", to.add("Cast", half, to=TensorProto.INT32), shape)
    turns = to.add("Squeeze", to.add("Shape", weights, start=1), rows)
    body = _one_tap(to, photos, first, weights, last)
    summed = to.add("Loop", turns, "", start, body=body)
    # Sums below 0, of bicubic's negative weights, count as 0.
    above = to.add("Cast", to.add("Max", summed, to.constant(0, np.int32)), to=TensorProto.UINT32)
    levels = to.add("Min", to.add("BitShift", above, bits, direction="RIGHT"), to.constant(255, np.uint32))
    return str(to.add("Cast", levels, to=TensorProto.UINT8))


def _one_tap(to: Steps, photos: str, first: str, weights: str, last: str) -> onnx.GraphProto:
    """What a turn of the loop does: adds one line times its weight to every sum of lines."""
    inner = Steps(to.fresh("tap") + "_")
    number, go_on, total = (inner.prefix + name for name in ("number", "go_on", "sum"))
    place = inner.add("Min", inner.add("Add", first, number), last)
    lines = inner.add("Cast", inner.add("Gather", photos, place, axis=1), to=TensorProto.INT32)
    weight = inner.add("Unsqueeze", inner.add("Gather", weights, number, axis=1), inner.constant([1]))
    product = inner.add("Mul", lines, weight)
    more, new = inner.add("Identity", go_on), inner.add("Add", total, product)
    value = helper.make_tensor_value_info
    return helper.make_graph(
        inner.nodes,
        inner.prefix + "body",
        [
            value(number, TensorProto.INT64, []),
            value(go_on, TensorProto.BOOL, []),
            value(total, TensorProto.INT32, [None] * 3),
        ],
        [value(more, TensorProto.BOOL, []), value(new, TensorProto.INT32, [None] * 3)],
    )


def _weights(to: Steps, side: str, wanted: str, taps: int) -> tuple[str, str, str]:
    """Which pixels each place of the new axis is made of, and how much of each.

    Returns:
        The first pixel of each place, int64 (wanted,); weights, int32 (wanted, taps); their binary places, uint32 ().
    """
    none = to.constant([0])
    old, new = (
        to.add("Squeeze", to.add("Cast", each, to=TensorProto.DOUBLE), none) for each in (side, wanted)
    )

    def number(value: float) -> str:
        return to.constant(value, np.float64)

    scale = to.add("Div", old, new)
    stretch = to.add("Max", scale, number(1.0))
    support = to.add("Mul", number(taps / 2), stretch)
    inverse = to.add("Div", number(1.0), stretch)
    places = to.add("Range", to.constant(0), to.add("Squeeze", wanted, none), to.constant(1))
    centre = to.add("Mul", scale, to.add("Add", to.add("Cast", places, to=TensorProto.DOUBLE), number(0.5)))

    def whole(value: str) -> str:
        """Rounded towards 0, like a cast in C++."""
        return str(to.add("Cast", value, to=TensorProto.INT64))

    half = number(0.5)
    first = to.add("Max", whole(to.add("Add", to.add("Sub", centre, support), half)), none)
    end = to.add("Min", whole(to.add("Add", to.add("Add", centre, support), half)), side)
    most = to.add("ReduceMax", to.add("Sub", end, first), keepdims=0)
    turns = to.add("Range", to.constant(0), most, to.constant(1))  # (taps,)
    columns = to.add("Unsqueeze", first, to.constant([1]))
    at = to.add("Add", columns, turns)  # (wanted, taps)
    inside = to.add("Less", at, to.add("Unsqueeze", end, to.constant([1])))
    offset = to.add(
        "Add",
        to.add(
            "Sub", to.add("Cast", at, to=TensorProto.DOUBLE), to.add("Unsqueeze", centre, to.constant([1]))
        ),
        half,
    )
    distance = to.add("Abs", to.add("Mul", offset, inverse))
    shape = _triangle if taps == _TAPS["bilinear"] else _cubic
    raw = to.add("Where", inside, shape(to, distance), number(0.0))
    shares = to.add("Div", raw, to.add("ReduceSum", raw, to.constant([1]), keepdims=1))
    return first, *_in_bits(to, shares)


def _triangle(to: Steps, x: str) -> str:
    """1 - x, and 0 from 1 on."""
    one = to.constant(1.0, np.float64)
    return str(to.add("Max", to.add("Sub", one, x), to.constant(0.0, np.float64)))


def _cubic(to: Steps, x: str) -> str:
    """Keys' cubic with a = -0.5, as Pillow has it; 0 from 2 on."""
    a = -0.5

    def number(value: float) -> str:
        return to.constant(value, np.float64)

    def times(left: str, right: str) -> str:
        return str(to.add("Mul", left, right))

    near = to.add("Sub", times(number(a + 2), x), number(a + 3))
    near = to.add("Add", times(times(near, x), x), number(1.0))
    far = to.add("Add", times(to.add("Sub", x, number(5.0)), x), number(8.0))
    far = times(to.add("Sub", times(far, x), number(4.0)), number(a))
    outer = to.add("Where", to.add("Less", x, number(2.0)), far, number(0.0))
    return str(to.add("Where", to.add("Less", x, number(1.0)), near, outer))


def _in_bits(to: Steps, shares: str) -> tuple[str, str]:
    """Weights as whole numbers of 16 bits, with as many binary places as the largest one leaves room for.

    Returns:
        int32 (wanted, taps), and the binary places, uint32 ().
    """
    half = to.constant(0.5, np.float64)
    largest = to.add("ReduceMax", shares, keepdims=0)
    # The smallest number of places, of 0 to 22, with which the next one would make the largest weight 2^15 or more.
    doubled = to.constant([2.0 ** (places + 1) for places in range(_BITS)], np.float64)
    next_values = to.add("Cast", to.add("Add", half, to.add("Mul", largest, doubled)), to=TensorProto.INT64)
    fits = to.add("Cast", to.add("Less", next_values, to.constant(1 << 15)), to=TensorProto.INT64)
    places = to.add("ReduceSum", fits, keepdims=0)
    scaled = to.add(
        "Mul",
        shares,
        to.add("Pow", to.constant(2.0, np.float64), to.add("Cast", places, to=TensorProto.DOUBLE)),
    )
    # Halves away from 0; the cast drops what comes after the point.
    rounded = to.add("Add", scaled, to.add("Mul", to.add("Sign", scaled), half))
    return to.add("Cast", rounded, to=TensorProto.INT32), to.add("Cast", places, to=TensorProto.UINT32)


def _middle(to: Steps, wanted: str, steps: Preprocessing) -> tuple[str, str]:
    """Where the middle ``crop`` places of an axis begin and how many there are, int64 (1,) each."""
    size = to.constant([steps.crop])
    if steps.resize < steps.crop:
        count = to.add("Min", wanted, size)
    else:
        count = size
    spare = to.add("Cast", to.add("Sub", wanted, count), to=TensorProto.DOUBLE)
    # ONNX rounds halves to even, as Python and torchvision's center_crop do.
    begin = to.add("Round", to.add("Div", spare, to.constant([2.0], np.float64)))
    return to.add("Cast", begin, to=TensorProto.INT64), count


def _padded(to: Steps, photos: str, size: int) -> str:
    """Black around photos that are smaller than ``size``."""
    missing = [to.add("Sub", to.constant([size]), side) for side in _sides(to, photos)]
    before = [to.add("Div", each, to.constant([2])) for each in missing]
    after = [to.add("Sub", each, half) for each, half in zip(missing, before, strict=True)]
    none = to.constant([0])
    pads = to.add("Concat", none, *before, none, none, *after, none, axis=0)
    return str(to.add("Pad", photos, pads, to.constant(0, np.uint8)))
