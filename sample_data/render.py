"""Makes the sample photos: ray-marched fruit on tables, in varied poses, light and company.

``python sample_data/render.py`` writes ``fruit/<class>/NNN.jpg`` beside this file, always the same ones.
Needs numpy and Pillow only. The README beside it lists the three flaws that are there on purpose.
"""

from __future__ import annotations

import argparse
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapes
from PIL import Image
from shapes import Array, Part, mix, noise, rotation_about, step

CLASSES = ("apple", "banana", "orange", "pear", "strawberry")
PER_CLASS = 40
LONGER_SIDE = 256
_OVERSAMPLING = 1.5

# The flaws, on purpose: what a data check has to find.
DUPLICATE = ("pear/041.jpg", "pear/007.jpg")  # byte for byte the same
TRUNCATED = ("banana/041.jpg", "banana/012.jpg")  # a copy that breaks off in its middle
MISLABELLED = ("apple/023.jpg", "orange")  # shows an orange


@dataclass(frozen=True)
class Light:
    """Where light comes from.

    Args:
        sun: (3,), unit vector towards the main light.
        sun_colour: (3,), linear.
        sky_colour: (3,), light from all around.
        hardness: How sharp shadows are.
    """

    sun: Array
    sun_colour: Array
    sky_colour: Array
    hardness: float


# --- composing a scene ---------------------------------------------------------------------------------


def _upright(rng: np.random.Generator, most: float) -> Array:
    tilt = rotation_about((rng.normal(), 0, rng.normal() + 1e-3), rng.uniform(0, most))
    return tilt @ rotation_about((0, 1, 0), rng.uniform(0, 2 * np.pi))


def _lying(rng: np.random.Generator, low: float, high: float) -> Array:
    turn = rotation_about((0, 1, 0), rng.uniform(0, 2 * np.pi))
    return (
        turn
        @ rotation_about((0, 0, 1), rng.uniform(low, high))
        @ rotation_about((0, 1, 0), rng.uniform(0, 6.28))
    )


def fruit(kind: str, rng: np.random.Generator) -> tuple[list[Part], Array, float]:
    """One fruit (or a hand of bananas): its parts, a natural pose, and its scale."""
    if kind == "apple":
        return shapes.apple(rng), _upright(rng, 0.6) if rng.random() < 0.75 else _lying(rng, 1.2, 1.7), 1.0
    if kind == "pear":
        return shapes.pear(rng), _upright(rng, 0.15) if rng.random() < 0.65 else _lying(rng, 1.3, 1.55), 0.95
    if kind == "strawberry":
        upside_down = _upright(rng, 0.5) @ rotation_about((1, 0, 0), np.pi)
        return shapes.strawberry(rng), _lying(rng, 1.0, 1.7) if rng.random() < 0.9 else upside_down, 0.62
    if kind == "orange":
        if rng.random() < 0.3:
            return shapes.orange(rng, cut=True), _upright(rng, 0.5), 1.0
        return shapes.orange(rng), _upright(rng, 1.2), 1.0
    count = int(rng.choice([1, 1, 1, 2, 3, 4]))
    turn = rotation_about((0, 1, 0), rng.uniform(0, 2 * np.pi))
    if count == 1 and rng.random() < 0.75:  # on its side
        pose = rotation_about((1, 0, 0), rng.choice([-1, 1]) * rng.uniform(1.25, 1.57))
    else:  # on its ends, like a bridge
        pose = rotation_about((0, 0, 1), rng.uniform(-0.1, 0.1)) @ rotation_about(
            (1, 0, 0), rng.uniform(-0.35, 0.35)
        )
    return shapes.hand_of_bananas(rng, count), turn @ pose, 1.0


def _placed(parts: list[Part], pose: Array, scale: float, x: float, z: float, table: float) -> list[Part]:
    """The parts in their pose, standing on the height ``table`` with their heaviest parts."""
    heavy = [one for one in parts if one.distance.__qualname__.startswith(parts[0].distance.__qualname__)]
    lowest = min(_bounds(one.moved(pose, np.zeros(3), scale))[0][1] for one in heavy)
    return [one.moved(pose, np.array([x, table - lowest, z]), scale) for one in parts]


