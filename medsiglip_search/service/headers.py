"""The headers of every answer: it is for this user and this site alone, and its pages ask nobody else."""

from medsiglip_search.service.paths import is_files

# Gradio makes functions of text for components with scripts of their own ('unsafe-eval') and sets styles from
# scripts. Scripts in a page need the nonce of that page: what a file or a report says can never run.
_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def security_headers(path: str, request_id: str, nonce: str) -> dict[str, str]:
    """Return the headers of an answer. nonce: of the scripts in its page."""
    return {
        "X-Request-Id": request_id,
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        # With "no-referrer" browsers would send the forms of this site, too, with the origin "null".
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Cache-Control": "private, max-age=3600" if is_files(path) else "no-store",
    }
