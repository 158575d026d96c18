"""scheduling/interfaces: what scorers look at."""

from tests.unit.scheduling.pool import Told, candidate, need


class Counted(Told):
    """A load that counts how often it is asked."""

    asked = 0

    def confidence(self, now: float) -> float:
        self.asked += 1
        return now

    def requests(self, now: float) -> float:
        self.asked += 1
        return 2 * now


def test_a_candidate_is_told_by_its_endpoint() -> None:
    assert repr(candidate("a", Told())) == "<Candidate a>"


def test_what_several_scorers_look_at_is_asked_once_and_of_the_requests_own_time() -> None:
    load = Counted()
    about = need([load], now=3.0)
    for _ in range(3):
        assert (about.confidences, about.requests) == ([3.0], [6.0])
    assert load.asked == 2
