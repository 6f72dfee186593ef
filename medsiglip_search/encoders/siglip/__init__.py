"""MedSigLIP, and every SigLIP of the published file layout."""

from medsiglip_search.encoders.siglip.encoder import SiglipEncoder, load_siglip

__all__ = ["SiglipEncoder", "load_siglip"]
