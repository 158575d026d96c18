"""What of this folder needs a real API server is left out where there is none."""

from tests.real_apiserver import assets

collect_ignore = [] if assets() else ["test_apply.py"]
