"""A small Rocq file of our own, and its lemmas as problems."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from surpass.core import Problem
from surpass.domains.proofs.rocq.sentences import split
from surpass.domains.proofs.rocq.session import Place, Pool, SessionOptions

needs_rocq = [
    pytest.mark.rocq,
    pytest.mark.skipif(shutil.which("coqidetop.opt") is None, reason="needs coqidetop.opt (apt-get install coq)"),
]

SOURCE = """
(* Lemmas. Of our own. *)
Axiom choice : forall A : Prop, A \\/ ~ A.
Axiom other : 0 = 0.
Lemma first : forall n : nat, n = n.
Proof. intros n. reflexivity. Qed.
Section S.
Variable P : Prop.
Hypothesis p : P.
Lemma second : P /\\ True.
Proof. split. - exact p. - exact I. Qed.
End S.
Definition two : nat. Proof. exact 2. Defined.
Lemma third : two = 2.
Proof. unfold two. reflexivity. Qed.
Lemma classic : True \\/ False.
Proof with auto. destruct (choice True); [left | right]... Qed.
Lemma last : forall n m : nat, n + m = m + n.
Proof. induction n; simpl. { auto. } { intros m; rewrite IHn; auto. } Qed.
"""
ALLOWED = {"classic": ["choice"]}  # by lemma; everything else is closed


def problems(folder: Path, source: str = SOURCE) -> dict[str, Problem]:
    """Write the file, ask the prover for the initial goals, and return its lemmas by name."""
    file = folder / "Small.v"
    file.write_text(source, encoding="utf-8")
    texts = [sentence.text for sentence in split(source)]
    found = dict[str, Problem]()
    with Pool(SessionOptions(timeout=10)) as pool:
        for position, text in enumerate(texts):
            if not (match := re.match(r"Lemma (\w+)", text)):
                continue
            end = texts.index("Qed.", position)
            opening = texts[position + 1]
            assert opening.startswith("Proof")
            data = {"file": str(file), "top": "Small", "noinit": False, "options": [], "position": position}
            data |= {"statement": text, "opening": opening, "name": f"Small.{match[1]}"}
            data |= {"solution": texts[position + 2 : end], "assumptions": ALLOWED.get(match[1], [])}
            data["goals"] = pool.goals(Place.of(Problem(match[1], data=data))).text
            found[match[1]] = Problem(f"Small.{match[1]}", str(file), data)
    return found
