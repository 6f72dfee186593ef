"""Whether a host is this machine."""

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
