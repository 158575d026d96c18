"""Every config in the repository: those of the manifests, those shown in the documents, and other pickers' in tests."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.unit.settings import test_llmd

from extproc.settings.llmd import KIND
from extproc.settings.schema import Settings

FENCED = re.compile(r"^( *)```ya?ml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
GROUPS = set(Settings.model_fields)


def _is_config(text: str) -> bool:
    """True for a document with a group of ours at the top, or of another picker's kind. What is no YAML is none, and an
    Envoy's has an `admin` too.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    if not isinstance(document, dict) or "static_resources" in document:
        return False
    return bool(GROUPS & document.keys()) or document.get("kind") == KIND


def _find() -> Iterator[tuple[str, str]]:
    for path in sorted(Path("manifests").glob("**/*.yaml")):
        if path.name == "config.yaml":
            yield str(path), path.read_text()
    for path in (Path("README.md"), *sorted(Path("docs").glob("**/*.md"))):
        for index, (_, block) in enumerate(FENCED.findall(path.read_text())):
            if _is_config(text := textwrap.dedent(block)):
                yield f"{path}[{index}]", text
    for name, value in vars(test_llmd).items():
        if isinstance(value, str) and KIND in value and _is_config(value):
            yield f"test_llmd.{name}", value


CONFIGS = dict(_find())
"""By where they stand."""
