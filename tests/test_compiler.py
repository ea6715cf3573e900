"""torch's compiler is loaded when something is compiled, and then it is all there."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _said(script: str, *arguments: object, **env: str) -> dict[str, object]:
    """What a script in a fresh interpreter says in its last line."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


_COMMAND = """
import json, os, sys
from tl_app import cli
exiting = os._exit
def leave(code):
    import torch._dynamo
    stand_in = type(torch._dynamo).__name__ == "_Later"
    loaded = {name: name in sys.modules for name in ("sympy", "torch.onnx")}
    print(json.dumps({"code": code, "stand_in": stand_in, **loaded}), flush=True)
    exiting(code)
os._exit = leave
sys.argv = ["tl-app", *sys.argv[1:]]
cli.main()
"""


def test_commands_do_without_it(photos: Path, home: Path) -> None:
    settings = ["--backbone", "mobilenet_v3_small", "--weights", "random", "--image-size", 32, "--epochs", 1]
    without = {"code": 0, "stand_in": True, "sympy": False, "torch.onnx": False}
    # Operations are counted, with SymPy's help, where nobody says how many views there are to be.
    for recipe, views in (("head", ["--views", 1]), ("full", [])):
        train = ["train", photos, "--name", recipe, "--recipe", recipe, *settings, *views]
        assert _said(_COMMAND, *train) == without
    assert _said(_COMMAND, "predict", "full", next(photos.rglob("*.png"))) == without
    assert _said(_COMMAND, "evaluate", "full") == without
    if importlib.util.find_spec("onnx"):
        assert _said(_COMMAND, "export", "full", "--to", "onnx")["code"] == 0


_USES = """
import json, sys
from tl_app import compiler
compiler.load_later()
import torch, torchvision
from torch.optim import AdamW
said = {"before": "sympy" in sys.modules}
layer = torch.nn.Linear(3, 3)
optimizer = AdamW(layer.parameters())
layer(torch.ones(2, 3)).sum().backward()
optimizer.step()
said["after a step"] = "sympy" in sys.modules
compiled = torch.compile(layer, backend="eager")
said["right"] = bool(torch.equal(compiled(torch.ones(2, 3)), layer(torch.ones(2, 3))))
said["loaded"] = "sympy" in sys.modules and hasattr(torch._dynamo, "eval_frame")
import torch._dynamo.utils
said["utilities"] = torch._dynamo.utils.__file__ == sys.modules["torch._dynamo.utils"].__file__
seen = []
@torch._dynamo.disable
def left_alone(x):
    seen.append(torch.compiler.is_compiling())
    return x + 1
whole = torch.compile(lambda x: left_alone(x * 2) * 3, backend="eager")
said["disable"] = bool(whole(torch.ones(1)) == 9) and seen == [False]
optimizer.step()
optimizer.zero_grad()
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
said["boxes"] = list(torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2).shape)
print(json.dumps(said))
"""


def test_whoever_compiles_has_all_of_it() -> None:
    assert _said(_USES) == {
        "before": False,
        "after a step": False,
        "right": True,
        "loaded": True,
        "utilities": True,
        "disable": True,
        "boxes": [1, 1, 2, 2],
    }


_DISABLED_BEFORE = """
import json, sys
from tl_app import compiler
compiler.load_later()
import torch
seen = []
@torch._dynamo.disable
def left_alone(x):
    seen.append(torch.compiler.is_compiling())
    return x + 1
left_alone(torch.ones(1))
torch._dynamo.graph_break()
early = "sympy" in sys.modules
whole = torch.compile(lambda x: left_alone(x * 2) * 3, backend="eager")
print(json.dumps({"early": early, "right": bool(whole(torch.ones(1)) == 9), "compiling": seen}))
"""


def test_what_was_marked_before_is_still_left_alone() -> None:
    assert _said(_DISABLED_BEFORE) == {"early": False, "right": True, "compiling": [False, False]}


_LISTED = """
import inspect, json, sys
from tl_app import compiler
compiler.load_later()
import torch, torchvision
inspect.getmodule(inspect.currentframe())
for module in list(sys.modules.values()):
    hasattr(module, "__file__")
print(json.dumps({"loaded": "sympy" in sys.modules}))
"""


def test_who_lists_modules_does_not_load_it() -> None:
    assert _said(_LISTED) == {"loaded": False}


@pytest.mark.parametrize("first", ["torch", "torch._dynamo"])
def test_it_does_nothing_where_the_compiler_is_there(first: str) -> None:
    script = f"""
import json, sys
import {first}, torch._dynamo
before = torch._dynamo
from tl_app import compiler
compiler.load_later()
print(json.dumps({{"same": sys.modules["torch._dynamo"] is before is torch._dynamo}}))
"""
    assert _said(script) == {"same": True}
