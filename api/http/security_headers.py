"""What browsers are told about every answer: it is data, for nobody's page and for no cache."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The pages of the documentation, and where FastAPI has them get what they show.
PAGES = ("/docs", "/redoc")
_CDN = "https://cdn.jsdelivr.net"
_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'unsafe-inline' {_CDN}",
        f"style-src 'unsafe-inline' {_CDN} https://fonts.googleapis.com",
        "font-src https://fonts.gstatic.com",
        "img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly",
        "connect-src 'self'",
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
OF_DATA = (
    *_ALWAYS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_OF_PAGES = (*_ALWAYS, (b"content-security-policy", _PAGE_POLICY.encode()))


class SecurityHeaders:
    """ASGI middleware around all others: whoever of them answers, the headers are there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the answer."""
        headers = _OF_PAGES if scope.get("path") in PAGES else OF_DATA

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._app(scope, receive, answer)
