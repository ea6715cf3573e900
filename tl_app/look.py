"""Colours, fonts and files of every page we serve: the app's own and the demo's. All from this machine.

Knows nothing of what is on a page.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from tl_app import resources

_LAKE = gr.themes.Color(
    name="lake",
    c50="#f0f7fd",
    c100="#ddecf9",
    c200="#bcdaf3",
    c300="#8cbfe9",
    c400="#579fdc",
    c500="#2f7fc8",
    c600="#2069ae",
    c700="#1b558e",
    c800="#1a4875",
    c900="#1a3d62",
    c950="#122842",
)
_STONE = gr.themes.Color(
    name="stone",
    c50="#f7f9fb",
    c100="#eef2f6",
    c200="#dfe5ec",
    c300="#c8d1db",
    c400="#94a1b0",
    c500="#64717f",
    c600="#4a5563",
    c700="#343e4b",
    c800="#1f2731",
    c900="#161c24",
    c950="#0f141a",
)


def theme() -> gr.themes.Base:
    """The app's look: quiet greys, one blue, system fonts."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
    mono = ("ui-monospace", "SFMono-Regular", "Consolas", "Liberation Mono", "monospace")
    look = gr.themes.Base(
        primary_hue=_LAKE,
        secondary_hue=_LAKE,
        neutral_hue=_STONE,
        radius_size=gr.themes.sizes.radius_lg,
        font=fonts,
        font_mono=mono,
    )
    return look.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_title_text_weight="600",
        block_label_text_color="*neutral_600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_width="1px",
        button_border_width="1px",
        button_transition="background-color 0.15s",
        block_radius="*radius_lg",
        input_radius="*radius_md",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_large_text_weight="600",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        loader_color="*primary_500",
    )


def icon() -> Path:
    """The icon of the browser tab and of the installed app."""
    return resources.assets_dir() / "icon.png"


def style_sheet() -> Path:
    """The style sheet of our own pages."""
    return resources.assets_dir() / "style.css"


def asset(name: str) -> str:
    """A text file of the assets folder."""
    return (resources.assets_dir() / name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """A component's script, of one file or several, one after the other; gradio runs it when the component appears."""
    return "\n".join(asset(f"{name}.js") for name in names)
