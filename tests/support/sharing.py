"""How pytest-xdist shares the tests among processes: what is marked by `xdist_group` stays together, and so do the
cases of one function. To hand out one test at a time, as xdist does beside groups, costs it half a minute in all."""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling

__all__ = ["Sharing"]


class Sharing(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope if scope != nodeid else nodeid.partition("[")[0]
