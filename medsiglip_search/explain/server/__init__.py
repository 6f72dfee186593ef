"""What speaks to an OpenAI-compatible server, within bounds of time and size."""
