"""The solids in the sample photos: fruit, and what lies about on a table.

A shape is a function from points to their distance from its surface (negative inside), in its own
coordinates; a skin is a function from surface points to colour, gloss and a nudge of the normal. Knows
nothing of cameras or light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Distance = Callable[[Array], Array]  # (n, 3) -> (n,)
Skin = Callable[[Array], tuple[Array, Array, Array]]  # (n, 3) -> colour (n, 3), gloss (n,), nudge (n, 3)


@dataclass(frozen=True)
class Part:
    """A solid with one skin.

    Args:
        distance: In the part's own coordinates; may fall short of the true distance, never exceed it by much.
        skin: Likewise.
        reach: Radius of a ball about the origin that holds the part.
        rotation: (3, 3), from own to world coordinates.
        place: (3,), of the origin in the world.
        scale: World length of one own unit.
    """

    distance: Distance
    skin: Skin
    reach: float
    rotation: Array
    place: Array
    scale: float = 1.0

    def own(self, points: Array) -> Array:
        """World points in own coordinates."""
        return ((points - self.place) @ self.rotation / self.scale).astype(np.float32)

    def moved(self, rotation: Array, place: Array, scale: float = 1.0) -> Part:
        """The part turned, scaled and then shifted, as a member of something larger."""
        return Part(
            self.distance,
            self.skin,
            self.reach,
            rotation @ self.rotation,
            rotation @ self.place * scale + place,
            self.scale * scale,
        )


def part(distance: Distance, skin: Skin, reach: float) -> Part:
    """A part at the origin, as it is."""
    return Part(distance, skin, reach, np.eye(3), np.zeros(3))


# --- noise ---------------------------------------------------------------------------------------------


def noise(points: Array, seed: int, octaves: int = 1) -> Array:
    """Smooth random values of 0 to 1, one feature per unit of length (and finer ones with more octaves)."""
    total, weight = np.zeros(len(points), np.float32), 0.0
    for octave in range(octaves):
        total += 0.5**octave * _lattice(points * 2.0**octave + 100.0, seed + octave)
        weight += 0.5**octave
    return total / np.float32(weight)


def _lattice(points: Array, seed: int) -> Array:
    cell = np.floor(points)
    blend = (points - cell).astype(np.float32)
    blend = blend * blend * (3 - 2 * blend)
    # Hashed per axis, so that the eight corners of a cell cost only additions more.
    primes = np.array([73856093, 19349663, 83492791], np.uint32)
    low = cell.astype(np.int64).astype(np.uint32) * primes
    near, far = (low[:, 0], low[:, 1], low[:, 2]), (low + primes).T
    salt = np.uint32(seed * 2654435761 & 0xFFFFFFFF)
    total = np.zeros(len(points), np.float32)
    for x, share_x in ((near[0], 1 - blend[:, 0]), (far[0], blend[:, 0])):
        for y, share_y in ((near[1], 1 - blend[:, 1]), (far[1], blend[:, 1])):
            plane = x ^ y ^ salt
            value = _hashed(plane ^ near[2]) * (1 - blend[:, 2]) + _hashed(plane ^ far[2]) * blend[:, 2]
            total += share_x * share_y * value
    return total


def _hashed(mixed: Array) -> Array:
    mixed = (mixed ^ mixed >> np.uint32(13)) * np.uint32(1274126177)
    return ((mixed ^ mixed >> np.uint32(16)) & np.uint32(0xFFFF)).astype(np.float32) / 65535


def mix(first: Array, second: Array, share: Array) -> Array:
    """Colours between ``first`` and ``second``; ``share`` (n,) of 0 to 1 is the second's."""
    return np.asarray(first) * (1 - share[:, None]) + np.asarray(second) * share[:, None]