def _bounds(one: Part) -> tuple[Array, Array]:
    """The corners of the smallest upright box about a part."""
    side = np.linspace(-one.reach, one.reach, 44)
    grid = np.stack(np.meshgrid(side, side, side), -1).reshape(-1, 3).astype(np.float32)
    inside = grid[one.distance(grid) < 0.02]
    world = inside @ one.rotation.T * one.scale + one.place if len(inside) else one.place[None]
    return world.min(0), world.max(0)


def compose(kind: str, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """The subject's parts, and everything else that stands about."""
    table, others = 0.0, []
    if rng.random() < 0.22:
        others += shapes.plate(rng)
        table = 0.1
    count = int(rng.choice([1, 1, 1, 2, 2, 3])) if kind != "banana" else 1
    count += int(kind == "strawberry" and rng.random() < 0.5)
    subject: list[Part] = []
    taken: list[tuple[float, float, float]] = []
    for _ in range(count):
        parts, pose, scale = fruit(kind, rng)
        size = scale * (1.05 if kind != "banana" else 1.7)
        x, z = _free_place(taken, size, rng)
        taken.append((x, z, size))
        subject += _placed(parts, pose, scale, x, z, table)
    for _ in range(int(rng.choice([0, 0, 1, 1, 2, 3]))):
        make = shapes.CLUTTER[int(rng.integers(len(shapes.CLUTTER)))]
        parts = make(rng)
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(2.4, 4.5)
        x, z = away * np.cos(angle), away * np.sin(angle)
        size = parts[0].reach
        if all(np.hypot(x - a, z - b) > size + c for a, b, c in taken):
            taken.append((x, z, size))
            others += _placed(parts, rotation_about((0, 1, 0), rng.uniform(0, 6)), 1.0, x, z, 0.0)
    return subject, others


def _free_place(
    taken: list[tuple[float, float, float]], size: float, rng: np.random.Generator
) -> tuple[float, float]:
    if not taken:
        return 0.0, 0.0
    for _ in range(200):
        x0, z0, other = taken[int(rng.integers(len(taken)))]
        angle, away = rng.uniform(0, 2 * np.pi), (size + other) * rng.uniform(0.98, 1.25)
        x, z = x0 + away * np.cos(angle), z0 + away * np.sin(angle)
        if all(np.hypot(x - a, z - b) > 0.97 * (size + c) for a, b, c in taken):
            return x, z
    return 4 * size * len(taken), 0.0


def _light(rng: np.random.Generator) -> Light:
    height, turn = rng.uniform(0.5, 1.3), rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(turn) * np.cos(height), np.sin(height), np.sin(turn) * np.cos(height)])
    warmth = rng.uniform(-1, 1)
    colour = np.array([1 + 0.14 * warmth, 1.0, 1 - 0.2 * warmth]) * rng.uniform(1.5, 2.6)
    sky = np.array([1 - 0.05 * warmth, 1.0, 1 + 0.1 * warmth]) * rng.uniform(0.45, 0.9)
    return Light(sun, colour, sky, float(np.exp(rng.uniform(np.log(4), np.log(30)))))


# --- tables and walls ----------------------------------------------------------------------------------


