"""The maps of Commons Harvest: Open and Clean Up, as data.

The layouts (walls, apples, river, spawn points) are those of Melting Pot 2, copyright 2022 DeepMind Technologies
Limited, Apache License 2.0 (github.com/google-deepmind/meltingpot), with its legend reduced to what acts: shadows and
edges are plain ground here. Numbers of a map place the players as Large Legislative Models does (arXiv 2410.08345).

    W wall      A apple site      ~ river, never dirty      H river, clean at first      F river, dirty at first
    P where a player may enter    Q where the first players of Harvest enter             1-7 where player 1-7 enters

Not here: what happens on them (`rules.py`, `reference.py`, `kernel.py`).
"""

from __future__ import annotations

HARVEST = """
WWWWWWWWWWWWWWWWWWWWWWWW
WAAA    A      A    AAAW
WAA    AAA    AAA    AAW
WA    AAAAA  AAAAA    AW
W      AAA    AAA      W
W       A      A       W
W  A                A  W
W AAA  Q        Q  AAA W
WAAAAA            AAAAAW
W AAA              AAA W
W  A                A  W
W                      W
W                      W
W                      W
W  PPPPPPPPPPPPPPPPPP  W
W PPPPPPPPPPPPPPPPPPPP W
WPPPPPPPPPPPPPPPPPPPPPPW
WWWWWWWWWWWWWWWWWWWWWWWW
"""

HARVEST_PLACED = """
WWWWWWWWWWWWWWWWWWWWWWWW
WAAA    A      A    AAAW
WAA    AAA    AAA    AAW
WA    AAAAA  AAAAA    AW
W      AAA    AAA      W
W       A      A       W
W  A                A  W
W AAA  3        4  AAA W
WAAAAA            AAAAAW
W AAA              AAA W
W  A                A  W
W                      W
W                      W
W    7  6  5  2  1     W
W                      W
W                      W
W                      W
WWWWWWWWWWWWWWWWWWWWWWWW
"""

CLEANUP = """
WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW
WHFFFHFFHFHFHFHFHFHFHHFHFFFHFW
WHFHFHFFHFHFHFHFHFHFHHFHFFFHFW
WHFFHFFHHFHFHFHFHFHFHHFHFFFHFW
WHFHFHFFHFHFHFHFHFHFHHFHFFFHFW
WHFFFFFFHFHFHFHFHFHFHHFHFFFHFW
W               ~FHHHHHH     W
W   P    P          ~~~      W
W     P     P   P   ~~   P   W
W             P   P ~~       W
W   P    P          ~~    P  W
W               P   ~~ P     W
W     P           P ~~       W
W           P       ~~  P    W
W  P             P  ~~       W
W A A A A A A A A A ~~  A A AW
WAAAAAAAAAAAAAAAAAAA  AAAAAAAW
WAAAAAAAAAAAAAAAAAAAAAAAAAAAAW
WAAAAAAAAAAAAAAAAAAAAAAAAAAAAW
WAAAAAAAAAAAAAAAAAAAAAAAAAAAAW
WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW
"""

CLEANUP_PLACED = """
WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW
WHFFFHFFHFHFHFHFHFHFHHFHFFFHFW
WHFHFHFFHFHFHFHFHFHFHHFHFFFHFW
WHFFHFFHHFHFHFHFHFHFHHFHFFFHFW
WHFHFHFFHFHFHFHFHFHFHHFHFFFHFW
WHFFFFFFHFHFHFHFHFHFHHFHFFFHFW
W               ~FHHHHHH     W
W                   ~~~      W
W       3           ~~       W
W    4     1        ~~       W
W       2           ~~       W
W    5     6        ~~       W
W       7           ~~       W
W                   ~~       W
W                   ~~       W
W A A A A A A A A A ~~  A A AW
WAAAAAAAAAAAAAAAAAAA  AAAAAAAW
WAAAAAAAAAAAAAAAAAAAAAAAAAAAAW
WAAAAAAAAAAAAAAAAAAAAAAAAAAAAW
WAAAAAAAAAAAAAAAAAAAAAAAAAAAAW
WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW
"""
