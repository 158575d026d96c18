"""The requests of groups that share beginnings."""

import json
from random import Random

from bench.shared_prefixes import GROUPS, PREFIX_TOKENS, QUESTION_TOKENS, arrivals

from extproc.sim.kv_cache import lease_for


def test_prompts_share_the_beginnings_of_their_groups_and_nothing_else() -> None:
    requests = arrivals(Random(1), requests_per_s=50.0, duration_s=10.0)
    prefixes, questions = set(), set()
    for request in requests:
        system, user = (message["content"] for message in json.loads(request.body)["messages"])
        assert lease_for("", system, answer_tokens=0).prompt_tokens == PREFIX_TOKENS
        tokens = lease_for("", user, answer_tokens=0).prompt_tokens
        assert QUESTION_TOKENS[0] <= tokens <= QUESTION_TOKENS[1] + 5
        prefixes.add(system)
        questions.add(user[:64])
    assert len(prefixes) == GROUPS == len({prefix[:64] for prefix in prefixes})
    assert len(questions) == len(requests)


def test_the_same_seed_gives_the_same_requests_at_the_same_times() -> None:
    first, second, other = (arrivals(Random(seed), requests_per_s=20.0, duration_s=5.0) for seed in (1, 1, 2))
    assert first == second != other
    assert [each.due_s for each in first] == sorted(each.due_s for each in first)
    assert 50 < len(first) < 150
    assert 0.0 < first[0].due_s < first[-1].due_s < 5.0
