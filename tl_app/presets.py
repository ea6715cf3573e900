"""Presets: a recipe with its settings as a YAML file, for other photos and other machines.

A preset never names photos, a device or a folder. Values are read by the type of their setting, not by YAML's guess
(``off`` is a choice of ``cache``, ``1e-3`` a number). Knows nothing of how the settings are carried out.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from tl_app import resources
from tl_app.config import TrainConfig
from tl_app.errors import ResourceError, UsageError
from tl_app.fields import check, field_type
from tl_app.files import write_atomically

LEFT_OUT = ("data", "device")  # what a preset does not say: they belong to one machine
MOST_BYTES = 64 * 1024  # every setting written out takes two thousandths of a megabyte
_LONGEST = {"name": 100, "description": 300}  # characters
_PARTS = (*_LONGEST, "settings")
_FIELDS = {spec.name: spec for spec in dataclasses.fields(TrainConfig)}
_RUN = "run:"


@dataclass(frozen=True)
class Preset:
    """A recipe with its settings.

    Attributes:
        key: What it is called on the command line; empty for one that does not ship.
        name: For people.
        description: One line.
        settings: Fields of :class:`TrainConfig` that differ from their defaults, and always the recipe.
    """

    key: str
    name: str
    description: str
    settings: Mapping[str, Any]

    def config(self, **over: Any) -> TrainConfig:
        """The settings as a whole, with some over them.

        Raises:
            UsageError: They do not go together.
        """
        return TrainConfig.from_dict({**self.settings, **over})


def of_config(config: TrainConfig, name: str = "", description: str = "") -> Preset:
    """The preset that holds these settings.

    Args:
        config: Photos and device are left out; a run is named by its name, not by its folder.
        name: Made of backbone and recipe when empty.
        description: One line.
    """
    differing = {
        spec: _portable(value)
        for spec, value in config.to_dict().items()
        if spec not in LEFT_OUT and (spec == "recipe" or value != _FIELDS[spec].default)
    }
    texts = {"name": name or f"{config.backbone}, {config.recipe}", "description": description}
    lines = {part: " ".join(text.split())[: _LONGEST[part]] for part, text in texts.items()}
    return Preset("", settings=differing, **lines)


def to_yaml(preset: Preset) -> str:
    """The file's text; :func:`from_yaml` reads the same preset from it."""
    values = {
        "name": preset.name,
        "description": preset.description,
        "settings": dict(preset.settings),
    }
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000))


