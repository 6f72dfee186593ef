"""Serving: the browser pages and the REST API in one process."""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search.commands.options import Device, State
from medsiglip_search.errors import GalleryDamaged, GalleryMismatch, InvalidQuery
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.explain.gathering import FileOf
    from medsiglip_search.service.app import MountPages

Serve = Callable[..., None]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def serve_command(file_of: "Callable[[], FileOf]", pages: "Callable[[], MountPages]") -> Serve:
    """Return the command. file_of: makes what opens archives' files; pages: what adds the browser pages."""

    def serve(
        state: State,
        galleries: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[NAME=]GALLERY...",
                help="Galleries, and the names that users know them by; else their folders' names.",
                show_default=False,
            ),
        ] = None,
        host: Annotated[
            str,
            typer.Option(
                envvar="MEDSIGLIP_HOST", show_envvar=True, show_default=True, help="Address to listen on."
            ),
        ] = "127.0.0.1",
        port: Annotated[
            int,
            typer.Option(
                envvar="MEDSIGLIP_PORT",
                show_envvar=True,
                show_default=True,
                min=1,
                max=65_535,
                help="Its port.",
            ),
        ] = 7860,
        config: Annotated[
            Path | None,
            typer.Option(
                envvar="MEDSIGLIP_CONFIG",
                show_envvar=True,
                metavar="TOML",
                help="Settings; docs/service.md lists them.",
            ),
        ] = None,
        keys: Annotated[
            bool,
            typer.Option(
                "--keys",
                help="Ask for keys on this machine, too; elsewhere, and behind a proxy that --https or "
                "--allow-host tells of, they are always asked for.",
            ),
        ] = False,
        archive: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME=ARCHIVE", help="What may be indexed from the pages; repeatable."),
        ] = None,
        hide: Annotated[
            list[str] | None,
            typer.Option(metavar="COLUMN", help="A column that no answer tells; repeatable."),
        ] = None,
        explainer: Annotated[
            str | None,
            typer.Option(
                envvar="MEDSIGLIP_EXPLAINER",
                show_envvar=True,
                metavar="NAME|FOLDER|URL",
                help="What explains: evidence (the default), demo, medgemma, a folder, a hub id, or a "
                "server's URL.",
            ),
        ] = None,
        allow_upload: Annotated[
            bool,
            typer.Option(
                "--allow-upload", help="Let pictures and reports leave this machine for the URL's server."
            ),
        ] = False,
        show_files: Annotated[
            bool,
            typer.Option(
                "--show-files",
                help="Tell where in its archive a file is, which can name a patient; on this machine alone "
                "it is told in any case.",
            ),
        ] = False,
        allow_host: Annotated[
            list[str] | None,
            typer.Option(metavar="HOST", help="A name under which browsers reach the service; repeatable."),
        ] = None,
        allow_origin: Annotated[
            list[str] | None,
            typer.Option(
                metavar="ORIGIN", help="Where its pages come from, such as https://search.example.org."
            ),
        ] = None,
        https: Annotated[
            bool, typer.Option("--https", help="Browsers reach it by HTTPS, through a proxy that ends it.")
        ] = False,
        with_pages: Annotated[
            bool, typer.Option("--pages/--no-pages", help="Whether to serve the browser pages.")
        ] = True,
        device: Device = "auto",
    ) -> None:
        """Serve the browser pages and the REST API.

        On this machine alone everybody who reaches it may do all. Elsewhere it asks for keys (`keys add`) or
        logins at an OpenID Connect provider. Every look at an image is written into the audit.
        """
        from medsiglip_search.explain.opening import Access as ExplainerAccess
        from medsiglip_search.service.access.authenticating import AccessSettings, is_loopback, require_access
        from medsiglip_search.service.listening import listening
        from medsiglip_search.service.settings import ServiceSettings
        from medsiglip_search.service.settings_file import SettingsFile, read_settings_file

        read = read_settings_file(config) if config is not None else SettingsFile()
        hosts = (*(allow_host or ()), *read.hosts)
        # Behind a proxy whoever reaches that reaches the service, wherever it listens itself.
        is_local = not https and all(map(is_loopback, (host, *hosts)))
        access = AccessSettings(
            keys=keys or not is_local, oidc=read.oidc.settings() if read.oidc is not None else None
        )
        require_access(host, access)
        served = named(galleries or [], read.galleries)
        require_galleries(served.values())
        settings = ServiceSettings(
            galleries=served,
            state=state,
            host=host,
            port=port,
            hosts=hosts,
            origins=(*(allow_origin or ()), *read.origins),
            archives={**read.archives, **_pairs(archive or [], "--archive")},
            hidden=frozenset([*(hide or []), *read.hide, *([] if show_files or access.is_open else ["uri"])]),
            explainer=explainer or read.explainer or "evidence",
            explainer_access=ExplainerAccess(device, may_upload=allow_upload),
            device=device,
            is_secure=https,
            limits=read.limits.settings(),
        )
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        with listening(host, port) as listener:
            note(f"Serving {', '.join(served)} at {address} (API: {address}/v1). Ctrl-C ends it.")
            if access.is_open:
                note("Open to everybody on this machine. Research software, not a medical device.")
            elif access.oidc is None:
                _tell_how_to_come_in(state)
            from medsiglip_search.service.running import run, use_private_folder

            use_private_folder(state)
            run(settings, access, file_of(), pages() if with_pages else None, listener)

    return serve


def named(places: Sequence[str], others: "dict[str, Path]") -> dict[str, Path]:
    """Return galleries by name: these, and others that a file names. Raises InvalidQuery."""
    found = dict(others)
    for place in places:
        name, separator, path = place.partition("=")
        if not separator or "/" in name:
            name, path = Path(place).resolve().name, place
        if name in found:
            raise InvalidQuery(f"{name}: two galleries have this name; give another: own={path}")
        found[name] = Path(path)
    if not found:
        raise InvalidQuery("no gallery; name one, such as: serve my-gallery")
    for name in found:
        if not _NAME.fullmatch(name):
            raise InvalidQuery(
                f"{name!r}: no name that can stand in an address; name the gallery by letters and digits: "
                "own=FOLDER"
            )
    return found


def require_galleries(paths: Iterable[Path]) -> None:
    """Raise GalleryNotFound where there is none, GalleryError where one cannot be read."""
    from medsiglip_search.gallery_folder import read_meta

    for path in paths:
        # One that is damaged does not keep the others from being served; users are told of it.
        with suppress(GalleryDamaged, GalleryMismatch):
            read_meta(path)


def _tell_how_to_come_in(state: Path) -> None:
    """Say how the first key is made, as long as no key lets anybody in. Raises Unavailable."""
    from medsiglip_search.service.access.keys import KeyStore

    store = KeyStore(state)
    known = store.keys()
    if not any(store.is_valid(key.id) for key in known):
        command = f"medsiglip-search keys add NAME --role admin --state {shlex.quote(str(state))}"
        note(f"No key is valid, so nobody can come in. This makes one, now or while it serves: {command}")


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not _NAME.fullmatch(name):
            raise InvalidQuery(f"{option} {text}: give NAME=PLACE, such as {option} scans=/data/scans")
        pairs[name] = value
    return pairs
