"""Starts the page; there is no logic here."""

from tl_app.memory import without_collector

with without_collector():
    from tl_app.ui.app import launch

if __name__ == "__main__":
    launch()
