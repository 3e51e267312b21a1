"""`surpass chess latent`: which positions a model sees alike, as a map coloured by who is winning.

A position is the last hidden state behind its transcript, before the model says anything about the next move. The map
puts it into two dimensions, by t-SNE as in Transcendence (arXiv 2406.11741) or by principal components; the colour is
White's expected score as a strong engine sees it (`judge.py`), which the model was never told. A picture convinces
easily, so the claim behind it is measured in the full space: how much of the variance of that score can be read off
states of *other games*, by the nearest neighbours and by a linear map, against the same with shuffled scores.

The page holds plotly's script (some 5 MB) and fetches nothing. Needs scikit-learn, which the extra `[chess]` installs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from surpass.core import Observation
from surpass.domains.chess.character_player import CharacterPlayer
from surpass.domains.chess.favor import Visit, visits
from surpass.domains.chess.favor_command import asked, refuse_other, thinned
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.judge import NODES, Judge
from surpass.domains.chess.model_player import ModelPlayer
from surpass.domains.chess.players import model_policy
from surpass.errors import ConfigError, DataError
from surpass.models.packing import right_padded

Array = NDArray[np.float64]
ROWS = 32  # positions read at once
FOLDS = 5  # of the games, for what can be read off
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class LatentOptions:
    """Map the positions of games as a model sees them, coloured by who is winning."""

    games: Annotated[tuple[Path, ...], tyro.conf.Positional]  # whose positions are mapped
    run: Path  # the model
    player: str | None = None  # whose positions, by its name in the games; without: both sides'
    method: Literal["tsne", "pca"] = "tsne"  # how states become two numbers
    positions: int = 2000  # drawn from those of the games, at most
    nodes: int = NODES  # of the engine for one position
    out: Path = Path("latent")  # the folder to make, or to go on with: evaluations are kept in it
    threads: int = 1  # engines that work at once
    device: str = "cpu"  # where the model computes
    seed: int = 0  # of what is drawn

    def __post_init__(self) -> None:
        if not self.games or self.positions < 1:
            raise ConfigError("expected files of games, and --positions of 1 or more")


@dataclass(frozen=True, slots=True)
class Readable:
    """Shares of the variance of White's expected score that states of other games tell; below 0 is worse than none."""

    neighbours: float  # by the mean of the ten nearest states
    linear: float  # by ridge regression
    shuffled: float  # the better of the two, scores shuffled among positions


def main(options: LatentOptions) -> int:
    """Write latent.html and latent.json, and print what can be read off; return 0."""
    from rich.console import Console

    refuse_other(options.out / "latent.json", asked(options))
    try:
        with Console(stderr=True).status("reading positions, asking the engine ..."):
            found, number = analyse(options)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    Console(soft_wrap=True).print(
        f"{number} positions; of the variance of White's expected score, states of other games tell "
        f"{found.linear:.1%} (linear), {found.neighbours:.1%} (neighbours); shuffled {found.shuffled:.1%}\n"
        f"{options.out / 'latent.html'}"
    )
    return 0


def analyse(options: LatentOptions) -> tuple[Readable, int]:
    """Judge what is not judged yet, write latent.html and latent.json; return what can be read off, and of how many.

    Raises DataError for fewer positions than neighbours and folds need, and what models and engines raise.
    """
    player, _ = model_policy(options.run, {"device": options.device}, cached=False)
    places = thinned(
        visits(read(options.games, Filter(duplicates=False), Report()), options.player),
        options.positions,
        seed=options.seed,
    )
    if len(places) < 2 * NEIGHBOURS or len({one.game for one in places}) < FOLDS:
        raise DataError(f"expected {2 * NEIGHBOURS} positions of {FOLDS} games or more, found {len(places)}")
    options.out.mkdir(parents=True, exist_ok=True)
    with Judge(options.out / "evaluations.sqlite", nodes=options.nodes, threads=options.threads) as judge:
        white = white_scores(places, judge)
    states = hidden(player, [one.observation for one in places])
    points = project(states, options.method, seed=options.seed)
    found = readable(states, white, [one.game for one in places], seed=options.seed)
    page = document(fragment(points, white, places), found, method=options.method)
    (options.out / "latent.html").write_text(page, encoding="utf-8")
    (options.out / "latent.json").write_text(
        json.dumps({**asdict(found), "positions": len(places), "asked": asked(options)}, indent=1) + "\n",
        encoding="utf-8",
    )
    return found, len(places)


