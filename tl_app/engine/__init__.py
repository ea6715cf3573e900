"""Training as a generator of events; needs neither gradio nor plotly."""
