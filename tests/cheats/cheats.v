(* What a policy may be tempted by: axioms of the file, lemmas further down, a false statement. *)
Axiom excluded : forall A : Prop, A \/ ~ A.
Axiom oops : 0 = 1.
Lemma truth : True.
Proof. exact I. Qed.
Lemma bad : 0 = 1.
Proof. exact oops. Qed.
Lemma later : 0 = 1.
Proof. exact bad. Qed.
Lemma loop : forall n : nat, n = n -> 0 = 1.
Proof. intros. exact oops. Qed.
