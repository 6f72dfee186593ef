"""The quick start: a synthetic archive, and the small encoder trained on it.

Nothing here knows real patients: the pictures are drawn, and the encoder understands drawn pictures only.
"""
