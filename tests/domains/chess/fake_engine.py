"""A UCI engine that plays the first legal move, until it does what its first argument says.

dies, hangs, illegal, none, endless: at every `go`. dies-once: at the first `go` after which the file of the second
argument is there. mute: never says uciok. chatty: says much that is no protocol. judge, judge-dies, judge-dies-once:
has the options of a judge and gives every legal move a score, unless it dies.
"""

import sys
import time
from pathlib import Path

import chess


def main() -> None:
    behaviour = sys.argv[1] if len(sys.argv) > 1 else ""
    board = chess.Board()
    for line in sys.stdin:
        words = line.split()
        if words[0] == "uci" and behaviour != "mute":
            if behaviour.startswith("judge"):
                print("\n".join(f"option name {one} type spin min 1 max 500" for one in ("Threads", "Hash", "MultiPV")))
            print("id name Fake\noption name Skill Level type spin default 0 min 0 max 20\nuciok", flush=True)
        elif words[0] == "isready":
            print("readyok", flush=True)
        elif words[0] == "position":
            at = words.index("moves") if "moves" in words else len(words)
            board = chess.Board(" ".join(words[2:at]) if words[1] == "fen" else chess.STARTING_FEN)
            for move in words[at + 1 :]:
                board.push_uci(move)
        elif words[0] == "go":
            go(behaviour, board)
        elif words[0] == "quit":
            return


def go(behaviour: str, board: chess.Board) -> None:
    if behaviour in ("dies", "judge-dies"):
        sys.exit(3)
    if behaviour.endswith("dies-once") and not Path(sys.argv[2]).exists():
        Path(sys.argv[2]).touch()
        sys.exit(3)
    if behaviour == "hangs":
        time.sleep(60)
    if behaviour == "endless":
        sys.stdout.write("x" * 3_000_000)
        sys.stdout.flush()
    if behaviour == "chatty":
        print("info score cp --5\ninfo score cp ²\ninfo score cp " + 5000 * "9")
        print("info score\ninfo score cp\ninfo string score cp x\n\n\xff\ninfo depth 1 score cp 17 lowerbound")
        print("info depth 1 score cp -31 pv e2e4\ninfo depth 2 score mate -2 pv e2e4")
    if behaviour.startswith("judge"):
        for number, one in enumerate(sorted(one.uci() for one in board.legal_moves)):
            print(f"info depth 1 multipv {number + 1} score cp {10 * number} pv {one}")
    move = {"illegal": "a1h8", "none": "(none)"}.get(behaviour) or min(one.uci() for one in board.legal_moves)
    print(f"bestmove {move} ponder e7e5", flush=True)


if __name__ == "__main__":
    main()
