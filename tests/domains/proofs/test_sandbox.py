"""What a confined process tries, it fails at, level by level; and provers are confined."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from surpass import cli
from surpass.domains.proofs import launch, sandbox
from surpass.domains.proofs.rocq import protocol
from surpass.domains.proofs.rocq.protocol import CommandFailed, DeadlinePassed, Limits, Toplevel
from surpass.domains.proofs.sandbox import LEVELS, confined, environment, refusal
from surpass.errors import ConfigError
from tests.domains.proofs.rocq.lemmas import needs_rocq

OFFERED = [level for level in LEVELS if not refusal(level)]
USERS = [level for level in OFFERED if "user" in level]
NAMESPACES = [level for level in OFFERED if "namespaces" in level]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder in which everybody may write."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    folder.chmod(0o777)
    for part in (tmp_path, *tmp_path.parents[:2]):
        part.chmod(0o755)
    return folder


def shell(script: str, folder: Path, level: str, **limits: int) -> subprocess.CompletedProcess[str]:
    """Run a script at a level, as a prover is run."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    command = confined(["sh", "-c", script], str(scratch), level=level, **limits)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env=environment(str(scratch))
    )


def gone(name: str) -> bool:
    until = time.monotonic() + 5
    while any(name in one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"]):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_the_weakest_level_works_everywhere_and_the_strongest_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sandbox.CHOICE, raising=False)
    assert LEVELS[-1] in OFFERED
    assert sandbox.level() == OFFERED[0]
    assert all(level == LEVELS[-1] or level.startswith(LEVELS[-1] + "+") for level in LEVELS)
    assert sandbox.REMEDIES.keys() == set(LEVELS)


def test_a_level_may_be_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sandbox.CHOICE, LEVELS[-1])
    assert sandbox.level() == LEVELS[-1]
    monkeypatch.setenv(sandbox.CHOICE, "moat")
    with pytest.raises(ConfigError, match="found 'moat'"):
        sandbox.level()
    monkeypatch.setattr(sandbox, "refusal", lambda level: "unshare: Operation not permitted")
    monkeypatch.setenv(sandbox.CHOICE, LEVELS[0])
    with pytest.raises(ConfigError, match="Operation not permitted; see surpass doctor"):
        sandbox.level()
    monkeypatch.delenv(sandbox.CHOICE)
    with pytest.raises(ConfigError, match="Operation not permitted; see surpass doctor"):
        sandbox.level()


def test_scratch_folders_of_another_machine_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    with monkeypatch.context() as elsewhere:  # two machines number their first namespace alike
        elsewhere.setattr(sandbox, "_BOOT", tmp_path / "none")
        theirs = Path(sandbox.scratch())
    ours = Path(sandbox.scratch())
    left = [folder.rename(str(folder).replace(f"-{os.getpid()}-", f"-{ended.pid}-")) for folder in (theirs, ours)]
    assert sandbox.abandoned() == left[1:]


def test_where_the_kernel_refuses_a_weaker_level_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sandbox.CHOICE, raising=False)
    monkeypatch.setattr(sandbox, "refusal", lambda level: "no" if "namespaces" in level else "")
    assert sandbox.level() == "rlimit+scratch+user"


def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_LAUNCH", "/nowhere/launch.py")
    assert "/nowhere/launch.py" in refusal.__wrapped__(LEVELS[0])


@pytest.mark.parametrize("level", OFFERED)
def test_every_level_leaves_a_folder_to_write_in_and_what_the_caller_may_read(level: str, tmp_path: Path) -> None:
    private = tmp_path / "private.v"
    private.write_text("Lemma a : True.")
    private.chmod(0o600)
    done = shell(f"echo b > mine && cat mine {private} && pwd", tmp_path, level)
    assert done.stdout.split("\n") == ["b", f"Lemma a : True.{tmp_path / 'scratch'}", ""]
    assert done.stderr == ""


@pytest.mark.parametrize("level", OFFERED)
def test_every_level_bounds_memory_files_time_and_privileges(level: str, tmp_path: Path) -> None:
    script = "ulimit -v; ulimit -t; ulimit -c; grep -c 'NoNewPrivs:.1' /proc/self/status; truncate -s 300M big"
    done = shell(script, tmp_path, level, memory=500 << 20, cpu=7)
    assert done.stdout.split() == [str(500 << 10), "7", "0", "1"]
    assert done.returncode != 0
    assert "File too large" in done.stderr


