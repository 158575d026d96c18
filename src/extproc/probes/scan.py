"""What an engine's metrics page says of its load, read off the few lines that are needed.

A page has some 60 KB and each engine is asked twice a second: to parse it whole takes 120 times as long, measured by
`python -m bench scan`. So the names that are wanted are looked for, and only what stands behind them is read.

Source: the text format of Prometheus and OpenMetrics; for the names, vLLM's v1/metrics/loggers.py, SGLang's
observability/metrics_collector.py, TensorRT-LLM's metrics/collector.py, and the table of the model server protocol that
llm-d-router's pickers expect.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from extproc.values.load import Adapters, EngineLoad

MOST_ADAPTERS = 10_000
"""A list of more is none."""
LARGEST_SIZE = 10**12
"""Of what is counted in blocks and tokens of a block. More is garbage."""
LARGEST_NUMBER = float(1 << 53)
"""Above it floats do not count any more, and sums and products of such would be infinite, or no numbers at all."""
MOST_SAMPLES = 10_000
"""A family of more is not read: 20 ms of the event loop."""


class _Series(NamedTuple):
    """Where a value stands."""

    name: bytes
    where: bytes = b""
    """Only samples in which this label, empty if it is missing, is …"""
    equals: bytes = b""
    """… this."""
    label: bytes = b""
    """The label that holds the value, where it is not the sample's own."""


class _Engine(NamedTuple):
    """An engine's names. Of several for one value the first that the page has counts: the newest stands first."""

    prefix: bytes
    waiting: tuple[_Series, ...]
    running: tuple[_Series, ...]
    kv_used: tuple[_Series, ...]
    block_tokens: tuple[_Series, ...] = ()
    blocks: tuple[_Series, ...] = ()
    first_tokens: tuple[_Series, ...] = ()
    prompt_tokens: tuple[_Series, ...] = ()
    cached_tokens: tuple[_Series, ...] = ()
    prefills: tuple[_Series, ...] = ()
    prefill_s: tuple[_Series, ...] = ()
    prefill_tokens: tuple[_Series, ...] = ()
    adapters: bytes = b""


def _of_priorities(name: bytes) -> _Series:
    """SGLang's sum over all priorities: each priority has a sample of its own beside it, in the same family."""
    return _Series(name, where=b"priority")


def _triton_requests(kind: bytes) -> tuple[_Series, ...]:
    return (_Series(b"nv_trt_llm_request_metrics", where=b"request_type", equals=kind),)


def _triton_cache(kind: bytes) -> tuple[_Series, ...]:
    return (_Series(b"nv_trt_llm_kv_cache_block_metrics", where=b"kv_cache_block_type", equals=kind),)


