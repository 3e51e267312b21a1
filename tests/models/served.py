"""A real chat server for tests, `transformers serve` with a tiny model made here, and a proxy that injects faults."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from surpass.models.scripted_server import PATH, ChatServer, Said

PROGRAM = Path(sys.executable).parent / "transformers"
TEMPLATE = "{% for one in messages %}<{{ one.role }}>{{ one.content }}{% endfor %}<answer>"


def save_model(folder: Path, answer: Sequence[str]) -> Path:
    """Save a tiny chat model that answers with these words, joined by blanks: its next token depends on the last alone.

    A one-layer Llama with one-hot embeddings; attention and feed-forward are random and add nothing.
    """
    words = [f"Ġ{word}" if place else word for place, word in enumerate(answer)]
    special = ["<answer>", "<end>"]
    vocabulary = {
        token: number for number, token in enumerate([*pre_tokenizers.ByteLevel.alphabet(), *special, *words])
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    size = -(-len(vocabulary) // 8) * 8
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=1 << 15,
        bos_token_id=None,
        eos_token_id=vocabulary["<end>"],
        pad_token_id=vocabulary["<end>"],
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        chain = [vocabulary[token] for token in ("<answer>", *words, "<end>")]
        head = 0.01 * torch.randn(size, size)
        for here, there in pairwise(chain):
            head[there, here] = 5.0
        model.lm_head.weight.copy_(head)
        model.save_pretrained(folder)
    return folder


@contextmanager
def serving(folder: Path, home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `transformers serve` and yield its base URL and its process, once it answers."""
    (home / "hub").mkdir(parents=True)  # without the folder of the cache it fails to list models
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(PROGRAM), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | place, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 120
            while not _healthy(port):
                if server.poll() is not None or time.monotonic() > end:
                    raise AssertionError((home / "log").read_text()[-2000:])
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1", server
        finally:
            server.kill()
            server.wait()


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def proxy(upstream: str, faults: Mapping[int, Said] = {}) -> ChatServer:
    """Return a server that hands requests on, except those (by number, from 0) for which there is a fault."""
    count = iter(range(1 << 30))

    def answer(body: Mapping[str, Any]) -> Said:
        fault = faults.get(next(count))
        return _handed_on(upstream, body) if fault is None else fault

    return ChatServer(answer)


def _handed_on(upstream: str, body: Mapping[str, Any]) -> Said:
    parts = urlsplit(upstream)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("POST", PATH, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException):
        return Said(drop=0)  # the server has died
    finally:
        connection.close()
    kind = response.headers.get("content-type", "text/plain")
    return Said(status=response.status, headers={"content-type": kind}, body=content)
