"""The page as one document: its style sheet and scripts stand in it, and nothing else is ever loaded."""

import base64
import hashlib
from importlib.resources import files

import msgspec

SCRIPTS = (
    "dom.js",
    "words.js",
    "header.js",
    "matrix_view.js",
    "matrix.js",
    "decisions.js",
    "tables.js",
    "explain.js",
    "polling.js",
)
"""In this order they are one script."""


class Document(msgspec.Struct, frozen=True):
    """What a browser is sent."""

    html: bytes
    policy: str
    """Value of the header `content-security-policy`: what stands in the document may run, and nothing else."""


def build_document() -> Document:
    """Reads the parts and joins them."""
    folder = files("extproc.servers.admin").joinpath("assets")
    style = folder.joinpath("page.css").read_text("utf-8")
    script = "\n".join(folder.joinpath(name).read_text("utf-8") for name in SCRIPTS)
    html = folder.joinpath("page.html").read_text("utf-8")
    html = html.replace("<style></style>", f"<style>{style}</style>", 1)
    html = html.replace('<script type="module"></script>', f'<script type="module">{script}</script>', 1)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return Document(html.encode(), policy)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
