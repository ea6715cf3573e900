"""Errors a user can put right become toasts that say what to do; any other stays a bug with a traceback."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gradio as gr

from tl_app.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def toasts(handler: Callable[P, R]) -> Callable[P, R]:
    """Shows a ``UserError`` of an event handler to the user."""

    @functools.wraps(handler)
    def shown(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except UserError as error:
            raise gr.Error(
                html.escape(str(error), quote=False),
                duration=15,
                title="That did not work",
                print_exception=False,
            ) from error

    return shown
