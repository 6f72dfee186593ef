"""The browser pages: see `ui.app`."""

import os

# Before Gradio is loaded, which reads these: it calls nobody, and makes no statistics after each event.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
