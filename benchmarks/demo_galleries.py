"""Galleries of synthetic archives, whose findings are known."""

from pathlib import Path

from indexer.pipeline import index_archives
from medsiglip_search.demo.journey import Places, make_archive
from medsiglip_search.encoders import Encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import GalleryMeta


def demo_gallery(folder: Path, seed: int, images: int, encoder: Encoder) -> tuple[Places, Gallery]:
    """Return a seed's archive and the gallery of it, drawn and indexed unless they are in the folder."""
    places = make_archive(folder, seed, images)
    if Gallery.exists(places.gallery):
        return places, Gallery.open(places.gallery)
    meta = GalleryMeta(encoder.name, encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec)
    gallery = Gallery.create(places.gallery, meta)
    index_archives(gallery, [str(places.archive)], encoder, metadata=places.metadata)
    return places, gallery
