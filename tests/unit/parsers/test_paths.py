"""parsers/paths: what the picker answers itself."""

import pytest

from extproc.parsers.paths import models_intent
from extproc.values.request import DescribeModel, Intent, ListModels


@pytest.mark.parametrize(
    ("method", "path", "intent"),
    [
        pytest.param("GET", "/v1/models", ListModels(), id="the list"),
        pytest.param("HEAD", "/v1/models", ListModels(), id="its head"),
        pytest.param("POST", "/v1/models", None, id="another method"),
        pytest.param("DELETE", "/v1/models/phi", None, id="another method on a model"),
        pytest.param("GET", "/v1/models/", ListModels(), id="a slash more"),
        pytest.param("GET", "/v1/models?limit=5", ListModels(), id="a query"),
        pytest.param("GET", "/v1/models/?x=/phi", ListModels(), id="a slash in the query"),
        pytest.param("GET", "/v1/modelsphi", None, id="a longer word"),
        pytest.param("GET", "/v1/model", None, id="a shorter word"),
        pytest.param("GET", "/v2/models", None, id="another version"),
        pytest.param("GET", "/x/v1/models", None, id="below another path"),
        pytest.param("GET", "", None, id="no path"),
        pytest.param("GET", "/v1/models/phi", DescribeModel("phi"), id="one model"),
        pytest.param("HEAD", "/v1/models/phi", DescribeModel("phi"), id="its head too"),
        pytest.param("GET", "/v1/models/phi?x=1", DescribeModel("phi"), id="one model and a query"),
        pytest.param("GET", "/v1/models/org/phi", DescribeModel("org/phi"), id="a slash in the id"),
        pytest.param("GET", "/v1/models/org%2Fphi", DescribeModel("org/phi"), id="an encoded slash"),
        pytest.param("GET", "/v1/models/a%3Fb", DescribeModel("a?b"), id="an encoded question mark"),
        pytest.param("GET", "/v1/models/a+b", DescribeModel("a+b"), id="plus is no space in a path"),
        pytest.param("GET", "/v1/models/%CF%80", DescribeModel("π"), id="UTF-8"),
        pytest.param("GET", "/v1/models/%FF", DescribeModel("\ufffd"), id="no UTF-8"),
        pytest.param("GET", "/v1/models/100%", DescribeModel("100%"), id="a lone percent sign"),
    ],
)
def test_models_intent(method: str, path: str, intent: Intent | None) -> None:
    assert models_intent(method, path) == intent
