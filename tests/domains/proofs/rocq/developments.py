"""A small development of our own, compiled and extracted: lemmas enough for every split, and for every mutation."""

from __future__ import annotations

import subprocess
from pathlib import Path

from surpass.domains.proofs.rocq.extraction import ExtractConfig, extract

NUMBERS = """
Lemma add_zero : forall n : nat, n + 0 = n.
Proof. intros n. induction n. reflexivity. simpl. rewrite IHn. reflexivity. Qed.
Lemma zero_zero : 0 + 0 = 0.
Proof. reflexivity. Qed.
Lemma mul_zero : forall n : nat, n * 0 = 0.
Proof. intros n. induction n. reflexivity. simpl. exact IHn. Qed.
Lemma weaken : forall P Q : Prop, P /\\ Q -> P.
Proof. intros P Q H. destruct H. assumption. Qed.
Lemma either : forall P Q : Prop, P -> P \\/ Q.
Proof. intros P Q H. left. assumption. Qed.
Lemma swap_and : forall P Q : Prop, P /\\ Q -> Q /\\ P.
Proof. intros P Q H. destruct H. split. assumption. assumption. Qed.
"""


def numbers(root: Path, out: Path, *, more: int = 24, name: str = "N") -> Path:
    """Write `Num.v`, with `more` lemmas that are alike, compile it as `name` and extract it; return the corpus."""
    alike = [
        f"Lemma step_{i} : forall n : nat, n = {i} -> S n = {i + 1}.\nProof. intros n H. rewrite H. reflexivity. Qed.\n"
        for i in range(more)
    ]
    file = root / "Num.v"
    file.write_text(NUMBERS + "".join(alike), encoding="utf-8")
    subprocess.run(["coqc", "-q", "-R", str(root), name, str(file)], check=True, capture_output=True)
    extract(ExtractConfig(path=str(root), name=name, out=str(out), jobs=1))
    return out
