"""tl-app: turn a folder of labelled photos into a classifier one can trust.

>>> import tl_app
>>> result = tl_app.train("photos/", recipe="head")          # doctest: +SKIP
>>> tl_app.predict(result.run, ["new.jpg"])[0].label         # doctest: +SKIP

Names are imported when they are first used, so that ``import tl_app`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_app.analysis.comparison import Comparison
    from tl_app.analysis.diagnosis import Diagnosis
    from tl_app.analysis.explaining import Explanation
    from tl_app.api import (
        blend,
        distill,
        extend,
        finish,
        inspect,
        list_backbones,
        list_runs,
        lr_find,
        pretrain,
        probe,
        resume,
        train,
    )
    from tl_app.blending import BlendResult
    from tl_app.config import TrainConfig
    from tl_app.errors import DataError, ExportError, ResourceError, UsageError, UserError
    from tl_app.evaluation import EvaluationResult
    from tl_app.export.hub import Pushed
    from tl_app.export.kept import ExportResult
    from tl_app.export.reading import ReadExport
    from tl_app.exports import export_run, list_exports, list_formats, push, read_export
    from tl_app.finding import RatesResult
    from tl_app.folding import FoldsResult
    from tl_app.insights import compare, cross_validate, diagnose, evaluate, explain, worth
    from tl_app.jobs import Worker
    from tl_app.predicting import load_predictor, predict
    from tl_app.predictor import Prediction, Predictor
    from tl_app.presets import Preset
    from tl_app.probing import ProbeResult
    from tl_app.results import TrainResult
    from tl_app.runs import RunInfo
    from tl_app.upkeep import list_presets, save_preset
    from tl_app.worthwhile import WorthResult

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(
        "blend distill extend finish inspect list_backbones list_runs lr_find pretrain probe resume train".split(),
        "api",
    ),
    **dict.fromkeys(("load_predictor", "predict"), "predicting"),
    **dict.fromkeys(("list_presets", "save_preset"), "upkeep"),
    **dict.fromkeys(("compare", "cross_validate", "diagnose", "evaluate", "explain", "worth"), "insights"),
    "BlendResult": "blending",
    "Comparison": "analysis.comparison",
    "Diagnosis": "analysis.diagnosis",
    "TrainConfig": "config",
    **dict.fromkeys(("DataError", "ExportError", "ResourceError", "UsageError", "UserError"), "errors"),
    "EvaluationResult": "evaluation",
    **dict.fromkeys(("export_run", "list_exports", "list_formats", "push", "read_export"), "exports"),
    "ExportResult": "export.kept",
    "FoldsResult": "folding",
    "Explanation": "analysis.explaining",
    "Worker": "jobs",
    **dict.fromkeys(("Prediction", "Predictor"), "predictor"),
    "Preset": "presets",
    "ProbeResult": "probing",
    "RatesResult": "finding",
    "Pushed": "export.hub",
    "ReadExport": "export.reading",
    "RunInfo": "runs",
    "TrainResult": "results",
    "WorthResult": "worthwhile",
}

__all__ = [
    "BlendResult",
    "Comparison",
    "DataError",
    "Diagnosis",
    "EvaluationResult",
    "Explanation",
    "ExportError",
    "ExportResult",
    "FoldsResult",
    "Prediction",
    "Predictor",
    "Preset",
    "ProbeResult",
    "Pushed",
    "RatesResult",
    "ReadExport",
    "ResourceError",
    "RunInfo",
    "TrainConfig",
    "TrainResult",
    "UsageError",
    "UserError",
    "Worker",
    "WorthResult",
    "__version__",
    "blend",
    "compare",
    "cross_validate",
    "diagnose",
    "distill",
    "evaluate",
    "explain",
    "export_run",
    "extend",
    "finish",
    "inspect",
    "list_backbones",
    "list_exports",
    "list_formats",
    "list_presets",
    "list_runs",
    "load_predictor",
    "lr_find",
    "predict",
    "pretrain",
    "probe",
    "push",
    "read_export",
    "resume",
    "save_preset",
    "train",
    "worth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tl_app' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tl_app.{_HOMES[name]}"), name)
