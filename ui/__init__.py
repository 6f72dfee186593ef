"""The browser pages, built with Gradio."""