def save(preset: Preset, path: Path) -> None:
    """Writes a new file.

    Raises:
        UsageError: There is one already.
        ResourceError: It cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path} is there already.", remedy="Choose another name, or remove it first.")
    try:
        write_atomically(path, to_yaml(preset).encode())
    except OSError as error:
        raise ResourceError(
            f"{path} cannot be written: {error.strerror or error}.", remedy="Choose another folder."
        ) from error


def load(reference: str | Path) -> Preset:
    """A preset that ships, by its name, or one in a file.

    Raises:
        UsageError: There is none, or its file is not right; the message names file, line and field.
    """
    known = shipped()
    found = known.get(str(reference))
    if found is not None:
        return found
    path = Path(reference).expanduser()
    if not path.is_file():
        close = difflib.get_close_matches(str(reference), known, n=1)
        raise UsageError(
            f"There is no preset '{reference}'.",
            f"Presets: {', '.join(known)}, or the path of a YAML file.",
            f"Did you mean {close[0]}?" if close else "",
        )
    return read(path)


def read(path: Path, where: str = "") -> Preset:
    """The preset in a file.

    Args:
        path: The file.
        where: What messages call it; empty for the path.

    Raises:
        UsageError: It cannot be read, or is not right; the message names file, line and field.
    """
    where = where or str(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror or error}.") from error
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"{where} is too large for a preset.",
            f"Allowed: {MOST_BYTES // 1024} KiB.",
            "Is it another kind of file?",
        )
    try:
        return from_yaml(content.decode("utf-8-sig"), where)
    except UnicodeDecodeError:
        raise UsageError(f"{where} is no text.", "A preset is a YAML file in UTF-8.") from None


@cache
def shipped() -> dict[str, Preset]:
    """The presets that ship with the product, by key."""
    files = sorted((resources.assets_dir() / "presets").glob("*.yaml"), key=lambda path: path.stem)
    return {path.stem: dataclasses.replace(read(path), key=path.stem) for path in files}


def from_yaml(text: str, where: str) -> Preset:
    """The preset that a file's text describes.

    Args:
        text: YAML.
        where: The file's name, for messages.

    Raises:
        UsageError: It is not right; the message names file, line and field.
    """
    try:
        root = yaml.compose(
            text, Loader=yaml.SafeLoader
        )  # nodes with their lines; nothing is built of them yet
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        at = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it holds a character that is not allowed"
        raise UsageError(f"{where}{at}: this is no YAML ({problem}).", "One `name: value` a line.") from error
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply.", _form()) from None
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{where} is no preset.", _form())
    parts = dict(_entries(root, where, _PARTS, ""))
    if "settings" not in parts or not isinstance(parts["settings"], yaml.MappingNode):
        _wrong(where, parts.get("settings", root), "there are no settings.", _form())
    settings = {
        name: _value(name, node, where)
        for name, node in _entries(parts["settings"], where, _settings_allowed(), "settings: ")
    }
    if "recipe" not in settings:
        _wrong(where, parts["settings"], "settings: there is no recipe.", "A preset always names its recipe.")
    lines = {part: _line(part, parts.get(part), where) for part in _LONGEST}
    preset = Preset("", lines["name"] or Path(where).stem, lines["description"], settings)
    try:
        preset.config()
    except UsageError as error:
        raise UsageError(f"{where}: {error.problem}", error.allowed, error.remedy) from error
    return preset


def _entries(
    mapping: yaml.MappingNode, where: str, allowed: tuple[str, ...], path: str
) -> Iterator[tuple[str, yaml.Node]]:
    """A mapping's entries; each name is known and there once."""
    seen: set[str] = set()
    for key, value in mapping.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "…"
        if name in LEFT_OUT and "recipe" in allowed:
            _wrong(
                where, key, f"{path}{name} is not part of a preset.", "It is given beside it.", "Remove it."
            )
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, n=2)
            known = "" if close else f"Allowed: {', '.join(allowed)}."
            _wrong(
                where,
                key,
                f"{path}there is no '{name[:50]}'.",
                known,
                f"Did you mean {' or '.join(close)}?" if close else "",
            )
        if name in seen:
            _wrong(where, key, f"{path}{name} is there twice.", "Each name is there once.", "Remove one.")
        seen.add(name)
        yield name, value


def _value(name: str, node: yaml.Node, where: str) -> Any:
    """A setting's value by the setting's own type, checked against its range."""
    if not isinstance(node, yaml.ScalarNode):
        _wrong(where, node, f"{name} is a list or a mapping.", "A setting has one value.")
    plain, optional = field_type(_FIELDS[name])
    empty = node.tag == "tag:yaml.org,2002:null"
    value: Any = None if empty else node.value
    if empty and not optional:
        _wrong(where, node, f"{name} has no value.", _FIELDS[name].metadata["help"], "Remove the line.")
    if not empty and plain in (int, float):
        value = _number(node.value, plain)
    try:
        check(_FIELDS[name], value)
    except UsageError as error:
        _wrong(where, node, error.problem, error.allowed, error.remedy)
    return value


def _number(text: str, plain: type[Any]) -> Any:
    """The number that a text stands for; other text stays, to be refused by name."""
    try:
        number = float(text)
    except ValueError:
        return text
    if plain is int and number.is_integer():
        return int(number)
    return number


def _line(part: str, node: yaml.Node | None, where: str) -> str:
    """A name or description."""
    if node is None:
        return ""
    text = node.value.strip() if isinstance(node, yaml.ScalarNode) else "\n"
    if len(text) > _LONGEST[part] or "\n" in text or not (text.isprintable() or not text):
        _wrong(where, node, f"{part} is not one line.", f"Allowed: up to {_LONGEST[part]} characters.")
    return text


def _wrong(where: str, node: yaml.Node, problem: str, allowed: str, remedy: str = "") -> NoReturn:
    raise UsageError(f"{where}, line {node.start_mark.line + 1}: {problem}", allowed, remedy)


def _settings_allowed() -> tuple[str, ...]:
    return tuple(name for name in _FIELDS if name not in LEFT_OUT)


def _form() -> str:
    return "A preset has `name`, `description`, and `settings` with a `recipe`."


def _portable(value: Any) -> Any:
    """Without the folder of a run, which is this machine's."""
    if isinstance(value, str) and value.startswith(_RUN):
        return _RUN + value.removeprefix(_RUN).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return value
