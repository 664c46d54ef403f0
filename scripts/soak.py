"""A hostile mix against one pool for each world; `scripts/soak` runs it. Ends 0 only if all is accounted for."""

import sys

from tests.support.soak import servers, soaked
from tests.support.worlds import WORLDS

# A thread costs more than a task.
_TASKS = {"asyncio": 1000, "trio": 1000, "blocking": 300}
_GRACE = 300.0


def main(minutes: str = "3") -> int:
    seconds, is_off = float(minutes) * 60 / len(_TASKS), False
    with servers() as found:
        for name, tasks in _TASKS.items():
            account = soaked(WORLDS[name](seconds + _GRACE), found, tasks, seconds)
            print(f"{name}, {tasks} tasks for {seconds:.0f} s: {'OFF' if account.problems else 'all accounted for'}")
            print(account, flush=True)
            is_off = is_off or bool(account.problems)
    return int(is_off)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
