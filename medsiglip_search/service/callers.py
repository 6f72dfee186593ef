"""Who asks, and what they may do."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from medsiglip_search.errors import Forbidden

Role = Literal["reader", "labeller", "admin"]
"""reader: searches, looks, explains. labeller: also labels, reviews and exports. admin: also indexes and
deletes, and sees everybody's jobs. Each may do what those before it may."""

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a program that has shown who it is.

    name: as the audit calls it. galleries: the names of those it may use; None for all.
    credential: what it has shown, without its secret: "key 3f9a", "oidc"; "none" where nothing is asked for.
    """

    name: str
    role: Role
    galleries: frozenset[str] | None = None
    credential: str = "none"

    @property
    def owner(self) -> str:
        """By what the service knows whose something is: somebody who logs in may be called as a key is."""
        return f"{self.credential.partition(' ')[0]}:{self.name}"

    def may(self, role: Role) -> bool:
        """Tell whether it has this role, or one above it."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def may_use(self, gallery: str) -> bool:
        """Tell whether it may use the gallery of this name."""
        return self.galleries is None or gallery in self.galleries


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal in one request. address: of the other end. request_id: as logs and problems tell it."""

    principal: Principal
    address: str
    request_id: str

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the principal may do what this role may."""
        if not self.principal.may(role):
            raise Forbidden(
                f"this needs the role {role}, and yours is {self.principal.role}; ask an administrator"
            )

    def seen(self, galleries: Collection[str]) -> list[str]:
        """Return the names of those galleries that the principal may use, in their order."""
        return [name for name in galleries if self.principal.may_use(name)]


def anonymous_caller(address: str, request_id: str) -> Caller:
    """Return who asks where nobody has shown who they are: they may use no gallery."""
    return Caller(Principal("nobody", "reader", galleries=frozenset()), address, request_id)
