"""The settings of a service as a TOML file: what is too long for a command line, and what stays the same."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.service.access.oidc import OidcSettings
from medsiglip_search.service.settings import ServiceLimits

_OWN = ServiceLimits()


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OidcTable(_Table):
    """The table [oidc]; see `OidcSettings`. client_secret_file: holds what must not stand in this file."""

    issuer: str
    client_id: str
    client_secret_file: Path | None = None
    scopes: list[str] = ["openid"]
    role_claim: str = "roles"
    roles: dict[str, Literal["reader", "labeller", "admin"]] = {}
    default_role: Literal["reader", "labeller", "admin"] | None = None
    galleries_claim: str | None = None
    name_claim: str = "sub"
    redirect_uri: str | None = None

    def settings(self) -> OidcSettings:
        """Return it as logins take it. Raises InvalidQuery."""
        secret = None
        if self.client_secret_file is not None:
            try:
                secret = self.client_secret_file.read_text("utf-8").strip()
            except (OSError, ValueError):
                raise InvalidQuery(
                    "[oidc] client_secret_file cannot be read; check that it is there and may be read"
                ) from None
        told = self.model_dump(exclude={"client_secret_file", "scopes"})
        return OidcSettings(**told, client_secret=secret, scopes=tuple(self.scopes))


class LimitsTable(_Table):
    """The table [limits]; see `ServiceLimits`."""

    body_bytes: int = Field(default=_OWN.body_bytes, ge=1 << 16)
    body_wait_s: float = Field(default=_OWN.body_wait_s, gt=0)
    body_s: float = Field(default=_OWN.body_s, gt=0)
    text_chars: int = Field(default=_OWN.text_chars, ge=1)
    top_k: int = Field(default=_OWN.top_k, ge=1)
    requests_per_minute: float = Field(default=_OWN.requests_per_minute, gt=0)
    burst: float = Field(default=_OWN.burst, ge=1)
    logins_per_minute: float = Field(default=_OWN.logins_per_minute, gt=0)
    uploads: int = Field(default=_OWN.uploads, ge=1)
    upload_bytes: int = Field(default=_OWN.upload_bytes, ge=1 << 16)
    upload_bytes_in_all: int = Field(default=_OWN.upload_bytes_in_all, ge=1 << 16)
    kept_s: float = Field(default=_OWN.kept_s, gt=0)

    def settings(self) -> ServiceLimits:
        """Return it as the service takes it."""
        return ServiceLimits(**self.model_dump())


class SettingsFile(_Table):
    """What a file may say; what the command line says comes before it."""

    galleries: dict[str, Path] = {}
    archives: dict[str, str] = {}
    hosts: list[str] = []
    origins: list[str] = []
    hide: list[str] = []
    explainer: str | None = None
    limits: LimitsTable = LimitsTable()
    oidc: OidcTable | None = None


def read_settings_file(path: Path) -> SettingsFile:
    """Return what a TOML file says; paths in it count from its folder. Raises InvalidQuery."""
    try:
        read = SettingsFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InvalidQuery(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidQuery(f"{path}: {place}: {first['msg']}; docs/service.md lists the settings") from None
    except ValueError as error:
        raise InvalidQuery(f"{path}: is no TOML file: {error}") from None
    folder = path.resolve().parent
    galleries = {name: folder / place for name, place in read.galleries.items()}
    archives = {
        name: place if "://" in place else str(folder / place) for name, place in read.archives.items()
    }
    oidc = read.oidc
    if oidc is not None and oidc.client_secret_file is not None:
        oidc = oidc.model_copy(update={"client_secret_file": folder / oidc.client_secret_file})
    return read.model_copy(update={"galleries": galleries, "archives": archives, "oidc": oidc})