def table_top(rng: np.random.Generator) -> Callable[[Array], Array]:
    """A random table: a function from points on it to colours."""
    kind = str(rng.choice(["wood", "wood", "plain", "check", "stripes", "granite", "linen"]))
    seed, turn = int(rng.integers(10_000)), rotation_about((0, 1, 0), rng.uniform(0, 2 * np.pi))
    light = np.array(rng.choice([[0.62, 0.6, 0.56], [0.5, 0.36, 0.2], [0.3, 0.36, 0.42], [0.12, 0.12, 0.13]]))
    first = light * rng.uniform(0.7, 1.2, 3)
    second = rng.choice(
        [[0.4, 0.05, 0.05], [0.05, 0.12, 0.35], [0.1, 0.25, 0.12], [0.55, 0.53, 0.5]]
    ) * rng.uniform(0.7, 1.2)
    brown = np.array([0.36, 0.2, 0.095]) * rng.uniform(0.35, 1.5)
    size = rng.uniform(0.5, 1.2)

    def colours(points: Array) -> Array:
        flat = points @ turn
        if kind == "wood":
            rings = noise(flat * (0.5, 1, 5), seed, 4) + 0.25 * noise(flat * (2, 1, 40), seed + 9)
            board = 0.85 + 0.3 * noise(np.floor(flat * (0, 0, 0.55)) * 7.3, seed + 5)
            gap = step(np.abs((flat[:, 2] * 0.55) % 1 - 0.5), 0.485, 0.495)
            return brown * ((0.35 + 1.1 * rings) * board * (1 - 0.6 * gap))[:, None]
        if kind == "check":
            across = (np.sin(flat[:, 0] / size * np.pi) > 0) * 1.0 + (np.sin(flat[:, 2] / size * np.pi) > 0)
            thread = 0.9 + 0.2 * noise(flat * 30, seed)
            return mix(np.array([0.66, 0.65, 0.62]), second, across / 2) * thread[:, None]
        if kind == "stripes":
            share = step(np.sin(flat[:, 0] / size * np.pi * 2), 0.3, 0.4)
            return mix(first, second, share) * (0.9 + 0.2 * noise(flat * 25, seed))[:, None]
        if kind == "granite":
            return first * (0.4 + 1.1 * noise(flat * 14, seed, 3))[:, None]
        if kind == "linen":
            weave = np.sin(flat[:, 0] * 60) * np.sin(flat[:, 2] * 60)
            folds = noise(flat * (0.6, 1, 1.4), seed, 2)
            return first * (0.75 + 0.12 * weave + 0.45 * folds)[:, None]
        return first * (0.85 + 0.3 * noise(flat * 1.2, seed, 3))[:, None]

    return colours


def _wall(rng: np.random.Generator) -> Callable[[Array], Array]:
    """What is behind the table, out of focus: a function from view directions to light."""
    low, high = rng.uniform(0.05, 0.7, 3), rng.uniform(0.1, 0.9, 3)
    if rng.random() < 0.6:  # most rooms are not colourful
        low, high = low.mean() * np.array([1.03, 1, 0.95]), high.mean() * np.array([1, 1, 1.03])
    seed, blotches = int(rng.integers(10_000)), rng.uniform(0, 0.9)

    def colours(directions: Array) -> Array:
        shade = noise(directions * rng_scale, seed, 2)
        return (
            mix(low, high, np.clip(directions[:, 1] * 2 + 0.5, 0, 1))
            * (1 + blotches * (shade - 0.5))[:, None]
        )

    rng_scale = rng.uniform(2, 6)
    return colours


# --- rays ----------------------------------------------------------------------------------------------


def _ball_span(origins: Array, directions: Array, centre: Array, radius: float) -> tuple[Array, Array, Array]:
    """Which rays meet a ball, and where they enter and leave it."""
    to_centre = centre - origins
    nearest = (to_centre * directions).sum(-1)
    gap = (to_centre * to_centre).sum(-1) - nearest**2
    half = np.sqrt(np.maximum(radius**2 - gap, 0))
    return (gap < radius**2) & (nearest + half > 0), np.maximum(nearest - half, 0), nearest + half


def _march(one: Part, origin: Array, directions: Array, before: Array) -> Array:
    """Distance along each ray to the part's surface; infinite for a miss or beyond ``before``."""
    result = np.full(len(directions), np.inf)
    meets, start, end = _ball_span(origin, directions, one.place, one.reach * one.scale)
    rays = np.flatnonzero(meets & (start < before))
    own_origin, own = one.own(origin[None])[0], (directions[rays] @ one.rotation).astype(np.float32)
    at, end = (start[rays] / one.scale).astype(np.float32), np.minimum(end, before)[rays] / one.scale
    for _ in range(110):
        gap = one.distance(own_origin + own * at[:, None])
        hit = gap < 0.0015
        result[rays[hit]] = at[hit] * one.scale
        at = at + np.maximum(gap, 0.001)
        going = ~hit & (at < end)
        rays, own, at, end = rays[going], own[going], at[going], end[going]
        if not len(rays):
            break
    return result


