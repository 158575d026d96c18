"""The metrics as a Markdown document, made from the catalogue: `make docs` writes it to docs/metrics.md."""

import sys

from extproc.telemetry.metrics.catalogue import GROUPS, Group
from extproc.telemetry.metrics.labels import MODEL_LABELS

INTRODUCTION = f"""\
# Metrics

Generated from `src/extproc/telemetry/metrics/catalogue.py` by `make docs`.

`GET /metrics` at `server.metricsPort` (9090), in OpenMetrics 1.0 for whoever asks for it, else in Prometheus's text
format. [`manifests/monitoring`](../manifests/monitoring) has a ServiceMonitor, alert rules and a dashboard.

- `pool` is namespace/name. `endpoint` is the pod's name, with its port where the pool has several; a pool's endpoints
  bound their series, as those that are gone have none.
- `model` is a name that the pool knows. What a client asks for and nobody serves is `unknown`; a request that names no
  model is `none`. From the {MODEL_LABELS:,}th name on, further ones are `other`, until models that the pool no longer
  knows make room: their series end then, and begin at 0 should they come back. `extproc_model_endpoints` has the first
  {MODEL_LABELS:,} by name; `extproc_known_models` counts all.
- Each replica says the same of the pool, and counts its own requests: take `max` or `min` over replicas for the one,
  `sum` for the other.
"""

QUERIES = (
    (
        "Share of requests that were not served, by reason",
        'sum by (pool, outcome) (rate(extproc_requests_total{outcome!~"routed|replied|cancelled"}[5m]))\n'
        "  / ignoring (outcome) group_left sum by (pool) (rate(extproc_requests_total[5m]))",
    ),
    ("Models that one endpoint alone serves", "max by (pool, model) (extproc_model_endpoints) == 1"),
    (
        "Share of the prompts' tokens that were sent to where they are cached, as estimated",
        'sum by (pool, model) (rate(extproc_prompt_tokens_total{kind="cached"}[5m]))\n'
        "  / sum by (pool, model) (rate(extproc_prompt_tokens_total[5m]))",
    ),
    (
        "The same as the engines count it, where responses pass by",
        'sum by (pool, model) (rate(extproc_tokens_total{kind="cached_prompt"}[5m]))\n'
        '  / sum by (pool, model) (rate(extproc_tokens_total{kind="prompt"}[5m]))',
    ),
    (
        "Time of a decision, of 99 in 100",
        "histogram_quantile(0.99, sum by (le) (rate(extproc_decision_seconds_bucket[5m])))",
    ),
    (
        "How long requests wait for the picker's own CPU, of 99 in 100",
        "histogram_quantile(0.99, sum by (pod, le) (rate(extproc_event_loop_delay_seconds_bucket[5m])))",
    ),
    (
        "Endpoints whose metrics cannot be read, and that are therefore chosen without",
        "max by (pool, endpoint) (extproc_endpoint_ready) == 1\n"
        '  unless on (endpoint) extproc_probe_age_seconds{kind="metrics"} < 10',
    ),
    (
        "Longest queue against the mean: 1 is even",
        "max by (pool) (extproc_endpoint_waiting) / avg by (pool) (extproc_endpoint_waiting)",
    ),
    (
        "Share of the memory for bodies in use: at 1 further ones get 429",
        "extproc_held_bytes / extproc_held_limit_bytes",
    ),
    (
        "Share of the prefix index in use: at 1 the oldest blocks go",
        "extproc_prefix_blocks / extproc_prefix_limit_blocks",
    ),
    (
        "For an autoscaler: requests that wait, of each pod",
        "max by (name) (inference_pool_average_queue_size)",
    ),
)


def render_reference() -> str:
    """The document: one table for each group, and queries."""
    lines = [INTRODUCTION]
    for group in GROUPS:
        lines += _table(group)
    lines += ["## Queries", ""]
    for question, query in QUERIES:
        lines += [f"{question}:", "", "```promql", query, "```", ""]
    return "\n".join(lines[:-1]) + "\n"


def _table(group: Group) -> list[str]:
    lines = [f"## {group.title}", ""]
    if group.text:
        lines += [group.text, ""]
    lines += ["| metric | type | labels | what |", "|---|---|---|---|"]
    for name, kind, text, labels in group.definitions:
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels) or '–'} | {text} |")
    return [*lines, ""]


if __name__ == "__main__":
    sys.stdout.write(render_reference())