def step(value: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _gradient(field: Callable[[Array], Array], points: Array, reach: float) -> Array:
    here = field(points)
    return np.stack([field(points + reach * axis) - here for axis in np.eye(3)], axis=1) / reach


# --- building blocks -----------------------------------------------------------------------------------


def rounded(angles: list[float], radii: list[float], smooth: int = 9) -> Callable[[Array], Array]:
    """Radius as a function of the angle from the top (radians), smooth through the given points (degrees)."""
    dense = np.linspace(0, 180, 721)
    table = np.interp(dense, angles, radii)
    padded = np.concatenate([table[smooth * 4 : 0 : -1], table, table[-2 : -smooth * 4 - 2 : -1]])
    kernel = np.hanning(smooth * 8 + 3)[1:-1]
    table = np.convolve(padded, kernel / kernel.sum(), "valid")
    radians = np.radians(np.linspace(0, 180, len(table)))
    return lambda angle: np.interp(angle, radians, table).astype(np.float32)


def angles_of(points: Array) -> tuple[Array, Array, Array]:
    """Distance from the origin, angle from the top, and longitude."""
    across = np.hypot(points[:, 0], points[:, 2])
    return (
        np.hypot(across, points[:, 1]),
        np.arctan2(across, points[:, 1]),
        np.arctan2(points[:, 2], points[:, 0]),
    )


def capsule(start: Array, end: Array, radius: float, thicker: float = 1.0) -> Distance:
    """A rod with round ends, ``thicker`` times as thick at its end."""
    start, along = np.asarray(start, float), np.asarray(end, float) - np.asarray(start, float)

    def distance(points: Array) -> Array:
        share = np.clip((points - start) @ along / (along @ along), 0, 1)
        away = np.linalg.norm(points - start - share[:, None] * along, axis=1)
        return away - radius * (1 + (thicker - 1) * share)

    return distance


def ellipsoid(points: Array, radii: tuple[float, float, float]) -> Array:
    """Distance from an ellipsoid about the origin. Source: I. Quilez, "Ellipsoid - distance"."""
    scaled = points / np.asarray(radii, np.float32)
    size = np.linalg.norm(scaled, axis=1)
    slope = np.linalg.norm(scaled / np.asarray(radii, np.float32), axis=1)
    return size * (size - 1) / np.maximum(slope, 1e-6)


def plain(colour: tuple[float, float, float], gloss: float, grain: float = 0.0, seed: int = 0) -> Skin:
    """One colour, with some unevenness."""

    def skin(points: Array) -> tuple[Array, Array, Array]:
        shade = 1 + grain * (noise(points * 6, seed, 3) - 0.5) * 2 if grain else np.ones(len(points))
        return np.asarray(colour) * shade[:, None], np.full(len(points), gloss), np.zeros_like(points)

    return skin


def leaf(rng: np.random.Generator, length: float = 0.55) -> Part:
    """A pointed, bent leaf that starts at the origin and goes along x."""
    bend, width = rng.uniform(0.15, 0.5), length * rng.uniform(0.3, 0.42)

    def distance(points: Array) -> Array:
        share = np.clip(points[:, 0] / length, 0, 1)
        half = width * np.sin(np.pi * np.clip(share, 0.02, 0.98) ** 0.85) + 0.004
        middle = bend * share * (1 - share) * length + 0.15 * np.abs(points[:, 2]) ** 1.2
        beyond = np.maximum(np.abs(points[:, 0] - length / 2) - length / 2, 0)
        flat = np.abs(points[:, 1] - middle) - 0.012
        side = np.abs(points[:, 2]) - half
        outside = np.hypot(np.maximum(flat, 0), np.hypot(np.maximum(side, 0), beyond))
        return 0.6 * (outside + np.minimum(np.maximum(flat, side), 0) * (beyond == 0))

    green = np.array([0.07, 0.26, 0.045]) * rng.uniform(0.8, 1.3)

    def skin(points: Array) -> tuple[Array, Array, Array]:
        rib = np.exp(-((points[:, 2] / 0.014) ** 2))
        veins = 0.35 * step(np.abs(np.sin(38 * (points[:, 0] - 0.8 * np.abs(points[:, 2])))), 0.93, 1)
        share = np.clip(rib + veins, 0, 1) * 0.6
        colour = (
            mix(green, np.array([0.3, 0.5, 0.15]), share) * (0.8 + 0.4 * noise(points * 9, 5, 2))[:, None]
        )
        return colour, np.full(len(points), 0.35), np.zeros_like(points)

    return part(distance, skin, length * 1.1)


def stem(rng: np.random.Generator, foot: float, length: float, radius: float = 0.045) -> Part:
    """A woody stem that stands on the height ``foot``, leaning a little."""
    lean = rng.uniform(-0.35, 0.35, 2) * length
    top = (lean[0], foot + length, lean[1])
    wood = plain((0.16, 0.1, 0.045), 0.1, 0.4, int(rng.integers(1000)))
    return part(capsule((0, foot, 0), top, radius, 1.35), wood, foot + length + 0.3)


def _stem_leaf(rng: np.random.Generator, height: float) -> Part:
    turn = rotation_about((0, 1, 0), rng.uniform(0, 2 * np.pi)) @ rotation_about(
        (0, 0, 1), rng.uniform(-0.1, 0.6)
    )
    return leaf(rng, rng.uniform(0.55, 0.85)).moved(turn, np.array([0, height, 0]))


def rotation_about(axis: tuple[float, float, float], angle: float) -> Array:
    """Rotation matrix (3, 3); Rodrigues' formula."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


# --- fruit ---------------------------------------------------------------------------------------------


def apple(rng: np.random.Generator) -> list[Part]:
    """Dimpled at both ends, streaked, with a stem and sometimes a leaf."""
    radius = rounded(
        [0, 6, 14, 26, 45, 70, 95, 125, 150, 166, 174, 180],
        [0.6, 0.66, 0.82, 0.97, 1.04, 1.03, 1.0, 0.95, 0.9, 0.88, 0.82, 0.76],
    )
    tall, lobes, turn = rng.uniform(0.9, 1.06), rng.uniform(0.01, 0.03), rng.uniform(0, 6)

    def distance(points: Array) -> Array:
        away, angle, longitude = angles_of(points / (1, tall, 1))
        return 0.62 * (
            away - radius(angle) * (1 + lobes * np.cos(5 * longitude + turn) * step(angle, 1.2, 2.9))
        )

    kind = rng.choice(["red", "red", "striped", "green", "yellow"])
    skins = {
        "red": ((0.52, 0.015, 0.02), (0.62, 0.2, 0.03), 0.25),
        "striped": ((0.58, 0.035, 0.02), (0.72, 0.47, 0.07), 0.55),
        "green": ((0.28, 0.46, 0.04), (0.4, 0.55, 0.09), 0.5),
        "yellow": ((0.68, 0.5, 0.06), (0.75, 0.2, 0.05), 0.3),
    }
    main, other, amount = skins[str(kind)]
    seed = int(rng.integers(10_000))

    def skin(points: Array) -> tuple[Array, Array, Array]:
        away, angle, longitude = angles_of(points)
        around = np.stack([np.cos(longitude), angle * 0.12, np.sin(longitude)], 1)
        streak = noise(around * 9, seed, 3) * 0.7 + noise(points * 1.3, seed + 7) * 0.6
        colour = mix(main, other, step(streak, 0.85 - amount * 0.5, 1.1 - amount * 0.3))
        near_stem = step(0.55 - angle + 0.25 * (streak - 0.5), 0.0, 0.35)
        colour = mix(colour, np.array([0.36, 0.34, 0.06]), near_stem * 0.75)
        colour = mix(colour, np.array([0.13, 0.08, 0.03]), step(angle, 2.98, 3.08) * 0.8)
        dots = step(noise(points * 17, seed + 3), 0.82, 0.9) * step(angle, 0.5, 0.9)
        colour = mix(colour, np.array([0.75, 0.62, 0.35]), dots * 0.5)
        return colour, 0.75 - 0.4 * near_stem, np.zeros_like(points)

    parts = [part(distance, skin, 1.15), stem(rng, 0.52 * tall, rng.uniform(0.45, 0.7))]
    if rng.random() < 0.45:
        parts.append(_stem_leaf(rng, 0.85 * tall))
    return parts


def pear(rng: np.random.Generator) -> list[Part]:
    """A round belly, a slim neck, a woody stem."""
    neck, slim = rng.uniform(0.92, 1.08), rng.uniform(0.92, 1.06)
    radius = rounded(
        [0, 5, 9, 13, 17, 23, 30, 40, 55, 75, 95, 120, 145, 165, 173, 180],
        [1.74, 1.72, 1.64, 1.49, 1.36, 1.19, 1.07, 0.99, 0.97, 0.99, 1.0, 1.0, 0.97, 0.93, 0.88, 0.82],
        smooth=5,
    )
    lean = rng.uniform(-0.12, 0.12)

    def bent(points: Array) -> Array:
        up = np.maximum(points[:, 1], 0)
        return np.stack([points[:, 0] * slim - lean * up * up, points[:, 1] / neck, points[:, 2] * slim], 1)

    def distance(points: Array) -> Array:
        away, angle, _ = angles_of(bent(points))
        return 0.6 * (away - radius(angle))

    kind = str(rng.choice(["green", "green", "yellow", "russet"]))
    main = {"green": (0.33, 0.43, 0.06), "yellow": (0.68, 0.52, 0.08), "russet": (0.4, 0.24, 0.07)}[kind]
    blush = {"green": (0.5, 0.3, 0.06), "yellow": (0.62, 0.16, 0.05), "russet": (0.45, 0.33, 0.09)}[kind]
    seed, side = int(rng.integers(10_000)), rng.normal(size=3)
    side /= np.linalg.norm(side)

    def skin(points: Array) -> tuple[Array, Array, Array]:
        _, angle, _ = angles_of(points)
        cloud = noise(points * 1.6, seed, 3)
        colour = mix(main, blush, step(points @ side * 0.6 + cloud, 0.75, 1.35) * 0.8)
        rough = step(0.28 - angle, 0, 0.2) + step(angle, 2.9, 3.1)
        colour = mix(
            colour, np.array([0.3, 0.19, 0.06]), np.clip(rough * 0.7 + 0.25 * step(cloud, 0.62, 0.8), 0, 1)
        )
        dots = step(noise(points * 19, seed + 3), 0.74, 0.84)
        colour = mix(colour, np.array([0.22, 0.16, 0.05]), dots * 0.55)
        return colour, np.full(len(points), 0.42 if kind != "russet" else 0.15), np.zeros_like(points)

    top = 1.66 * neck
    crooked = stem(rng, 0, rng.uniform(0.4, 0.65), 0.05).moved(
        np.eye(3), np.array([lean * top * top / slim, top, 0])
    )
    parts = [part(distance, skin, 2.1), crooked]
    if rng.random() < 0.3:
        parts.append(_stem_leaf(rng, 0.25).moved(np.eye(3), np.array([lean * top * top / slim, top, 0])))
    return parts


_PORES = 26.0


def orange(rng: np.random.Generator, cut: bool = False) -> list[Part]:
    """A ball with pores and a stem button; ``cut`` in half, its face up shows the segments."""
    flat, seed = rng.uniform(0.9, 1.0), int(rng.integers(10_000))
    main = np.array([0.88, rng.uniform(0.2, 0.29), 0.01])

    def ball(points: Array) -> Array:
        away, angle, _ = angles_of(points / (1, flat, 1))
        return 0.85 * (away - 1 + 0.05 * np.exp(-((angle / 0.16) ** 2)))

    def distance(points: Array) -> Array:
        return np.maximum(ball(points), points[:, 1]) if cut else ball(points)

    def peel(points: Array) -> tuple[Array, Array, Array]:
        _, angle, longitude = angles_of(points)
        pores = noise(points * _PORES, seed)
        colour = main * (0.88 + 0.2 * pores + 0.15 * (noise(points * 2, seed + 1, 2) - 0.5))[:, None]
        colour = mix(colour, np.array([0.62, 0.4, 0.03]), step(0.4 - angle, 0, 0.4) * 0.5)
        star = 0.12 * (1 + 0.22 * np.cos(5 * longitude))
        colour = mix(colour, np.array([0.2, 0.27, 0.06]), step(star - angle, -0.01, 0.02))
        colour = mix(colour, np.array([0.3, 0.22, 0.1]), step(0.05 - angle, -0.01, 0.01))
        nudge = -0.0085 * _gradient(lambda p: noise(p * _PORES, seed), points, 0.008)
        return colour, 0.5 + 0.15 * pores, nudge

    segments, turn = int(rng.integers(9, 12)), rng.uniform(0, 6)

    def face(points: Array) -> tuple[Array, Array, Array]:
        across, longitude = np.hypot(points[:, 0], points[:, 2]), np.arctan2(points[:, 2], points[:, 0])
        sector = (longitude + turn) / (2 * np.pi) * segments
        off_wall = np.abs(sector - np.round(sector)) * 2 * np.pi / segments * across
        fibres = noise(np.stack([np.cos(longitude) * 14, across * 3.5, np.sin(longitude) * 14], 1), seed, 3)
        flesh = np.array([0.93, 0.36, 0.015]) * (0.62 + 0.6 * fibres)[:, None]
        pith = np.clip(
            step(across, 0.85, 0.88) + step(0.1 - across, -0.02, 0.02) + step(0.03 - off_wall, -0.012, 0.008),
            0,
            1,
        )
        colour = mix(flesh, np.array([0.86, 0.7, 0.42]), pith)
        colour = mix(colour, main, step(across, 0.955, 0.965))
        return colour, 0.8 - 0.6 * pith, np.zeros_like(points)

    def skin(points: Array) -> tuple[Array, Array, Array]:
        if not cut:
            return peel(points)
        on_face = (points[:, 1] > -0.012)[:, None]
        (colour, gloss, nudge), (cut_colour, cut_gloss, _) = peel(points), face(points)
        gloss = np.where(on_face[:, 0], cut_gloss, gloss)
        return np.where(on_face, cut_colour, colour), gloss, np.where(on_face, 0, nudge)

    parts = [part(distance, skin, 1.05)]
    if not cut and rng.random() < 0.35:
        parts += [stem(rng, flat - 0.1, 0.22, 0.05), _stem_leaf(rng, flat + 0.05)]
    return parts


_ROWS = 5.2  # of seeds, per unit of height


def strawberry(rng: np.random.Generator) -> list[Part]:
    """A cone with seeds in dimples and a green crown."""
    radius = rounded(
        [0, 20, 40, 60, 90, 120, 140, 158, 170, 180],
        [0.6, 0.68, 0.8, 0.88, 0.87, 0.93, 1.03, 1.2, 1.3, 1.33],
    )
    broad, lumpy, seed = rng.uniform(0.9, 1.1), rng.uniform(0.03, 0.09), int(rng.integers(10_000))

    def seeds(points: Array) -> tuple[Array, Array]:
        """How much of a seed, and of the dimple about it, each point is."""
        height = points[:, 1] * _ROWS
        row = np.round(height)
        girth = radius(np.arctan2(np.hypot(points[:, 0], points[:, 2]), points[:, 1]))
        around = 2 * np.pi * np.maximum(np.hypot(points[:, 0], points[:, 2]), 0.05)
        count = np.maximum(np.round(around * girth * _ROWS * 0.85), 3)
        cell = (np.arctan2(points[:, 2], points[:, 0]) / (2 * np.pi)) * count + 0.5 * (row % 2)
        sideways = (cell - np.round(cell)) / count * around
        upright = (height - row) / _ROWS
        size = (sideways / 0.026) ** 2 + (upright / 0.045) ** 2
        return step(1.25 - size, 0, 0.5), np.exp(-((sideways / 0.065) ** 2 + (upright / 0.075) ** 2))

    def distance(points: Array) -> Array:
        away, angle, longitude = angles_of(points / (broad, 1, broad))
        lumps = lumpy * np.cos(longitude * 2 + seed) * np.sin(angle) ** 2
        return 0.6 * (away - radius(angle) * (1 + lumps)) + 0.018 * seeds(points)[1]

    def skin(points: Array) -> tuple[Array, Array, Array]:
        kernel, dimple = seeds(points)
        cloud = noise(points * 2.5, seed, 2)
        colour = mix(np.array([0.6, 0.012, 0.014]), np.array([0.72, 0.06, 0.03]), cloud)
        colour = mix(colour, np.array([0.78, 0.45, 0.2]), step(points[:, 1] + 0.2 * cloud, 0.5, 0.8) * 0.6)
        colour = colour * (1 - 0.4 * dimple)[:, None]
        colour = mix(colour, np.array([0.74, 0.5, 0.13]), kernel)
        return colour, 0.75 - 0.3 * kernel, np.zeros_like(points)

    leaves, length, droop = int(rng.integers(7, 10)), rng.uniform(0.65, 0.9), rng.uniform(-0.9, 0.3)

    def crown(points: Array) -> Array:
        across, longitude = np.hypot(points[:, 0], points[:, 2]), np.arctan2(points[:, 2], points[:, 0])
        sector = 2 * np.pi / leaves
        folded = longitude - sector * np.round(longitude / sector)
        share = np.clip(across / length, 0, 1)
        half = 0.2 * np.sin(np.pi * np.clip(0.12 + 0.86 * share, 0, 1)) + 0.01
        side = np.abs(across * np.sin(folded)) - half
        middle = 0.07 - droop * share * share * 0.5 + 0.06 * np.abs(across * np.sin(folded))
        flat = np.abs(points[:, 1] - 0.56 - middle) - 0.018
        beyond = np.maximum(across - length, 0)
        outside = np.hypot(np.hypot(np.maximum(flat, 0), np.maximum(side, 0)), beyond)
        return 0.55 * (outside + np.minimum(np.maximum(flat, side), 0) * (beyond == 0))

    def green(points: Array) -> tuple[Array, Array, Array]:
        across = np.hypot(points[:, 0], points[:, 2])
        colour = mix(np.array([0.2, 0.42, 0.07]), np.array([0.06, 0.24, 0.03]), step(across, 0.05, 0.5))
        return (
            colour * (0.75 + 0.5 * noise(points * 10, seed, 2))[:, None],
            np.full(len(points), 0.25),
            points * 0,
        )

    stalk = capsule((0, 0.55, 0), (*(rng.uniform(-0.2, 0.2, 1)), rng.uniform(0.8, 1.15), 0.05), 0.04, 0.9)
    fresh = plain((0.24, 0.4, 0.1), 0.2, 0.2)
    return [part(distance, skin, 1.45), part(crown, green, 1.4), part(stalk, fresh, 1.35)]


def banana(rng: np.random.Generator, skin_seed: int | None = None) -> list[Part]:
    """A bent, five-sided tube with a neck and a dark tip."""
    curve, half_length = rng.uniform(1.25, 2.0), rng.uniform(1.3, 1.55)
    sweep, thick = half_length / curve, rng.uniform(0.8, 0.95)
    ripe, seed = rng.uniform(-0.2, 1.0), int(rng.integers(10_000)) if skin_seed is None else skin_seed
    along = np.array([-1.0, -0.88, -0.78, -0.66, -0.45, -0.1, 0.25, 0.55, 0.78, 0.9, 0.96, 1.0])
    radii = np.array([0.1, 0.1, 0.13, 0.22, 0.33, 0.38, 0.37, 0.33, 0.23, 0.13, 0.085, 0.07]) * thick

    def frame(points: Array) -> tuple[Array, Array, Array]:
        """Place along the fruit (-1 to 1), distance from its middle line, and angle about it."""
        x, y, z = points[:, 0], points[:, 1] + curve, points[:, 2]
        sweep_at = np.clip(np.arctan2(x, y), -sweep, sweep)
        out = x * np.sin(sweep_at) + y * np.cos(sweep_at) - curve
        beside = x * np.cos(sweep_at) - y * np.sin(sweep_at)
        return sweep_at / sweep, np.sqrt(out**2 + z**2 + beside**2), np.arctan2(z, out)

    def distance(points: Array) -> Array:
        place, away, about = frame(points)
        ridged = 1 + 0.055 * np.cos(5 * about) * step(0.85 - np.abs(place), 0, 0.3)
        return 0.7 * (away - np.interp(place, along, radii).astype(np.float32) * ridged)

    def skin(points: Array) -> tuple[Array, Array, Array]:
        place, _, about = frame(points)
        cloud = noise(points * 2.2, seed, 3)
        colour = mix(np.array([0.86, 0.6, 0.045]), np.array([0.8, 0.5, 0.03]), cloud)
        unripe = np.clip(step(np.abs(place + 0.05), 0.35, 0.95) * 0.75 - 0.5 * ripe + 0.3, 0, 1)
        colour = mix(colour, np.array([0.42, 0.5, 0.06]), unripe * 0.8)
        ridge = step(np.cos(5 * about), 0.9, 1.0) * step(0.8 - np.abs(place), 0, 0.3)
        colour = mix(colour, np.array([0.5, 0.36, 0.04]), ridge * 0.45)
        freckles = step(noise(points * 8, seed + 2, 2), 0.74 - 0.1 * ripe, 0.8 - 0.1 * ripe) * (ripe > 0.35)
        colour = mix(colour, np.array([0.16, 0.08, 0.02]), freckles * 0.85)
        colour = mix(colour, np.array([0.055, 0.035, 0.02]), step(place, 0.955, 0.975))
        colour = mix(colour, np.array([0.1, 0.07, 0.03]), step(-place, 0.97, 0.99))
        return colour, 0.3 - 0.15 * freckles, np.zeros_like(points)

    return [part(distance, skin, half_length + 0.5)]


def hand_of_bananas(rng: np.random.Generator, count: int) -> list[Part]:
    """Some bananas that hang together by their necks."""
    seed = int(rng.integers(1 << 30))
    parts = []
    for number in range(count):
        one = banana(np.random.default_rng(seed), number * 77 + 5)[0]  # the same curve, side by side
        spread = (number - (count - 1) / 2) * rng.uniform(0.2, 0.26)
        neck = np.array([-1.25, -0.45, 0.0])
        turn = rotation_about((0.35, 1, 0), -spread) @ rotation_about((0, 0, 1), 0.05 * rng.normal())
        shift = np.array([0, -0.04 * (number % 2), spread * 0.95])
        parts.append(one.moved(turn, neck - turn @ neck + shift))
    return parts


# --- what lies about -----------------------------------------------------------------------------------


def box(rng: np.random.Generator) -> list[Part]:
    """A carton or book."""
    half = rng.uniform(0.3, 0.9, 3)
    colour = tuple(rng.uniform(0.03, 0.6, 3))

    def distance(points: Array) -> Array:
        beyond = np.abs(points) - half + 0.05
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
        return outside + np.minimum(beyond.max(1), 0) - 0.05

    return [part(distance, plain(colour, 0.2, 0.15, int(rng.integers(99))), float(np.linalg.norm(half)))]


def cup(rng: np.random.Generator) -> list[Part]:
    """A mug, open at the top."""
    height, wide, colour = rng.uniform(0.7, 1.0), rng.uniform(0.55, 0.8), tuple(rng.uniform(0.05, 0.8, 3))

    def distance(points: Array) -> Array:
        across = np.hypot(points[:, 0], points[:, 2])
        wall = np.maximum(np.abs(across - wide) - 0.06, np.abs(points[:, 1]) - height)
        base = np.maximum(across - wide, np.abs(points[:, 1] + height - 0.08) - 0.08)
        return np.minimum(wall, base) * 0.9

    return [part(distance, plain(colour, 0.7), float(np.hypot(height, wide) + 0.1))]


def plate(rng: np.random.Generator) -> list[Part]:
    """A round plate; its top is 0.1 above the table."""
    radius, colour = rng.uniform(2.2, 3.0), np.array([0.75, 0.74, 0.7]) * rng.uniform(0.5, 1.1, 3).mean()
    rim = tuple(rng.uniform(0.05, 0.6, 3))

    def distance(points: Array) -> Array:
        across = np.hypot(points[:, 0], points[:, 2])
        dish = points[:, 1] - 0.05 - 0.25 * step(across, radius * 0.72, radius * 1.05)
        return 0.8 * np.maximum(np.abs(dish) - 0.05, across - radius)

    def skin(points: Array) -> tuple[Array, Array, Array]:
        across = np.hypot(points[:, 0], points[:, 2])
        band = step(across, radius * 0.9, radius * 0.91) - step(across, radius * 0.95, radius * 0.96)
        return mix(colour, np.asarray(rim), band), np.full(len(points), 0.8), np.zeros_like(points)

    return [part(distance, skin, radius + 0.3)]


def ball(rng: np.random.Generator) -> list[Part]:
    """A plain grey, blue or white ball: something round that is no fruit."""
    shade = rng.uniform(0.05, 0.5)
    colour = (shade, shade * rng.uniform(0.9, 1.1), shade * rng.uniform(1.0, 1.8))
    return [part(lambda points: np.linalg.norm(points, axis=1) - 0.5, plain(colour, 0.6), 0.5)]


CLUTTER: tuple[Callable[[np.random.Generator], list[Part]], ...] = (box, cup, ball)