@pytest.mark.parametrize("level", OFFERED)
def test_every_level_ends_with_its_caller(level: str, tmp_path: Path) -> None:
    """A caller whose number is not that of the parent has gone before it was asked after."""
    command = confined(["true"], str(tmp_path), level=level)
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, "the caller has gone\n")


@pytest.mark.parametrize("level", USERS)
def test_another_user_changes_no_file_and_reaches_no_process_of_ours(level: str, tmp_path: Path) -> None:
    ours = tmp_path / "ours.v"
    ours.write_text("Lemma a : True.")
    done = shell(f"id -u; echo b > {ours}; rm -f {ours}; chmod 777 {ours}; kill -0 {os.getpid()}", tmp_path, level)
    assert int(done.stdout) > 2_000_000_000
    assert done.returncode != 0
    assert done.stderr.count("denied") + done.stderr.count("permitted") + done.stderr.count("Read-only") == 4
    assert ours.read_text() == "Lemma a : True."
    other = shell("id -u", tmp_path, level)
    assert other.stdout != done.stdout


@pytest.mark.parametrize("level", OFFERED if os.geteuid() else USERS)  # the kernel sets root itself no such limit
def test_processes_are_few(level: str, tmp_path: Path) -> None:
    if level == LEVELS[-1]:
        pytest.skip("processes of one's own user are not counted apart")
    done = shell("for i in $(seq 100); do sleep 2 >&- 2>&- & done; echo started", tmp_path, level)
    assert "started" not in done.stdout
    assert "fork" in done.stderr


@pytest.mark.parametrize("level", NAMESPACES)
def test_namespaces_leave_one_folder_writable_and_it_is_small(level: str, tmp_path: Path, elsewhere: Path) -> None:
    script = f"""
        for place in {elsewhere} /tmp /var/tmp /dev/shm $HOME/..; do echo x > $place/escaped && echo $place; done
        i=0; while head -c 60000000 /dev/zero > part$i && [ $i -lt 9 ]; do i=$((i+1)); done; echo parts $i
    """
    done = shell(script, tmp_path, level)
    assert done.stdout == "parts 4\n", done.stderr
    assert not any(elsewhere.iterdir())
    assert not any((tmp_path / "scratch").iterdir())  # it was in memory


@pytest.mark.parametrize("level", OFFERED)
def test_the_network_is_reached_from_outside_namespaces_alone(level: str, tmp_path: Path) -> None:
    script = "exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached"
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "scratch").mkdir()
        told = script.format(port=server.getsockname()[1])
        command = confined(["bash", "-c", told], str(tmp_path / "scratch"), level=level)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout == "reached\n") is ("namespaces" not in level)


REACH = """
import os, socket, sys
folder = sys.argv[1]
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for make in (lambda: socket.socket(socket.AF_UNIX, kind), lambda: socket.socketpair(socket.AF_UNIX, kind)[0]):
        try:
            with make() as one:
                one.connect(folder + ("/stream" if kind == socket.SOCK_STREAM else "/datagram"))
                one.send(b"x")
            print("socket", int(kind))
        except OSError as refused:
            print(refused, file=sys.stderr)
try:
    os.write(os.open(folder + "/pipe", os.O_WRONLY | os.O_NONBLOCK), b"x")
    print("pipe")
except OSError as refused:
    print(refused, file=sys.stderr)
"""


@pytest.mark.parametrize("level", OFFERED)
def test_sockets_and_pipes_of_the_caller_are_reached_from_outside_namespaces_alone(level: str) -> None:
    landlock = launch._libc.syscall(launch._LANDLOCK_CREATE, None, 0, launch._LANDLOCK_VERSION) > 0
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:  # the name of a socket is short
        os.chmod(place, 0o755)
        for kind, name in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_DGRAM, "datagram")):
            server = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            server.bind(f"{place}/{name}")
            os.chmod(f"{place}/{name}", 0o777)  # for another user too
            if kind == socket.SOCK_STREAM:
                server.listen()
        os.mkfifo(f"{place}/pipe")
        os.chmod(f"{place}/pipe", 0o666)
        reader = os.open(f"{place}/pipe", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, reader)
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        command = confined([sys.executable, "-I", "-S", "-c", REACH, place], scratch, level=level)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    reached = ["socket 1", "socket 2", "socket 2", "pipe"]  # a stream of a pair is connected already
    if "namespaces" in level:
        reached = [] if landlock else ["pipe"]
    assert done.stdout.splitlines() == reached, done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("level", NAMESPACES)
