"""Protection against pages in browsers: requests from other sites, and caching or guessing of answers."""

from __future__ import annotations

import falcon

from ipam.errors import CrossSite

# On every answer: none is kept by what lies in between, or taken for something else than it says.
SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Vary": "Accept"}
_KEPT_BY_THE_CALLER = "private, no-cache"


class BrowserSecurity:
    """Middleware: keeps pages of other sites out, and says what browsers and caches may keep."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Let the request in.

        A browser says of each request whether a page of another site makes it. A link on one may be followed: that
        shows the answer to the user and not to the page, and changes nothing.

        Raises:
            CrossSite: If a page of another site makes the request.
        """
        resp.set_headers(SAFE_HEADERS)
        is_followed = req.method in ("GET", "HEAD") and req.get_header("Sec-Fetch-Mode") == "navigate"
        if req.get_header("Sec-Fetch-Site") == "cross-site" and not is_followed:
            raise CrossSite("A page of another site has sent this: the API is not for those.")

    def process_response(self, _req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Let callers keep what they can ask about again by its `ETag`."""
        if resp.get_header("ETag") is not None:
            resp.set_header("Cache-Control", _KEPT_BY_THE_CALLER)
