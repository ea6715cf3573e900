"""Sending a run's exports to the Hugging Face Hub, on the Export tab: only ever by this button.

The token is handed on and forgotten. Knows nothing of how exports are made.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from tl_app import loading
from tl_app.errors import UsageError
from tl_app.ui import markup
from tl_app.ui.blocks import html
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_EXPLAINED = (
    "Uploads what was exported to your account on huggingface.co: as a model (the safetensors folder with its card "
    "and the ONNX file), or as a Space that runs the bundle for everyone. None of your photos is in them. Nothing is "
    "uploaded before you press the button."
)

TITLES = {
    "tl-hub-push": "Uploads to the Hub what is named above; a repository that is there gets a new version."
}


@dataclass(frozen=True)
class HubCard:
    """The components."""

    kind: gr.Radio
    repository: gr.Textbox
    private: gr.Checkbox
    token: gr.Textbox
    push: gr.Button
    status: gr.HTML


def lay_out() -> HubCard:
    """Puts the card where it stands in the page."""
    with gr.Accordion("Send to the Hugging Face Hub", open=False, elem_id="tl-hub"):
        html(f'<p class="tl-fine">{markup.text(_EXPLAINED)}</p>', elem_id="tl-hub-what")
        with gr.Row(elem_classes=["tl-grid"]):
            kind = gr.Radio(
                [("Model", "model"), ("Space", "space")],
                value="model",
                label="As",
                info="A Space is a page where everyone can try it.",
                elem_id="tl-hub-kind",
            )
            repository = gr.Textbox(
                label="Repository",
                info="Your name on the Hub and a name for it.",
                placeholder="user/name",
                max_lines=1,
                elem_id="tl-hub-repository",
            )
        with gr.Row(elem_classes=["tl-grid"]):
            token = gr.Textbox(
                label="Token, for this once",
                info="With write access; empty: that of `hf auth login`. It is not kept.",
                type="password",
                max_lines=1,
                min_width=220,
                elem_id="tl-hub-token",
            )
            private = gr.Checkbox(
                True,
                label="Private",
                info="Only you can see it; you can change that on the Hub.",
                min_width=220,
            )
        with gr.Row(elem_classes=["tl-buttons"]):
            push = gr.Button("Upload to the Hub", elem_id="tl-hub-push", min_width=170)
        status = html(elem_id="tl-hub-status")
    return HubCard(kind, repository, private, token, push, status)


def bind(parts: HubCard, work: Workspace, run: gr.Dropdown) -> None:
    """Wires the button; the token leaves the page with the click."""
    asked = [run, parts.kind, parts.repository, parts.private, parts.token]
    parts.push.click(
        Acts(work).push,
        asked,
        [parts.status, parts.token],
        show_progress_on=[parts.status],
        concurrency_limit=1,
    )


@dataclass(frozen=True)
class Acts:
    """The event handlers."""

    work: Workspace

    @toasts
    def push(self, run: str | None, kind: str, repository: str, private: bool, token: str) -> tuple[str, str]:
        """Uploads.

        Raises:
            UserError: There is nothing to upload, or the Hub does not take it.
        """
        if not run:
            raise UsageError("No run is chosen.", remedy="Choose one, or train one first.")
        if not repository.strip():
            raise UsageError("There is no name for the repository.", "Wanted is USER/NAME.")
        if self.work.roots is not None and not token.strip():  # the machine's own login is its owner's
            raise UsageError(
                "There is no token.",
                "This page is open to others, so everyone uploads with a token of their own.",
            )
        loading.wait()
        from tl_app.export import hub

        info = self.work.open_run(run)
        sent = hub.push_run(info, kind, repository.strip(), private=private, token=token or None)
        link = f'<a href="{markup.text(sent.url)}" target="_blank" rel="noopener">{markup.text(sent.url)}</a>'
        said = f"{len(sent.files)} files are on the Hub: {link} {markup.text(sent.note)}".rstrip()
        return f'<div class="tl-message tl-info">{said}</div>', ""
