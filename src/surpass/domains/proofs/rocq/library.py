"""The proof library: every proof that a fresh process has accepted, of any number of runs, in one SQLite file.

    lemmas   what is proved, and where: statement, hash of the text before it, goals and their features, the problem
    proofs   a script, once for each lemma, with its trust level (T3: a fresh Rocq; T4: coqchk too) and evidence
    found    in which run, by which policy, with which seed, when, and in how many seconds a proof was found
    tries    how often each run tried a lemma, and how many tries gave a proof that stands

Nothing of a run's record is believed but problem and script (`surpass.verify`). Two lemmas are one where name,
statement, permitted axioms and the whole text of the file before it are equal, wherever that file lies. A run's part is
known by its first line, which holds measured times: moved, copied or continued, it is still the same one. So adding a
run again changes nothing. Rocq's version is in the evidence, not in what makes lemmas equal.

Not here: writing proofs out (`library_export`), and the command line (`library_command`). Not kept: proofs of Lean and
of the embedded kernel. A library only grows: a proof stays that another version of Rocq would refuse; delete the file.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from surpass.core import Problem, Status, Trajectory
from surpass.domains.proofs.rocq.relocation import relocated
from surpass.domains.proofs.rocq.remembered import digest
from surpass.domains.proofs.rocq.rules import normalise
from surpass.domains.proofs.rocq.session import Place, check_statement, sentences
from surpass.errors import DataError, SurpassError
from surpass.models.neighbours import features
from surpass.store import LINE, Run
from surpass.verify import Terms, judge_again, parts

TRUSTED = ("T3", "T4")
_VERSION = 1  # of the tables; raised when their meaning changes
_SCHEMA = """
CREATE TABLE lemmas (id TEXT PRIMARY KEY, key TEXT, top TEXT, statement TEXT, goals TEXT, context TEXT, features TEXT,
    problem TEXT);
CREATE TABLE proofs (id TEXT PRIMARY KEY, lemma TEXT REFERENCES lemmas, script TEXT, length INTEGER, trust TEXT,
    evidence TEXT);
CREATE TABLE found (proof TEXT REFERENCES proofs, origin TEXT, run TEXT, part TEXT, policy TEXT, seed TEXT, date TEXT,
    seconds REAL, PRIMARY KEY (proof, origin));
CREATE TABLE tries (lemma TEXT REFERENCES lemmas, origin TEXT, tried INTEGER, solved INTEGER,
    PRIMARY KEY (lemma, origin));
"""
_POSED = frozenset({"file", "top", "noinit", "options", "position", "statement", "name", "goals"})
_LEFT_OUT = frozenset({"steps", "premises"})  # of a problem's data: long, and no part of what is proved


@dataclass(frozen=True, slots=True)
class Found:
    """Where a proof comes from."""

    run: str  # the folder that was added
    part: str  # the folder of the record inside it
    policy: str  # as the run's config names it, else the part
    seed: str  # up to 64 bits without a sign, which SQLite's integers do not hold; empty where the record has none
    date: str  # when the record was last written, UTC
    seconds: float  # of the conversation, when the proof was found; 0 where the record does not say


@dataclass(frozen=True, slots=True)
class Proof:
    """One proof of one lemma, and all its finds."""

    problem: Problem
    context: str  # hash of the logical name and the text before the statement
    features: Mapping[str, int]  # of the initial goals (`models.neighbours`)
    script: tuple[str, ...]
    trust: str
    evidence: str
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a lemma has been so far."""

    key: str
    shortest: int | None  # sentences of the shortest proof in the library; None without one
    human: int | None  # sentences of the human proof; None where its record has none
    proofs: int
    tried: int  # records of all runs
    solved: int  # of them

    @property
    def rate(self) -> float:
        """Return the share of tries that gave a proof that stands."""
        return self.solved / self.tried


@dataclass(slots=True)
class Added:
    """What became of one run's records."""

    new: int = 0  # proofs that were not in the library
    known: int = 0  # proofs that were
    refused: int = 0  # stored successes that do not stand today
    other: int = 0  # records of other domains than Rocq
    failed: dict[str, str] = field(default_factory=dict)  # source file -> why its records could not be checked


@dataclass(frozen=True, slots=True)
class _Record:
    origin: str
    found: Found
    trajectory: Trajectory


