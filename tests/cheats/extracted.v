(* What a file may tempt with where its lemmas are extracted, and have human proofs: axioms and hypotheses of others. *)
Axiom oops : 0 = 1.
Axiom ax : True.
Module M.
Axiom ax : 5 = 6.
End M.
#[bypass_check(guard)] Fixpoint spin (n : nat) : 0 = 1 := spin n.
Lemma closed : 3 = 3.
Proof. reflexivity. Qed.
Lemma with_ax : True /\ 1 = 1.
Proof. split. exact ax. reflexivity. Qed.
Lemma with_other_ax : 5 = 6.
Proof. exact M.ax. Qed.
Lemma with_oops : 0 = 1.
Proof. exact oops. Qed.
Lemma with_spin : 0 = 1.
Proof. exact (spin 0). Qed.
Lemma both : forall n : nat, n = n with too : forall n : nat, 0 = n -> n = 0.
Proof. intro n; reflexivity. intros n H; symmetry; exact H. Qed.
Section Inside.
Variable A : Type.
Hypothesis contra : 0 = 1.
Lemma inside : forall x : A, x = x /\ 1 + 1 = 2.
Proof. intro x; split; reflexivity. Qed.
Lemma with_contra : 2 = 3.
Proof. discriminate contra. Qed.
Let local : 1 = 1.
Proof. reflexivity. Qed.
End Inside.
Unset Guard Checking.
Lemma unguarded : 2 = 3 -> 0 = 1.
Proof. discriminate. Qed.
