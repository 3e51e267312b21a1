"""The societies whose agents learn, by name, as the paper has them; needs the extra `economy`.

Not here: one of your own (`bring.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.room_learning import LearningRoom
from surpass.domains.economy.rules import rules_of
from surpass.domains.economy.society import Society
from surpass.errors import ConfigError

SOCIETIES: dict[str, Callable[[], Society]] = {
    "harvest": lambda: LearningCommons(rules_of("harvest"), load_core()),
    "cleanup": lambda: LearningCommons(rules_of("cleanup"), load_core(society="cleanup"), episodes=20),
    "escape_room": LearningRoom,
}


def society_of(name: str) -> Society:
    """Return a society of learning agents. Raises ConfigError for an unknown one, naming those there are."""
    if name not in SOCIETIES:
        raise ConfigError(f"society: expected one of {', '.join(SOCIETIES)}, found {name!r}")
    return SOCIETIES[name]()