@contextmanager
def opened(path: Path, *, make: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a library for one transaction: what the block did is kept as a whole, or not at all.

    Raises DataError where there is none (unless `make`), or the file is something else.
    """
    if make and not path.exists():
        _make(path)
    if not path.is_file():
        found = "a folder; name a file" if path.is_dir() else "none; make one with `surpass proofs library add RUN`"
        raise DataError(f"expected a proof library in {path}, found {found}")
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as base:
            base.execute("BEGIN IMMEDIATE" if make else "BEGIN")
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                raise DataError(f"expected a proof library of version {_VERSION} in {path}, found another file")
            yield base
            base.execute("COMMIT")
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: its message quotes what is damaged
        raise DataError(f"expected a proof library in {path}, found {error}; move that file away") from error


def _make(path: Path) -> None:
    """Make an empty library, as a whole or not at all; one that another process makes meanwhile is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        with closing(sqlite3.connect(fresh)) as base:
            base.executescript(f"{_SCHEMA}PRAGMA user_version = {_VERSION};")
        with suppress(FileExistsError):
            path.hardlink_to(fresh)


def add(
    path: Path,
    folder: Path,
    *,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    watch: Callable[[int, int], None] = lambda done, files: None,
) -> Added:
    """Check what a run has found and put it into the library; each source file's part is kept once it is done.

    `watch(done, files)` is told after each source file. A file whose records cannot be checked is reported, the others
    go on. Raises DataError where the folder is no run, or the library another file.
    """
    if path.exists():
        with opened(path):
            pass  # trouble with the library shows before any work
    Run.open(folder)
    added, files = Added(), defaultdict[str, list[_Record]](list)
    for part in parts(folder):
        for record in _records(folder, part):
            if record.trajectory.problem.data.keys() >= _POSED:
                files[str(record.trajectory.problem.data["file"])].append(record)
            else:
                added.other += 1
    with opened(path, make=True):
        pass  # the run can be read: from here on there is a library
    for done, (file, records) in enumerate(files.items(), start=1):
        try:
            _add_file(path, records, terms, added)
        except SurpassError as error:
            added.failed[file] = str(error)
        watch(done, len(files))
    return added


def proofs(base: sqlite3.Connection) -> Iterator[Proof]:
    """Yield all proofs, by name of the lemma and length. Raises DataError where a row is damaged."""
    found = defaultdict[str, list[Found]](list)
    for proof, run, part, policy, seed, date, seconds in base.execute(
        "SELECT proof, run, part, policy, seed, date, seconds FROM found ORDER BY date, run, part"
    ):
        with _whole(run, part, policy, seed, date):
            found[proof].append(Found(run, part, policy, seed, date, float(seconds)))
    rows = base.execute(
        "SELECT proofs.id, problem, context, features, script, trust, evidence FROM proofs JOIN lemmas "
        "ON lemmas.id = lemma ORDER BY key, lemma, length, script"
    )
    for row in rows:
        with _whole(*row):
            proof, problem, context, counts, script, trust, evidence = row
            posed, tactics = Problem(**json.loads(problem)), tuple(json.loads(script))
            if not posed.data.keys() >= _POSED:
                raise ValueError(f"expected {sorted(_POSED)} of {posed.key}, found {sorted(posed.data)}")
            features = {str(name): int(count) for name, count in json.loads(counts).items()}
            kept = Proof(posed, context, features, tactics, trust, evidence, tuple(found[proof]))
        yield kept


def difficulty(base: sqlite3.Connection) -> dict[str, Difficulty]:
    """Return how hard each lemma was that a run has tried, by problem key, the easiest first.

    Tries of lemmas with the same key (a file that has changed meanwhile) are added up. With the rates a curriculum
    starts where the runs ended: `curriculum.estimates |= {key: one.rate for key, one in difficulty(base).items()}`.
    """
    rows = base.execute(
        "WITH shown AS (SELECT key, min(length) AS shortest, count(*) AS proofs FROM proofs "
        "JOIN lemmas ON lemmas.id = lemma GROUP BY key), "
        "asked AS (SELECT key, nullif(min(json_array_length(problem, '$.data.solution')), 0) AS human, "
        "sum(tried) AS tried, sum(solved) AS solved FROM tries JOIN lemmas ON lemmas.id = lemma GROUP BY key) "
        "SELECT asked.key, shortest, human, coalesce(proofs, 0), tried, solved FROM asked LEFT JOIN shown USING (key)"
    )
    told = list[Difficulty]()
    for key, shortest, human, kept, tried, solved in rows:
        with _whole(key):
            if not tried >= 1:
                raise ValueError(f"expected tries of {key}, found {tried}")
            told.append(Difficulty(key, shortest, human, kept, tried, solved))
    told.sort(key=lambda one: (-one.rate, one.shortest is None, one.shortest or 0, one.key))
    return {one.key: one for one in told}


@contextmanager
def _whole(*texts: object) -> Iterator[None]:
    """Read a row of which some columns are `texts`. Raises DataError where it is damaged: SQLite does not see all."""
    try:
        if not all(isinstance(one, str) for one in texts):
            raise TypeError(f"expected texts, found {texts}")
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"expected rows of a proof library, found one that is damaged ({error}); restore the file, or add the runs "
            "to a new one"
        ) from error


