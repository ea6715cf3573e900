"""What settings with a few values can be. Knows nothing of what they do."""

from __future__ import annotations

RECIPES = ("auto", "head", "partial", "full", "lp-ft", "gradual", "scratch", "pretrain")
HEADS = ("linear", "mlp", "cosine")
POOLINGS = ("pool", "flatten")
STARTS = ("copy", "average", "scratch")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "one-cycle")
AUGMENTATIONS = ("none", "crop", "light", "strong", "trivial", "randaugment")
BALANCES = ("auto", "none", "sampling", "loss")
FLIPS = ("none", "horizontal", "vertical", "both")
BATCHNORMS = ("auto", "keep", "adapt")
PRECISIONS = ("auto", "fp32", "bf16")
CACHES = ("auto", "on", "off")