def _shadow(parts: list[Part], points: Array, light: Light) -> Array:
    """1 in full light, 0 in shadow, between them at its edges. Source: I. Quilez, "Soft shadows"."""
    share = np.ones(len(points))
    for one in parts:
        reach = one.reach * one.scale
        meets, start, end = _ball_span(
            points, np.broadcast_to(light.sun, points.shape), one.place, reach * 1.25
        )
        rays = np.flatnonzero(meets & (share > 0.01))
        at, end = np.maximum(start[rays], 0.03), end[rays]
        least = np.ones(len(rays))
        for _ in range(36):
            gap = one.distance(one.own(points[rays] + light.sun * at[:, None])) * one.scale
            least = np.minimum(least, light.hardness * gap / at)
            at = at + np.clip(gap, 0.03, 0.5)
            going = (at < end) & (least > 0.0)
            share[rays[~going]] = np.minimum(share[rays[~going]], np.clip(least[~going], 0, 1))
            rays, at, end, least = rays[going], at[going], end[going], least[going]
            if not len(rays):
                break
        share[rays] = np.minimum(share[rays], np.clip(least, 0, 1))
    return share * share * (3 - 2 * share)


def _openness(parts: list[Part], points: Array, normals: Array, reach: float) -> Array:
    """How much of the sky a point sees: 0 deep in a corner, 1 in the open."""
    share = np.ones(len(points))
    for distance in (reach, reach * 0.35):
        ahead = points + normals * distance
        nearest = np.minimum(ahead[:, 1], distance)  # the table is below everything
        for one in parts:
            near = np.flatnonzero(
                np.linalg.norm(ahead - one.place, axis=1) < one.reach * one.scale + distance
            )
            if len(near):
                nearest[near] = np.minimum(nearest[near], one.distance(one.own(ahead[near])) * one.scale)
        share *= 0.45 + 0.55 * np.clip(nearest / distance, 0, 1)
    return share


def _normals(one: Part, own: Array) -> Array:
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    normal = sum(corner * one.distance(own + corner * 0.004)[:, None] for corner in corners)
    return np.asarray(normal) / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def _lit(
    colour: Array,
    gloss: Array,
    normals: Array,
    view: Array,
    shadow: Array,
    openness: Array,
    light: Light,
    floor: Array,
) -> Array:
    """Light that a surface sends to the camera: diffuse, sky, bounce off the table, highlights, sheen."""
    facing = np.clip((normals @ light.sun + 0.12) / 1.12, 0, 1) * shadow
    sky = (0.5 + 0.5 * normals[:, 1])[:, None] * light.sky_colour
    bounce = (0.5 - 0.5 * normals[:, 1])[:, None] * floor * 0.9
    result = colour * (facing[:, None] * light.sun_colour + (sky + bounce) * openness[:, None])
    halfway = light.sun - view
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    shine = np.clip((normals * halfway).sum(1), 0, 1)
    peak = gloss * (0.55 * shine ** (20 + 160 * gloss) + 0.12 * shine**14) * shadow
    rim = np.clip(1 + (normals * view).sum(1), 0, 1) ** 4 * gloss * 0.35 * openness
    return result + peak[:, None] * light.sun_colour + rim[:, None] * light.sky_colour


