"""/docs, /docs/{file} and /problems/{slug}"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from string import Template

import falcon
from markdown_it import MarkdownIt

from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.responses import render_bytes
from ipam.errors import NotFound

_HTML, _MARKDOWN = "text/html; charset=utf-8", "text/markdown; charset=utf-8"
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
# The files of pages, by their names in URLs: where they are, and what they are.
_FILES = {
    "docs.js": ("docs.js", _SCRIPT),
    "page.css": ("page.css", _STYLE),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", _SCRIPT),
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", _STYLE),
}
# Pages run what comes from here and nothing else. Swagger UI sets styles by itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECTION = re.compile(r"^## `([a-z-]+)`\n", re.MULTILINE)
# A link to another page of the documentation, or to another section: a page of a problem has neither beside it.
_LINK = re.compile(r"\[([^\]]+)\]\((?:#|([\w-]+\.md))[^)]*\)")


class DocsPage:
    """The description of the API, to be read and tried in a browser."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it."""
        refuse_unknown(req)
        _render_page(req, resp, _read("docs.html"))


class DocsFile:
    """A file that the pages need."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, file: str) -> None:
        """Send it.

        Raises:
            NotFound: If there is none of this name.
        """
        refuse_unknown(req)
        if file not in _FILES:
            raise NotFound(f"There is nothing at {req.path}.")
        path, media_type = _FILES[file]
        render_bytes(req, resp, _read(path), media_type)


class ProblemPage:
    """The explanation of a type of problem, from docs/errors.md."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, slug: str) -> None:
        """Show it: as a page to those who prefer HTML, else as Markdown.

        Raises:
            NotFound: If there is no such type.
        """
        refuse_unknown(req)
        text = _explanations().get(slug)
        if text is None:
            raise NotFound(f"There is no problem {slug!r}; these are: {', '.join(sorted(_explanations()))}.")
        if req.client_prefers(("text/markdown", "text/html")) == "text/html":
            page = Template(_read("problem.html").decode())
            shown = MarkdownIt().disable("list").render(text)  # "409. Text" is no list.
            _render_page(req, resp, page.substitute(slug=slug, text=shown).encode())
        else:
            render_bytes(req, resp, f"# `{slug}`\n\n{text}\n".encode(), _MARKDOWN)


def _render_page(req: falcon.Request, resp: falcon.Response, body: bytes) -> None:
    resp.set_header("Content-Security-Policy", _POLICY)
    resp.set_header("Referrer-Policy", "same-origin")
    render_bytes(req, resp, body, _HTML)


@cache
def _read(path: str) -> bytes:
    return (files("ipam.api") / "pages" / path).read_bytes()


@cache
def _explanations() -> dict[str, str]:
    """Return what docs/errors.md says of each type of problem, by its slug."""
    _, *found = _SECTION.split(_read("errors.md").decode())
    return {slug: _LINK.sub(_named, text).strip() for slug, text in zip(found[::2], found[1::2], strict=True)}


def _named(link: re.Match[str]) -> str:
    """Return the name of what a link leads to."""
    return f"docs/{link[2]}" if link[2] else link[1]
