"""What tests of several folders start, and what each must leave as it was."""

import logging
import sys
from collections.abc import Iterator

import pytest
from tests.real_apiserver import RealApiServer, assets

LOGGERS = (None, "extproc", "aiohttp.server", "python_multipart")
"""Those that `configure_logs` changes."""


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Logs are the process's: a test that configures them must not have the next one's lines written twice, or to a
    stream that is closed. pytest's own handlers come and go within a test, and are left to it.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, _not_pytests(logger), logger.propagate, logger.level) for logger in loggers]
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    logging.captureWarnings(False)
    for logger, handlers, propagate, level in before:
        ours = _not_pytests(logger)
        logger.handlers = [*handlers, *(handler for handler in logger.handlers if handler not in ours)]
        logger.propagate = propagate
        logger.setLevel(level)


def _not_pytests(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in logger.handlers if not type(handler).__module__.startswith("_pytest")]


@pytest.fixture(scope="session")
def real_apiserver() -> Iterator[RealApiServer]:
    """One real kube-apiserver for the session, for tests that are left out where `KUBEBUILDER_ASSETS` names none."""
    binaries = assets()
    assert binaries is not None
    server = RealApiServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()
