"""The paths that the picker answers itself: `/v1/models` and `/v1/models/{id}`."""

from urllib.parse import unquote

from extproc.values.request import DescribeModel, ListModels

MODELS_PATH = "/v1/models"


def models_intent(method: str, path: str) -> ListModels | DescribeModel | None:
    """What a GET or HEAD of the model list asks for; None for every other request.

    A model id may hold slashes, as they are or percent-encoded. Query strings are ignored.
    """
    if not path.startswith(MODELS_PATH) or method not in ("GET", "HEAD"):
        return None
    rest = path[len(MODELS_PATH) :].partition("?")[0]
    if rest in ("", "/"):
        return ListModels()
    return DescribeModel(unquote(rest[1:])) if rest[0] == "/" else None
