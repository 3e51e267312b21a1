"""A society of your own, from a Python function, a PettingZoo environment, or a program: rates in, metrics out.

    from_function(simulate, {"tax": (0, 1)})             simulate({"tax": 0.2}, seed) -> {"welfare": 3.1, "gini": 0.4}
    from_pettingzoo(make_env, {"tax": (0, 1)}, apply)    apply(env, {"tax": 0.2}) before each episode
    from_program(["./model"], {"tax": (0, 1)})           reads {"rates": {"tax": 0.2}, "seed": 7}
                                                         prints {"welfare": 3.1, "gini": 0.4}

Each is a `Society`, which `Policymaking` makes a domain. What raises, dies, hangs, prints something else or numbers
that are not finite raises SocietyError: UNKNOWN with the reason, never a zero. `docs/howto-economy.md` shows each in
use. Not here: a sandbox; a program runs with your rights.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from surpass.domains.economy.accounting import gini
from surpass.domains.economy.society import Context, Metrics, Rate, Society, SocietyError, checked, metrics_of
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

Ranges = Mapping[str, tuple[float, float]]  # by name of the rate: from, to
MOST = 1 << 20  # bytes of output that are read
PAUSE = 0.1  # seconds between looks at a quiet program


@dataclass(frozen=True, slots=True)
class _Asked:
    """A society that is one function of named rates and a seed."""

    source: str
    rates: tuple[Rate, ...]
    ask: Callable[[dict[str, float], int], object]

    def context(self, seed: int) -> Context:
        return ()

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        named = dict(zip((rate.name for rate in self.rates), checked(rates, self.rates), strict=True))
        return metrics_of(self.ask(named, seed), self.source)


def from_function(function: Callable[[dict[str, float], int], object], rates: Ranges) -> Society:
    """Return the society of a function from named rates and a seed to a welfare, or to a mapping with `welfare`."""
    name = getattr(function, "__name__", type(function).__name__)

    def ask(named: dict[str, float], seed: int) -> object:
        try:
            return function(named, seed)
        except Exception as error:  # whatever a function of others raises: it is not the fault of the rates
            raise SocietyError(f"{name} raised {type(error).__name__}: {error}") from error

    return _Asked(name, _rates(rates), ask)


def from_pettingzoo(
    make: Callable[[], Any],
    rates: Ranges,
    apply: Callable[[Any, dict[str, float]], object],
    *,
    act: Callable[[str, Any, int], Any] | None = None,
    earned: str = "",
    episodes: int = 1,
    steps: int = 10_000,
) -> Society:
    """Return the society of a PettingZoo parallel environment and its agents.

    `apply` hands rates to a new environment before it is reset. `act(agent, observation, seed)` plays an agent; without
    it agents act at random. Welfare is the mean over agents of what they earned in an episode, mean over `episodes`:
    the rewards, or infos[agent][`earned`] where rewards are after taxes. Stops an episode after `steps`.
    """
    for name, number in (("episodes", episodes), ("steps", steps)):
        if number < 1:
            raise ConfigError(f"{name}: expected 1 or more, found {number}")

    def simulate(named: dict[str, float], seed: int) -> object:
        env = make()
        try:
            apply(env, named)
            totals = [_episode(env, derive_seed(seed, episode), act, earned, steps) for episode in range(episodes)]
        finally:
            env.close()
        by_agent = np.array([list(total.values()) for total in totals])
        shares = gini(by_agent.mean(0))
        told = {"welfare": by_agent.mean(), "lowest": by_agent.mean(0).min(), "highest": by_agent.mean(0).max()}
        return told | ({"gini": float(shares)} if np.isfinite(shares) else {})

    simulate.__name__ = "the environment"
    return from_function(simulate, rates)


def _episode(
    env: Any, seed: int, act: Callable[[str, Any, int], Any] | None, earned: str, steps: int
) -> dict[str, float]:
    """Play one episode and return what each agent earned."""
    begun = env.reset(seed=seed % 2**31)
    if begun is None:
        raise TypeError("expected a parallel environment; pettingzoo.utils.aec_to_parallel makes one of another")
    observations, _ = begun
    for agent in env.possible_agents:
        env.action_space(agent).seed(derive_seed(seed, agent) % 2**31)
    totals = dict.fromkeys(env.possible_agents, 0.0)
    for step in range(steps):
        if not env.agents:
            break
        actions = {
            agent: act(agent, observations[agent], derive_seed(seed, agent, step))
            if act
            else env.action_space(agent).sample()
            for agent in env.agents
        }
        observations, rewards, _, _, infos = env.step(actions)
        for agent, reward in rewards.items():
            if earned and earned not in infos[agent]:
                raise LookupError(f"expected {earned!r} in the infos of {agent}, found {[*infos[agent]]}")
            totals[agent] += infos[agent][earned] if earned else reward
    return totals


def from_program(command: Sequence[str], rates: Ranges, *, timeout: float = 60.0) -> Society:
    """Return the society of a program, started anew for each term with no shell between.

    It reads one JSON object, {"rates": {name: number}, "seed": number}, from its standard input until the end, and
    prints one with `welfare` and other numbers; what it logs belongs on its standard error. It and its children are
    killed after `timeout` seconds.
    """
    if not command or isinstance(command, str) or not all(isinstance(part, str | os.PathLike) for part in command):
        raise ConfigError(f"command: expected a list of a program and its arguments, all text, found {command!r}")
    if not timeout > 0:
        raise ConfigError(f"timeout: expected seconds above 0, found {timeout}")

    def ask(named: dict[str, float], seed: int) -> object:
        text = json.dumps({"rates": named, "seed": seed})
        code, output, log = _run(command, text.encode(), timeout)
        if code:
            raise SocietyError(f"{command[0]} ended with {code}: {log[-300:].strip() or 'it said nothing'}")
        try:
            told = json.loads(output)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise SocietyError(f"{command[0]}: expected a JSON object and nothing else, found {output[:80]!r}")
        return told

    return _Asked(command[0], _rates(rates), ask)


def _rates(ranges: Ranges) -> tuple[Rate, ...]:
    if not ranges:
        raise ConfigError("rates: expected at least one, found none")
    found = list[Rate]()
    for name, ends in ranges.items():
        try:
            low, high = map(float, ends)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"rates: {name}: expected two numbers, from and to, found {ends!r}") from error
        found.append(Rate(name, low, high))
    return tuple(found)


def _run(command: Sequence[str], text: bytes, timeout: float) -> tuple[int, str, str]:
    """Run a program on a text; return its exit code, output and log. Raises SocietyError if it does not end."""
    try:
        program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise SocietyError(f"{command[0]} cannot be started: {error}") from error
    try:
        return _talk(program, command[0], text, time.monotonic() + timeout, timeout)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)  # its children, too
        for pipe in (program.stdin, program.stdout, program.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        program.wait()


def _talk(program: subprocess.Popen[bytes], name: str, text: bytes, end: float, timeout: float) -> tuple[int, str, str]:
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    with suppress(BrokenPipeError):  # it may end without reading
        program.stdin.write(text)  # shorter than a pipe holds
        program.stdin.close()
    heard = {program.stdout: bytearray(), program.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in heard:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > end:
                raise SocietyError(f"{name} did not end within {timeout:g} s")
            ready = selector.select(PAUSE)
            for key, _ in ready:
                pipe = program.stdout if key.fileobj is program.stdout else program.stderr
                part = os.read(pipe.fileno(), 1 << 16)
                heard[pipe] += part
                if not part:
                    selector.unregister(pipe)
                if len(heard[pipe]) > MOST and pipe is program.stdout:
                    raise SocietyError(f"{name} printed more than {MOST} bytes")
                del heard[program.stderr][:-MOST]
            if not ready and program.poll() is not None:  # a child of it may hold the pipes
                break
    try:
        code = program.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise SocietyError(f"{name} did not end within {timeout:g} s") from None
    output, log = (heard[pipe].decode(errors="replace") for pipe in (program.stdout, program.stderr))
    return code, output, log
