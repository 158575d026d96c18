"""docs/metrics.md says what a scrape has, no more and no less."""

from pathlib import Path

from tests.manifests.recording import families

from extproc.telemetry.metrics.catalogue import GROUPS
from extproc.telemetry.metrics.reference import QUERIES, render_reference

OF_THE_PROCESS = ("process_", "python_")
DEFINITIONS = {each.name: each for group in GROUPS for each in group.definitions}


def test_the_document_is_what_the_catalogue_says() -> None:
    """Mended by `make docs`."""
    assert Path("docs/metrics.md").read_text() == render_reference()


def test_the_catalogue_is_what_a_scrape_has() -> None:
    scraped = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in families()
        if not family.name.startswith(OF_THE_PROCESS)
    }
    assert scraped.keys() == DEFINITIONS.keys()
    for name, family in scraped.items():
        definition = DEFINITIONS[name]
        assert (family.type, family.documentation) == (definition.kind, definition.text)
        assert family.samples, name
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(definition.labels), name
            assert sample.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") == name


def test_every_metric_and_query_is_in_the_document() -> None:
    text = render_reference()
    row = "| `extproc_model_endpoints` | gauge | `pool`, `model` | Ready and confirmed endpoints that serve"
    for part in (row, "## Responses", "| `extproc_streams` | gauge | – |", *(query for _, query in QUERIES)):
        assert part in text
    assert all(f"| `{name}` | {definition.kind} |" in text for name, definition in DEFINITIONS.items())


def test_every_metric_is_said_once() -> None:
    names = [each.name for group in GROUPS for each in group.definitions]
    assert len(names) == len(set(names))
    assert all(name.endswith("_total") == (DEFINITIONS[name].kind == "counter") for name in names)
