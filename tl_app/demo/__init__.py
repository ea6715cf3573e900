"""The demo: a predict-only page for one run, in a process of its own, that is safe to hand out."""