def render(kind: str, seed: int) -> Image.Image:
    """One photo of the class ``kind``."""
    rng = np.random.default_rng([seed, CLASSES.index(kind)])
    width, height = [(256, 256), (256, 192), (192, 256), (256, 170)][
        int(rng.choice(4, p=[0.3, 0.45, 0.15, 0.1]))
    ]
    subject, others = compose(kind, rng)
    light, top, wall = _light(rng), table_top(rng), _wall(rng)
    columns, rows = round(width * _OVERSAMPLING), round(height * _OVERSAMPLING)
    origin, directions = _camera(
        subject, {"banana": 0, "pear": 1, "strawberry": 1}.get(kind), columns, rows, rng
    )
    if rng.random() < 0.18:
        others += _in_the_way(subject, origin, rng)
    floor = top(rng.uniform(-2, 2, (64, 3)) * (1, 0, 1)).mean(0) * light.sun_colour * 0.4

    # The table, and behind its far edge the wall.
    with np.errstate(divide="ignore"):
        ground = np.where(directions[:, 1] < -1e-4, -origin[1] / directions[:, 1], np.inf)
    ahead = directions.mean(0) * (1, 0, 1) / np.linalg.norm(directions.mean(0) * (1, 0, 1))
    ground[ground * (directions @ ahead) > rng.uniform(1.3, 3.5) * np.linalg.norm(origin * (1, 0, 1))] = (
        np.inf
    )
    nearest, owner = ground.copy(), np.where(np.isfinite(ground), -1, -2)
    parts: list[Part] = []
    for one in subject + others:
        found = _march(one, origin, directions, nearest)
        closer = found < nearest
        hidden = (closer & (owner >= 0) & (owner < len(subject))).sum()
        if len(parts) >= len(subject) and hidden > 0.25 * ((owner >= 0) & (owner < len(subject))).sum():
            continue  # it would hide too much
        nearest[closer], owner[closer] = found[closer], len(parts)
        parts.append(one)

    picture = np.zeros((len(directions), 3))
    away = owner == -2
    picture[away] = wall(directions[away]) * light.sky_colour
    for number in range(-1, len(parts)):
        seen = np.flatnonzero(owner == number)
        if not len(seen):
            continue
        points = origin + directions[seen] * nearest[seen, None]
        if number == -1:
            normals, colour = np.broadcast_to([0.0, 1.0, 0.0], points.shape), top(points)
            gloss = np.full(len(seen), 0.06)
        else:
            own = parts[number].own(points)
            colour, gloss, nudge = parts[number].skin(own)
            normals = _normals(parts[number], own) + nudge
            normals = normals / np.linalg.norm(normals, axis=1, keepdims=True) @ parts[number].rotation.T
        lifted = points + normals * 0.012
        shadow, openness = _shadow(parts, lifted, light), _openness(parts, points, normals, 0.5)
        picture[seen] = _lit(colour, gloss, normals, directions[seen], shadow, openness, light, floor)
    focus = np.median(nearest[np.isin(owner, range(len(subject)))]) if (owner >= 0).any() else 6.0
    return _developed(
        picture.reshape(rows, columns, 3), nearest.reshape(rows, columns), focus, (width, height), rng
    )


def _camera(
    subject: list[Part], long_axis: int | None, columns: int, rows: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Where the camera is, and the direction (n, 3) of each pixel's ray."""
    boxes = [_bounds(one) for one in subject]
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    target = (low + high) / 2
    size = float(np.linalg.norm(high - low)) / 2
    view_angle = rng.uniform(0.42, 0.7)
    elevation = rng.uniform(0.2, 1.0) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
    away = size / np.tan(view_angle / 2) * rng.uniform(0.8, 1.4)
    for _ in range(20):
        turn = rng.uniform(0, 2 * np.pi)
        backwards = np.array([np.cos(turn), np.tan(elevation), np.sin(turn)]) * np.cos(elevation)
        if long_axis is None or abs(backwards @ subject[0].rotation[:, long_axis]) < 0.6:
            break
        elevation = rng.uniform(0.2, 0.8)  # seen from an end, a pear may be an apple
    origin = target + backwards * away
    origin[1] = max(origin[1], 0.3)
    target = target + rng.normal(size=3) * size * 0.12
    forward = target - origin
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    roll = rng.normal() * 0.06
    right, up = right * np.cos(roll) + up * np.sin(roll), up * np.cos(roll) - right * np.sin(roll)
    reach = np.tan(view_angle / 2)
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns * 2 - 1, 1 - (np.arange(rows) + 0.5) / rows * 2)
    shorter = min(columns, rows)
    directions = forward + reach * (
        x[..., None] * right * columns / shorter + y[..., None] * up * rows / shorter
    )
    directions = directions.reshape(-1, 3)
    return origin, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _in_the_way(subject: list[Part], origin: Array, rng: np.random.Generator) -> list[Part]:
    """Something near the camera that hides an edge of the subject."""
    centre = np.mean([one.place for one in subject], axis=0)
    forward = centre - origin
    side = np.cross(forward, [0, 1, 0])
    side /= np.linalg.norm(side)
    place = origin + forward * rng.uniform(0.5, 0.65) + side * rng.choice([-1, 1]) * rng.uniform(0.75, 1.0)
    make = shapes.CLUTTER[int(rng.integers(2))] if rng.random() < 0.5 else None
    parts = make(rng) if make else [shapes.leaf(rng, 1.6)]
    turn = rotation_about((0, 1, 0), rng.uniform(0, 6)) @ rotation_about((1, 0, 0), rng.uniform(-1, 1))
    return [one.moved(turn, place, 0.6) for one in parts]


