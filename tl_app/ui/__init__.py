"""The page: the only place that imports gradio. One module per tab; cross-tab wiring lives in ``app``."""
