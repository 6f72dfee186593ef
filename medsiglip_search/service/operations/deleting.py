"""Taking images out of a gallery."""

from dataclasses import dataclass

from medsiglip_search.errors import NotFound
from medsiglip_search.gallery import Gallery
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is gone from search; its bytes leave the disk with a later compact or purge."""

    images: int
    rejected: int


def delete_image(service: Service, caller: Caller, name: str, image_id: int) -> Deleted:
    """Take an image out of a gallery. Raises NotFound, Forbidden, GalleryLocked while another run writes.

    A file that is still in its archive comes back with the next index run.
    """
    with service.audit.watch(caller, "delete", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        caller.require("admin")
        entry.asked()
        # Opened anew: the one that is asked stays at its version until it is refreshed.
        with Gallery.open(gallery.path).writer() as writer:
            deletion = writer.delete(f"image_id = {image_id}")
        if not deletion.images:
            raise NotFound("there is no such image in this gallery; take an image_id from a hit")
        gallery.refresh()
        entry.details.update(stage="deleted", images=deletion.images, rejected=deletion.rejected)
        return Deleted(deletion.images, deletion.rejected)