def test_what_detaches_itself_ends_with_the_prover(level: str, tmp_path: Path) -> None:
    seconds = f"{7000 + os.getpid() % 1000}.25"  # a name to find it by
    script = f"setsid sleep {seconds} >&- 2>&- & (setsid setsid sleep {seconds} >&- 2>&- &) ; echo started"
    assert shell(script, tmp_path, level).stdout == "started\n"
    assert gone(seconds)


def test_a_prover_that_is_killed_while_it_starts_leaves_no_process() -> None:
    """The first process of a namespace, late in asking to end with the prover, finds that it has gone."""
    script = """
import os, time
from surpass.domains.proofs import launch
class Late:
    def prctl(self, *asked): time.sleep(0.5); return libc.prctl(*asked)
libc, launch._libc = launch._libc, Late()
print(os.getpid(), flush=True)
launch._be_alone()
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = f"surpass-{process.stdout.readline().strip()}"
        time.sleep(0.2)
        process.kill()
    time.sleep(1)
    left = [one for one in psutil.process_iter(["cmdline"]) if name in (one.info["cmdline"] or ())]
    for one in left:
        one.kill()
    assert left == []


@needs_rocq[0]
@needs_rocq[1]
class TestProvers:
    """Commands that the text rules would have kept from the prover, said to it all the same."""

    @pytest.mark.parametrize("level", OFFERED)
    def test_a_file_is_written_into_the_scratch_folder_alone(
        self, level: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(sandbox.CHOICE, level)
        with Toplevel() as top:
            top.run('Redirect "here" Print nat.')
            scratch = Path(f"/proc/{top.pid}/cwd").resolve()
            assert Path(f"/proc/{top.pid}/cwd/here.out").is_file()
            top.run("Require Extraction.")
            for command in (f'Redirect "{elsewhere}/stolen" Print nat.', f'Extraction "{elsewhere}/stolen.ml" nat.'):
                if "namespaces" in level:
                    with pytest.raises(CommandFailed, match="Read-only"):
                        top.run(command)
                else:
                    top.run(command)
        assert not scratch.exists()
        assert bool([*elsewhere.iterdir()]) is ("namespaces" not in level)

    @pytest.mark.parametrize("level", USERS)
    def test_the_files_of_others_are_read_and_not_changed(
        self, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(sandbox.CHOICE, level)
        tmp_path.chmod(0o700)
        (tmp_path / "Private.v").write_text("Definition secret := 3.")
        subprocess.run(["coqc", "-R", ".", "Mine", "Private.v"], cwd=tmp_path, check=True, timeout=60)
        with Toplevel(options=["-R", str(tmp_path), "Mine"]) as top:
            top.run("Require Mine.Private.")
            with pytest.raises(CommandFailed, match=r"denied|Read-only"):
                top.run(f'Redirect "{tmp_path}/Private" Print nat.')
        assert not (tmp_path / "Private.out").exists()

    @pytest.mark.parametrize("level", OFFERED)
    def test_a_flood_of_output_is_cut(self, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(sandbox.CHOICE, level)
        monkeypatch.setattr(protocol, "_LARGEST", 1 << 20)
        with Toplevel(limits=Limits(call=30)) as top:
            top.run("Goal True.")
            began = time.monotonic()
            with pytest.raises(DeadlinePassed, match="1 MB of answer"):
                top.run('do 100000 idtac "a flood of output that says nothing at all".')
            assert time.monotonic() - began < 20
            assert not psutil.pid_exists(top.pid)


def test_the_doctor_names_every_level(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sandbox.CHOICE, LEVELS[-1])
    assert cli.main(["doctor"]) == 0
    told = "".join(capsys.readouterr().out.split())
    assert "sandbox" in told
    monkeypatch.setenv(sandbox.CHOICE, "moat")
    assert cli.main(["doctor"]) == 0
    assert f"unset {sandbox.CHOICE}" in capsys.readouterr().out