# --- developing ----------------------------------------------------------------------------------------


def _blurred(picture: Array, radius: float) -> Array:
    offsets = np.arange(-int(3 * radius), int(3 * radius) + 1)
    kernel = np.exp(-((offsets / radius) ** 2) / 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (len(offsets) // 2,) * 2
        padded = np.pad(picture, pad, mode="edge")
        length = picture.shape[axis]
        picture = sum(
            weight * np.take(padded, np.arange(start, start + length), axis)
            for start, weight in enumerate(kernel)
        )
    return picture


def _developed(
    picture: Array, depth: Array, focus: float, size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    """From light to a photo: depth of field, exposure, tone curve, vignette, grain."""
    strength = rng.uniform(0, 1.0)
    blur = (
        np.clip(np.abs(1 / np.minimum(depth, 60) - 1 / focus) * focus * 1.6 - 0.35, 0, 1)[..., None]
        * strength
    )
    # Weighted, so that what is sharp does not bleed into what is not.
    soft = _blurred(picture * (blur + 1e-3), 2.5) / _blurred(blur + 1e-3, 2.5)
    picture = picture + (soft - picture) * blur
    exposure = 0.42 / np.exp(np.log(picture.mean(2) + 0.02).mean()) * np.exp(rng.normal() * 0.22)
    picture = picture * np.clip(exposure, 0.7, 2.4)
    picture = picture * (1 + rng.normal(size=3) * 0.03)  # white balance
    picture = picture * (1 + 0.3 * picture / 6) / (1 + 0.55 * picture)  # film-like shoulder
    rows, columns = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    picture = picture * (1 - rng.uniform(0, 0.3) * (x * x + y * y) / 2)[..., None]
    values = np.clip(picture, 0, 1) ** (1 / 2.2) * 255
    image = Image.fromarray(np.rint(values).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    grain = rng.normal(size=(size[1], size[0], 1)) * 0.7 + rng.normal(size=(size[1], size[0], 3)) * 0.5
    values = np.asarray(image, float) + grain * rng.uniform(0.5, 5)
    return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))


# --- the whole set -------------------------------------------------------------------------------------


def encoded(kind: str, seed: int) -> bytes:
    """A photo as JPEG; the seed of the photos of a class is their number."""
    content = io.BytesIO()
    render(kind, seed).save(content, "JPEG", quality=86)
    return content.getvalue()


def main() -> None:
    """Write all photos, flaws included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "fruit")
    out: Path = parser.parse_args().out
    if out.exists():
        shutil.rmtree(out)
    for kind in CLASSES:
        (out / kind).mkdir(parents=True)
        for number in range(1, PER_CLASS + 1):
            name = f"{kind}/{number:03d}.jpg"
            shown, seed = (MISLABELLED[1], 1000 + number) if name == MISLABELLED[0] else (kind, number)
            (out / name).write_bytes(encoded(shown, seed))
        print(kind, flush=True)
    shutil.copyfile(out / DUPLICATE[1], out / DUPLICATE[0])
    whole = (out / TRUNCATED[1]).read_bytes()
    (out / TRUNCATED[0]).write_bytes(whole[: len(whole) * 3 // 5])


if __name__ == "__main__":
    main()
