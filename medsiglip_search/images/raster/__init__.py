"""PNG, JPEG, TIFF, BMP, WebP and GIF. The home of Pillow as a reader of archives.

Each container is read here as far as its pictures need, within limits, and only that reaches a decoder:
texts, colour profiles, previews and other pages of a file cost nothing and can do no harm.
"""

from medsiglip_search.images.raster.file import RasterFile

__all__ = ["RasterFile"]