ENGINES = {
    "vllm": _Engine(
        prefix=b"vllm:",
        waiting=(_Series(b"vllm:num_requests_waiting"),),
        running=(_Series(b"vllm:num_requests_running"),),
        kv_used=(_Series(b"vllm:kv_cache_usage_perc"), _Series(b"vllm:gpu_cache_usage_perc")),
        block_tokens=(_Series(b"vllm:cache_config_info", label=b"block_size"),),
        blocks=(_Series(b"vllm:cache_config_info", label=b"num_gpu_blocks"),),
        first_tokens=(_Series(b"vllm:time_to_first_token_seconds_count"),),
        prompt_tokens=(_Series(b"vllm:prompt_tokens_total"),),
        cached_tokens=(_Series(b"vllm:prefix_cache_hits_total"), _Series(b"vllm:gpu_prefix_cache_hits_total")),
        prefills=(_Series(b"vllm:request_prefill_time_seconds_count"),),
        prefill_s=(_Series(b"vllm:request_prefill_time_seconds_sum"),),
        prefill_tokens=(_Series(b"vllm:request_prefill_kv_computed_tokens_sum"),),
        adapters=b"vllm:lora_requests_info",
    ),
    "sglang": _Engine(
        prefix=b"sglang:",
        waiting=(_of_priorities(b"sglang:num_queue_reqs"),),
        running=(_of_priorities(b"sglang:num_running_reqs"),),
        kv_used=(_Series(b"sglang:token_usage"),),
        block_tokens=(_Series(b"sglang:page_size"), _Series(b"sglang:cache_config_info", label=b"page_size")),
        blocks=(_Series(b"sglang:num_pages"), _Series(b"sglang:cache_config_info", label=b"num_pages")),
        first_tokens=(_Series(b"sglang:time_to_first_token_seconds_count"),),
        # Both are counted when a request ends, the latter by where the tokens were found, of which each is a part.
        prompt_tokens=(_Series(b"sglang:prompt_tokens_total"),),
        cached_tokens=(_Series(b"sglang:cached_tokens_total"),),
    ),
    "trtllm-serve": _Engine(
        prefix=b"trtllm_",
        waiting=(_Series(b"trtllm_num_requests_waiting"),),
        running=(_Series(b"trtllm_num_requests_running"),),
        kv_used=(_Series(b"trtllm_kv_cache_utilization"),),
        block_tokens=(_Series(b"trtllm_kv_cache_tokens_per_block"),),
        blocks=(_Series(b"trtllm_kv_cache_max_blocks"),),
        prompt_tokens=(_Series(b"trtllm_prompt_tokens_total"),),
    ),
    "triton-tensorrt-llm": _Engine(
        prefix=b"nv_trt_llm_",
        waiting=_triton_requests(b"waiting"),
        running=_triton_requests(b"scheduled"),
        kv_used=_triton_cache(b"fraction"),
        block_tokens=_triton_cache(b"tokens_per"),
        blocks=_triton_cache(b"max"),
    ),
}
"""The engines whose pages are understood, by the value of the label that tells an endpoint's."""

_SAMPLE = re.compile(
    rb"[ \t]*+(?:\{(?P<labels>(?:[^\"}\n]|\"(?:[^\"\\\n]|\\.)*+\")*+)\}[ \t]*+|(?<=[ \t]))"
    rb"(?P<value>[^ \t\r\n]++)"
)
"""What stands behind a name: labels, and a value."""
_LABEL = re.compile(rb'(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')
_ESCAPED = re.compile(rb"\\(.)")


class _Page(NamedTuple):
    content: bytes
    """Begins with the end of a line, so that each line does."""

    def samples(self, series: _Series) -> list[tuple[dict[bytes, bytes], float | None]] | None:
        """The labels, where they are wanted, and the values of a family; None for what is no number of 0 or more.

        None where there are more than `MOST_SAMPLES`.
        """
        places = list(islice(self._find(series.name), MOST_SAMPLES + 1))
        if len(places) > MOST_SAMPLES:
            return None
        found = []
        for behind in places:
            sample = _SAMPLE.match(self.content, behind)
            has_labels = series.where or series.label
            labels = _read_labels(sample["labels"]) if sample is not None and has_labels else {}
            if labels.get(series.where, b"") == series.equals:
                found.append((labels, None if sample is None else _read_number(sample["value"])))
        return found

    def _find(self, name: bytes) -> Iterator[int]:
        """Where the samples of a family begin, behind the name. Its lines stand together: the next one ends it."""
        needle = b"\n" + name
        at = self.content.find(needle)
        end = -1
        while at >= 0:
            behind = at + len(needle)
            if self.content[behind : behind + 1] in (b"{", b" ", b"\t"):
                if end < 0:
                    end = self._end_of_family(behind)
                yield behind
            at = self.content.find(needle, behind, end if end >= 0 else len(self.content))

    def _end_of_family(self, begin: int) -> int:
        end = self.content.find(b"\n# TYPE ", begin)
        return end if end >= 0 else len(self.content)

    def values(self, choices: Sequence[_Series]) -> list[float]:
        """The values of the first of these series that the page has; none where one of them is unknown."""
        for series in choices:
            samples = self.samples(series)
            if samples is None:
                return []
            values = [_read_size(labels.get(series.label, b"")) if series.label else value for labels, value in samples]
            if values:
                known = [value for value in values if value is not None]
                return known if len(known) == len(values) else []
        return []

    def sum(self, choices: Sequence[_Series]) -> float | None:
        """Of counts."""
        values = self.values(choices)
        total = sum(values)
        return total if values else None

    def mean(self, choices: Sequence[_Series]) -> float | None:
        """Of ratios, those over 1 taken for 1."""
        values = self.values(choices)
        return sum(min(value, 1.0) for value in values) / len(values) if values else None

    def size(self, choices: Sequence[_Series], *, is_summed: bool) -> int | None:
        """A whole number of at least 1: the sum, or the first."""
        values = self.values(choices)
        value = sum(values) if is_summed else next(iter(values), 0.0)
        return int(value) if 1 <= value <= LARGEST_SIZE else None

    def adapters(self, name: bytes) -> Adapters | None:
        """What the newest sample says, whose value is the time of its making."""
        newest: dict[bytes, bytes] | None = None
        newest_at_s = 0.0
        for labels, at_s in self.samples(_Series(name, label=b"running_lora_adapters")) or ():
            if at_s is not None and at_s >= newest_at_s:
                newest, newest_at_s = labels, at_s
        if newest is None:
            return None
        running, waiting = (newest.get(label, b"") for label in (b"running_lora_adapters", b"waiting_lora_adapters"))
        if running.count(b",") + waiting.count(b",") >= MOST_ADAPTERS:
            return None
        return Adapters(_read_names(running), _read_names(waiting), int(_read_size(newest.get(b"max_lora", b"")) or 0))


