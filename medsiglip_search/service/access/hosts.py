"""Whether a host is this machine, and what counts as one."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host, or the address to listen on.

    False for 0.0.0.0, :: and "", which are every address that the machine has.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6, the network of 64 bits that one machine has to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
