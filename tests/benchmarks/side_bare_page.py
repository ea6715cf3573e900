"""The least page that Gradio can show: one textbox. What a page's start-up is held against."""

import sys

import gradio as gr

if __name__ == "__main__":
    with gr.Blocks() as demo:
        gr.Textbox()
    demo.launch(server_port=int(sys.argv[1]), quiet=True)
