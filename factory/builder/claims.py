"""Claims: how launches that know nothing of each other share the shards of one directory.

A claim is a small file in the output directory. Creating it is atomic, so one process gets it; its
holder rewrites it every few seconds while it works. Who waits for a claim watches it: when the file
has not changed for `expiry_s` of the watcher's own monotonic clock, its holder counts as dead, and
whoever creates the claim's next generation takes over. No wall clock is read and no two machines'
clocks are compared, so a clock that is wrong or goes backwards hurts nothing. A holder on the same
machine is asked for directly, so that a killed build goes on at once.

A claim saves work; it does not guard bytes. A holder that was only slow may draw a shard that
another took over: then the shard's own atomic creation decides, and one of them is thrown away.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from factory.builder import owner

EXPIRY_S = 60.0
MAX_EXPIRY_S = 86_400.0
_BEATS_PER_EXPIRY = 4


class ClaimStore(Protocol):
    """Where claims lie; every call is atomic."""

    def create(self, name: str, text: str) -> bool:
        """Create a file; return False where it exists."""

    def update(self, name: str, text: str) -> bool:
        """Rewrite a file; return False where it is gone."""

    def read(self, name: str) -> str | None:
        """Return a file's text, or None where there is none."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def names(self) -> list[str]:
        """Return the names of all files."""


@dataclass
class Claim:
    """A claim that is held; `generation` counts those who held it before and died."""

    name: str
    generation: int
    beats: int = 0

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{self.name}.{self.generation}"


@dataclass(frozen=True)
class _Seen:
    text: str
    since: float
    is_first: bool


class Claims:
    """The claims of one process."""

    def __init__(
        self,
        store: ClaimStore,
        *,
        launch: str,
        expiry_s: float = EXPIRY_S,
        clock: Callable[[], float] = time.monotonic,
        identity: str | None = None,
        is_dead: Callable[[str], bool] = owner.is_dead,
    ) -> None:
        """Hold nothing yet.

        Args:
            store: Where claims lie.
            launch: Name of this launch, the same in all its processes.
            expiry_s: How long a claim may stay unchanged under a watcher's eyes.
            clock: Monotonic seconds of this process.
            identity: What tells this process from others; by default machine and process id.
            is_dead: Whether the process of an identity is known to have ended.
        """
        self.launch = launch
        self.expiry_s = expiry_s
        self._store = store
        self._clock = clock
        self._identity = identity if identity is not None else owner.identity()
        self._is_dead = is_dead
        self._token = secrets.token_hex(4)
        self._held: dict[str, Claim] = {}
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def acquire(self, name: str) -> Claim | None:
        """Take a claim that is free or whose holder has died; return None where one is alive."""
        claim = Claim(name, 0)
        if not self._store.create(claim.file, self._text(claim)):
            newest, text = self._newest(name)
            if newest is None or not self._has_expired(newest.file, text):
                return None
            claim = Claim(name, newest.generation + 1)
            if not self._store.create(claim.file, self._text(claim)):
                return None
        with self._lock:
            self._held[name] = claim
        return claim

    def is_in_doubt(self, name: str) -> bool:
        """Whether a claim that could not be taken has never been seen to change."""
        newest, _ = self._newest(name)
        seen = self._seen.get(newest.file) if newest else None
        return seen is not None and seen.is_first

    def release(self, claim: Claim) -> None:
        """Give a claim back, with what dead holders left of it."""
        with self._lock:
            self._held.pop(claim.name, None)
        if self._store.read(Claim(claim.name, claim.generation + 1).file) is not None:
            # This process counted as dead: the claim is another's now, with all that lies below it.
            return
        for generation in range(claim.generation, -1, -1):
            self._store.remove(Claim(claim.name, generation).file)

    def release_all(self) -> None:
        """Give back whatever is held."""
        for claim in list(self._held.values()):
            self.release(claim)

    @contextmanager
    def holding(self, name: str, *, wait: Callable[[], None]) -> Iterator[Claim]:
        """Hold a claim for a block.

        Args:
            name: Of the claim.
            wait: Called between attempts; may raise to give up.
        """
        while (claim := self.acquire(name)) is None:
            wait()
        try:
            yield claim
        finally:
            self.release(claim)

    def beat(self) -> None:
        """Show that this process is alive: rewrite all it holds."""
        with self._lock:
            held = list(self._held.values())
        for claim in held:
            claim.beats += 1
            self._store.update(claim.file, self._text(claim))
            with self._lock:
                released = self._held.get(claim.name) is not claim
            if released:
                # Given back meanwhile; an object store's update would have made it again.
                self._store.remove(claim.file)

    def others(self) -> dict[str, bool | None]:
        """Return the files of other launches: True for a live one, False for a dead one.

        None stands for one that must be watched longer: unchanged so far, not yet expired.
        """
        found: dict[str, bool | None] = {}
        for file in self._store.names():
            text = self._store.read(file)
            if text is None or field_of(text, "launch") == self.launch:
                continue
            before = self._seen.get(file)
            if self._has_expired(file, text):
                found[file] = False
            elif owner.is_here(field_of(text, "owner")) or (before and before.text != text):
                found[file] = True
            else:
                found[file] = None
        return found

    def live_launches(self, *, wait: Callable[[], None] = lambda: None) -> frozenset[str]:
        """Return the other launches at work here; those who cannot be asked are watched.

        Args:
            wait: Called while watching; it should sleep a little.
        """
        while True:
            others = self.others()
            if None not in others.values():
                break
            wait()
        texts = [self._store.read(file) for file, alive in others.items() if alive]
        return frozenset(field_of(text, "launch") for text in texts if text)

    def remove_dead(self) -> None:
        """Remove the files of other launches whose processes have died."""
        for file, alive in self.others().items():
            if alive is False:
                self._store.remove(file)

    def _newest(self, name: str) -> tuple[Claim | None, str]:
        """Return the last generation of a claim that there is, and its text."""
        newest, text = None, ""
        claim = Claim(name, 0)
        while (found := self._store.read(claim.file)) is not None:
            newest, text, claim = claim, found, Claim(name, claim.generation + 1)
        return newest, text

    def _has_expired(self, file: str, text: str) -> bool:
        if self._is_dead(field_of(text, "owner")):
            return True
        now = self._clock()
        seen = self._seen.get(file)
        if seen is None or seen.text != text:
            self._seen[file] = _Seen(text, now, is_first=seen is None)
            return False
        return now - seen.since >= self.expiry_s

    def _text(self, claim: Claim) -> str:
        return json.dumps(
            {
                "launch": self.launch,
                "owner": self._identity,
                "token": self._token,
                "beat": claim.beats,
            }
        )


@contextmanager
def heartbeat(claims: Claims) -> Iterator[None]:
    """Keep a process's claims alive during a block; give back what is still held at its end."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(claims.expiry_s / _BEATS_PER_EXPIRY):
            # A store that is away for a moment costs a beat, not the build; each kind of store has
            # errors of its own for that.
            with suppress(Exception):
                claims.beat()

    thread = threading.Thread(target=beat, name="claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        claims.release_all()


def field_of(text: str, name: str) -> str:
    """Return a field of a claim's text; a half-written claim has none."""
    try:
        return str(json.loads(text).get(name, ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
