"""A program that fences itself in and then becomes a prover: `launch.py LEVEL FOLDER CALLER MEMORY CPU COMMAND...`.

What each level means is said in `sandbox.py`, which also finds out what works on a machine. This file runs before every
prover, so it imports nothing of ours and little else (20 ms in all), and it ends in `exec`: the prover keeps the number
of this process. Whatever the kernel refuses ends it with status 1 and the reason; no level is weakened in silence.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
import sys

FILE = 256 << 20  # bytes of one written file, and of all together where the folder is in memory
PROCESSES = 32  # threads and processes, where they can be counted: a prover has two threads, `hammer` starts some
FIRST_USER = 2_000_000_000  # plus its process number: a user that nobody else is

_CLONE = {"NEWNS": 0x00020000, "NEWIPC": 0x08000000, "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000}
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x4000, 0x40000
_MOUNT_SETATTR, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY, _AT_FDCWD = 442, 0x8000, 0x1, -100  # one number on all processors
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 8, 24, 38, 47
_CAP_DAC_READ_SEARCH, _CAPABILITIES_V3 = 2, 0x20080522
# By processor: its number among architectures, and those of socket and socketpair.
_SOCKETS = {"x86_64": (0xC000003E, 41, 53), "aarch64": (0xC00000B7, 198, 199)}
_IO_URING_SETUP, _OTHER_TABLE = 425, 0x40000000  # another way to a socket; x86 has a second table of calls
_PR_SET_SECCOMP, _FILTER, _ALLOW, _REFUSE = 22, 2, 0x7FFF0000, 0x00050000 | errno.EACCES
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of a filter
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION, _LANDLOCK_BENEATH, _LANDLOCK_WRITE = 1, 1, 0x2

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read the arguments, fence this process in, and become the command."""
    level, folder, caller, memory, cpu, *command = sys.argv[1:]
    user, namespaces = "+user" in level, "+namespaces" in level
    if namespaces:
        _separate(own_users=not user)
        _only_writable(folder)
    for capability in range(_last_capability() + 1):
        if capability != _CAP_DAC_READ_SEARCH:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused, and not needed, without privileges
    if user:
        _be_nobody(folder)
    _end_with(int(caller))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    if namespaces:
        _write_beneath(folder, os.devnull)
        _no_sockets()
        _be_alone()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what it executes would inherit that
    os.chdir(folder)
    limits = {"AS": int(memory), "CPU": int(cpu), "CORE": 0, "FSIZE": FILE}
    if user or namespaces:
        limits["NPROC"] = PROCESSES
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    os.execvp(command[0], command)


def _separate(*, own_users: bool) -> None:
    """Leave the namespaces of the caller: its network, its mounts, shared memory, and processes for all we start.

    Without privileges this takes a user namespace, in which this process is nobody: no privileges outlive `exec`.
    """
    names = ("NEWNS", "NEWNET", "NEWIPC", "NEWPID", *(("NEWUSER",) if own_users else ()))
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(sum(_CLONE[name] for name in names)), "unshare")
    if own_users:
        for file, line in (("setgroups", "deny"), ("uid_map", f"65534 {uid} 1"), ("gid_map", f"65534 {gid} 1")):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as written:
                written.write(line)


def _only_writable(folder: str) -> None:
    """Make every mount read-only and put an empty file system in memory over `folder`."""
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
    read_only = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)  # set, clear, propagation, user namespace
    size = ctypes.c_size_t(ctypes.sizeof(read_only))
    done = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(read_only), size)
    _check(done, "read-only mounts")
    flags, options = _MS_NOSUID | _MS_NODEV, f"size={FILE},nr_inodes=10000,mode=700"
    _check(_libc.mount(b"surpass", os.fsencode(folder), b"tmpfs", flags, options.encode()), "scratch in memory")


def _no_sockets() -> None:
    """Refuse every new socket: one of a file (of a user's services) is reached through no network."""
    machine = os.uname().machine
    if machine not in _SOCKETS:
        sys.exit(f"sockets cannot be refused on {machine}")
    table, *calls = _SOCKETS[machine]
    calls.append(_IO_URING_SETUP)
    steps = [
        (_LOAD, 0, 0, 4),  # whose table of calls
        (_EQUAL, 0, len(calls) + 3, table),
        (_LOAD, 0, 0, 0),  # the call
        (_AT_LEAST, len(calls) + 1, 0, _OTHER_TABLE),
        *((_EQUAL, len(calls) - index, 0, call) for index, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(steps), ctypes.addressof(kept))
    _check(_libc.prctl(_PR_SET_SECCOMP, _FILTER, program, 0, 0), "no sockets")


def _write_beneath(*places: str) -> None:
    """Open for writing only what lies beneath these places: a pipe of a file is written to on a read-only mount too.

    Done where the kernel has Landlock, and left where it has not: see the table in rocq/README.md.
    """
    if _libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION) < 1:
        return
    handled = ctypes.c_uint64(_LANDLOCK_WRITE)
    rules = _libc.syscall(_LANDLOCK_CREATE, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    _check(rules, "Landlock")
    for place in places:
        at = os.open(place, os.O_PATH | os.O_CLOEXEC)
        beneath = struct.pack("=Qi", _LANDLOCK_WRITE, at)
        _check(_libc.syscall(_LANDLOCK_ADD, rules, _LANDLOCK_BENEATH, beneath, 0), f"Landlock, {place}")
        os.close(at)
    _check(_libc.syscall(_LANDLOCK_RESTRICT, rules, 0), "Landlock")
    os.close(rules)


def _be_nobody(folder: str) -> None:
    """Become a user that owns nothing but `folder`; it may still read what the caller may, or sources would be lost."""
    uid = FIRST_USER + os.getpid()
    os.chown(folder, uid, uid)
    os.setgroups([])
    _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    reading = 1 << _CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    sets = (ctypes.c_uint32 * 6)(reading, reading, reading, 0, 0, 0)  # effective, permitted, inheritable
    _check(_libc.capset(header, sets), "capability to read")
    _check(_libc.prctl(_PR_CAP_AMBIENT, 2, _CAP_DAC_READ_SEARCH, 0, 0), "capability to read")


def _end_with(caller: int) -> None:
    """Be killed when the thread that started this process ends; a change of user would have undone it."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "death signal")
    if os.getppid() != caller:  # it ended before we asked
        sys.exit("the caller has gone")


def _be_alone() -> None:
    """Start the first process of the new namespace: all others in it, however detached, are killed when it ends."""
    prover = os.getpid()
    ready, told = os.pipe()
    if os.fork() == 0:
        os.close(ready)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.write(told, b".")
        except BrokenPipeError:  # the prover was killed before it could take this process with it
            os._exit(1)
        for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
            os.dup2(os.open(os.devnull, mode), descriptor)
        os.closerange(3, 64)
        os.execlp("sleep", f"surpass-{prover}", "infinity")
    os.close(told)
    os.read(ready, 1)
    os.close(ready)


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def _check(answer: int, what: str) -> None:
    if answer < 0:
        error = ctypes.get_errno()
        sys.exit(f"{what}: {os.strerror(error)}")


if __name__ == "__main__":
    try:
        main()
    except OSError as refused:
        sys.exit(str(refused))
