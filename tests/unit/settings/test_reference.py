"""docs/configuration.md says what the schema says."""

from pathlib import Path

from extproc.settings.reference import render_reference


def test_the_document_is_what_the_schema_says() -> None:
    """Mended by `make docs`."""
    assert Path("docs/configuration.md").read_text() == render_reference()


def test_every_group_key_and_flag_is_in_it() -> None:
    text = render_reference()
    for part in ("## `probes.models`", "| `interval` | `5s` |", "`--grpc-port`", "| `maxBodyBytes` | `64MiB` |"):
        assert part in text