def scan(page: bytes, *, engine: str, asked_at_s: float) -> EngineLoad:
    """What `page` says, whatever it is: what it does not say, or not as a number that can be, stays None.

    `engine` is the kind of the endpoint's engine, as its label has it. Where it is empty, not known here, or nothing on
    the page is that engine's, the page tells. Of several samples of a family, counts are summed and ratios meaned; if
    one of them is unknown, so is the whole. Adapters are those of the newest sample.
    """
    content = _Page(b"\n" + page)
    names = _names_on(content.content, engine)
    if names is None:
        return EngineLoad(asked_at_s)
    return EngineLoad(
        asked_at_s,
        waiting=content.sum(names.waiting),
        running=content.sum(names.running),
        kv_used_ratio=content.mean(names.kv_used),
        adapters=content.adapters(names.adapters) if names.adapters else None,
        block_tokens=content.size(names.block_tokens, is_summed=False),
        blocks=content.size(names.blocks, is_summed=True),
        first_tokens=content.sum(names.first_tokens),
        prompt_tokens=content.sum(names.prompt_tokens),
        cached_tokens=content.sum(names.cached_tokens),
        prefills=content.sum(names.prefills),
        prefill_s=content.sum(names.prefill_s),
        prefill_tokens=content.sum(names.prefill_tokens),
    )


def _names_on(page: bytes, engine: str) -> _Engine | None:
    said = ENGINES.get(engine)
    if said is not None and b"\n" + said.prefix in page:
        return said
    return next((names for names in ENGINES.values() if b"\n" + names.prefix in page), None)


def _read_labels(text: bytes | None) -> dict[bytes, bytes]:
    return {match[1]: _unescape(match[2]) for match in _LABEL.finditer(text)} if text else {}


def _unescape(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    return _ESCAPED.sub(lambda escaped: b"\n" if escaped[1] == b"n" else escaped[1], value)


def _read_number(text: bytes) -> float | None:
    """A number of 0 to `LARGEST_NUMBER`, None for all else: NaN, and the `1_000` that only Python takes for one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= LARGEST_NUMBER and b"_" not in text else None


def _read_size(text: bytes) -> float | None:
    """A label that holds a whole number."""
    return float(text) if text.isdigit() and len(text) <= 12 else None


def _read_names(text: bytes) -> frozenset[str]:
    words = (word.strip() for word in text.decode(errors="replace").split(","))
    return frozenset(word for word in words if word)
