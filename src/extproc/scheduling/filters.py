"""The filters that can be chosen.

Serving the model, being ready and standing in the data plane's subset are none that could be left out: candidates are
looked up by them.
"""

from extproc.values.endpoint import Endpoint

ROLES_WITHOUT_ANSWERS = frozenset({"prefill", "encode"})
"""Engines of these roles do a part of the work for others and answer no client. Source: llm-d, label llm-d.ai/role."""


class RoleFilter:
    """Leaves out endpoints that only prefill, or encode, for others."""

    name = "role"

    def allows(self, endpoint: Endpoint) -> bool:
        """See `Filter.allows`."""
        return endpoint.role not in ROLES_WITHOUT_ANSWERS
