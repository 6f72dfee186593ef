"""The commands that need neither `indexer` nor `ui`; `cli.py` puts all of them together.

What is heavy is imported inside the commands: help and typing mistakes are answered at once.
"""
