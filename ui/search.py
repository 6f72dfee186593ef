import gradio as gr
from medsiglip_search.service.core import Service
from ui.calls import caller_of
from medsiglip_search.service.operations import searching


def build(service: "Service") -> None:
    text = gr.Textbox(label="Look for")
    go = gr.Button("Search", variant="primary")
    hits = gr.HTML()

    def run(text: str, request: gr.Request) -> str:
        caller = caller_of(request)
        found = searching.search(
            service, caller, list(service.galleries)[0], searching.Asked(text=text, top_k=50)
        )
        return "".join(f'<img src="{h["thumbnail"]}" alt="" onerror="window.bad=1">' for h in found.hits)

    go.click(run, text, hits, api_visibility="private")