def white_scores(places: Sequence[Visit], judge: Judge) -> Array:
    """Return White's expected score [N] in each position, under the best move."""
    best = [max(scores.values()) for scores in judge.scores([one.fen for one in places])]
    return np.array([1 - score if one.observation.seat else score for score, one in zip(best, places, strict=True)])


@torch.inference_mode()
def hidden(player: ModelPlayer | CharacterPlayer, observations: Sequence[Observation]) -> Array:
    """Return the last hidden state [N, D] behind what the network reads of each observation."""
    network, found = player.network, list[Array]()
    for begin in range(0, len(observations), ROWS):
        ids, lengths = right_padded(player.prompts(observations[begin : begin + ROWS]), player.vocabulary.pad)
        states = network.base_model(input_ids=ids.to(network.device), use_cache=False).last_hidden_state
        found.append(states[torch.arange(len(ids)), lengths - 1].double().cpu().numpy())
    return np.concatenate(found)


def project(states: Array, method: str, *, seed: int = 0) -> Array:
    """Return states [N, D] in two dimensions [N, 2]. Raises ConfigError without scikit-learn."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise ConfigError("maps need scikit-learn: install the extra [chess]") from error
    if method == "pca":
        return np.asarray(PCA(2, random_state=seed).fit_transform(states))
    perplexity = min(30.0, (len(states) - 1) / 3)
    first = PCA(min(50, *states.shape), random_state=seed).fit_transform(states)  # as is usual: noise is cut off
    return np.asarray(
        TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(first), dtype=np.float64
    )


def readable(states: Array, values: Array, games: Sequence[str], *, seed: int = 0) -> Readable:
    """Return how much of the values [N] states [N, D] of other games tell, by cross-validation over games."""
    shuffled = np.random.default_rng(seed).permutation(values)
    (neighbours, linear), chance = (_told(states, one, games) for one in (values, shuffled))
    return Readable(neighbours, linear, max(chance))


def _told(states: Array, values: Array, games: Sequence[str]) -> tuple[float, float]:
    try:
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import GroupKFold, cross_val_predict
        from sklearn.neighbors import KNeighborsRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise ConfigError("maps need scikit-learn: install the extra [chess]") from error
    found = []
    for model in (KNeighborsRegressor(NEIGHBOURS), RidgeCV(np.geomspace(1e-1, 1e5, 13))):
        whole = make_pipeline(StandardScaler(), model)
        guess = cross_val_predict(whole, states, values, groups=list(games), cv=GroupKFold(FOLDS))
        residual, spread = ((values - guess) ** 2).sum(), ((values - values.mean()) ** 2).sum()
        found.append(float(1 - residual / spread) if spread else 0.0)
    return found[0], found[1]


def fragment(points: Array, white: Array, places: Sequence[Visit]) -> str:
    """Return the map as a piece of a page, its script included; a position's FEN shows under the pointer."""
    from plotly.graph_objects import Figure, Scatter  # not Scattergl: a browser may lack WebGL

    about = [
        f"{escape(one.fen)}<br>White expects {score:.2f}<br>game {escape(one.game)}"
        for one, score in zip(places, white.tolist(), strict=True)
    ]
    marker = {
        "color": white,
        "colorscale": "RdBu",
        "cmin": 0,
        "cmax": 1,
        "size": 5,
        "colorbar": {"title": "White expects"},
    }
    figure = Figure(
        Scatter(x=points[:, 0], y=points[:, 1], mode="markers", marker=marker, text=about, hoverinfo="text")
    )
    figure.update_layout(width=900, height=700, template="plotly_white")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return str(figure.to_html(full_html=False, include_plotlyjs=True))


def document(body: str, found: Readable, *, method: str) -> str:
    """Return a page around a map."""
    ways = {"tsne": "t-SNE", "pca": "principal components"}
    said = (
        f"A point is a position, placed by {ways[method]} of the network's last state behind the moves so far; "
        "its colour is White's expected score as a strong engine sees it, which the network was never told. Neighbours "
        "of one colour mean that it knows who is winning. Point at one for the position and its game.</p><p>"
        f"Of the variance of White's expected score, states of other games tell {found.linear:.1%} by a linear map and "
        f"{found.neighbours:.1%} by their nearest neighbours; with shuffled scores {found.shuffled:.1%}."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>latent map - surpass</title></head>'
        f'<body style="font: 16px sans-serif; margin: 32px"><h1>Positions as the model sees them</h1><p>{said}</p>'
        f"{body}</body></html>\n"
    )
