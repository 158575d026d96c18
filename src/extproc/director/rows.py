"""Every endpoint of the pool as a candidate for one request: what keeps it from it, its scores, which choice it is."""

from collections.abc import Sequence
from typing import NamedTuple

from extproc.director.decide import DirectorPolicy
from extproc.director.reasons import Case, is_shed, tell_saturation
from extproc.director.verdicts import Judged
from extproc.scheduling.profile import Profile
from extproc.values.admin import Candidate, Verdict
from extproc.values.decision import Route

NO_CHOICE = 1 << 32


class _Row(NamedTuple):
    """The result of a comparison."""

    scores: tuple[float, ...]
    total: float
    choice: int
    cached_tokens: float


def list_rows(
    case: Case, judged: Sequence[Judged], cached_tokens: Sequence[float], profile: Profile, policy: DirectorPolicy
) -> tuple[Candidate, ...]:
    """Those that were compared, the best at the top; then others that may get it; then those that may not.

    `cached_tokens`: of those that were compared, in the order of the route's scores.
    """
    compared = _compare(case, cached_tokens, profile)
    eligible = sum(1 for each in judged if each.is_eligible)
    left_out = _tell_left_out(case, len(compared), eligible, policy)
    ranked = []
    for each in judged:
        endpoint = each.state.endpoint
        row = compared.get(endpoint.id)
        verdicts = (*each.verdicts, left_out) if row is None and each.is_eligible else each.verdicts
        if row is not None:
            candidate = Candidate(endpoint.name, endpoint.address, verdicts, *row)
            place = (0, row.choice or NO_CHOICE, -row.total, endpoint.name)
        else:
            candidate = Candidate(endpoint.name, endpoint.address, verdicts)
            # Of those that may not get it, those are nearest that the most conditions allow.
            place = (1 if each.is_eligible else 2, -len(verdicts), 0.0, endpoint.name)
        ranked.append((place, candidate))
    ranked.sort(key=lambda pair: pair[0])
    return tuple([candidate for _, candidate in ranked])


def _compare(case: Case, cached_tokens: Sequence[float], profile: Profile) -> dict[str, _Row]:
    """What became of those that were compared, by id."""
    if case.route is None:
        return {}
    scores = case.route.scores
    choices: dict[str, int] = {}
    if isinstance(case.outcome, Route):
        for endpoint in case.outcome.endpoints:
            choices.setdefault(endpoint.id, len(choices) + 1)
    columns = [scores.by_scorer[scorer.name] for scorer, _ in profile.scorers]
    return {
        endpoint.id: _Row(tuple([column[at] for column in columns]), total, choices.get(endpoint.id, 0), cached)
        for at, (endpoint, total, cached) in enumerate(
            zip(scores.candidates, scores.totals, cached_tokens, strict=True)
        )
    }


def _tell_left_out(case: Case, compared: int, eligible: int, policy: DirectorPolicy) -> Verdict:
    """Why one is not compared that may get the request."""
    if is_shed(case):
        return Verdict("admission", False, tell_saturation(case, policy))
    verb = "is" if compared == 1 else "are"
    return Verdict("compared", False, f"not compared: {compared} of {eligible:,} {verb}")