def context(place: Place) -> str:
    """Return a hash of all that Rocq has read of a file where a lemma stands, and of the file's logical name."""
    source = place.source
    return digest(source.top, source.noinit, [*sentences(source.file)[: place.position]])


def _records(folder: Path, part: Run) -> Iterator[_Record]:
    """Yield the records of a part of a run with where they come from; none where it has no record."""
    file = part.trajectories_path
    if not file.exists():
        return
    with file.open("rb") as lines:
        origin = digest(lines.readline().decode(errors="replace"))
    config = part.config() if (part.path / "config.json").exists() else {}
    name = part.path.relative_to(folder).as_posix()
    unnamed = folder.resolve().name if name == "." else name
    policy = next((str(config[word]) for word in ("policy", "arm", "experiment") if word in config), unnamed)
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(file.stat().st_mtime))
    for trajectory in part.trajectories():
        info = trajectory.info
        seconds = float(info.get("seconds", 0.0))
        found = Found(str(folder.resolve()), name, policy, str(info.get("seed", "")), date, seconds)
        yield _Record(origin, found, trajectory)


def _add_file(path: Path, records: Iterable[_Record], terms: Terms, added: Added) -> None:
    """Check the successes among the records of one source file, then write all that they say in one transaction."""
    lemmas, tried = dict[str, tuple[Problem, str]](), defaultdict[tuple[str, str], list[str]](list)
    claims, finds = dict[str, tuple[str, Trajectory]](), dict[tuple[str, str], Found]()
    contexts = dict[Place, str]()
    for record in records:
        problem = relocated(record.trajectory.problem, terms.sources)
        place = Place.of(problem)
        if place not in contexts:
            check_statement(place)
            contexts[place] = context(place)
        what = [contexts[place], place.pose, place.preamble, str(problem.data["name"])]
        lemma = digest(*what, sorted(problem.data.get("assumptions", ())))
        lemmas.setdefault(lemma, (problem, contexts[place]))
        proof = ""
        if record.trajectory.solved:
            proof = digest(lemma, [normalise(action) for action in record.trajectory.actions])
            claims.setdefault(proof, (lemma, replace(record.trajectory, problem=problem)))
            finds.setdefault((proof, record.origin), record.found)
        tried[lemma, record.origin].append(proof)
    said = judge_again([claim for _, claim in claims.values()], terms=replace(terms, sources=None))
    standing = dict[str, tuple[str, Trajectory, str]]()
    for (proof, (lemma, claim)), verdict in zip(claims.items(), said, strict=True):
        if verdict.status is Status.ACCEPTED and _level(verdict.evidence) in TRUSTED:
            standing[proof] = lemma, claim, verdict.evidence
        else:
            added.refused += 1
    with opened(path, make=True) as base:
        for lemma, (problem, where) in lemmas.items():
            base.execute("INSERT OR IGNORE INTO lemmas VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(lemma, problem, where))
        for proof, (lemma, claim, evidence) in standing.items():
            script = [normalise(action) for action in claim.actions]
            row = (proof, lemma, json.dumps(script), len(script), _level(evidence), evidence)
            new = base.execute("INSERT OR IGNORE INTO proofs VALUES (?, ?, ?, ?, ?, ?)", row).rowcount
            base.execute("UPDATE proofs SET trust = ?5, evidence = ?6 WHERE id = ?1 AND trust < ?5", row)
            added.new, added.known = added.new + new, added.known + 1 - new
        for (proof, origin), find in finds.items():
            if proof in standing:
                values = (proof, origin, find.run, find.part, find.policy, find.seed, find.date, find.seconds)
                base.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        for (lemma, origin), claimed in tried.items():
            solved = sum(proof in standing for proof in claimed)
            base.execute("INSERT OR REPLACE INTO tries VALUES (?, ?, ?, ?)", (lemma, origin, len(claimed), solved))


def _row(lemma: str, problem: Problem, where: str) -> tuple[str, ...]:
    data = {name: value for name, value in problem.data.items() if name not in _LEFT_OUT}
    goals = str(data["goals"])
    whole = LINE.encode({"key": problem.key, "group": problem.group, "data": data})
    statement = str(data["statement"])
    return lemma, problem.key, str(data["top"]), statement, goals, where, LINE.encode(features(goals)), whole


def _level(evidence: str) -> str:
    """Return the trust level that the evidence of a Rocq verdict names, empty where it names none."""
    return evidence.split("; ")[1] if evidence.startswith("rocq ") and evidence.count("; ") else ""
