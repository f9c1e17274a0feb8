"""Content-addressed store of localhub for Xet transfers."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localhub_http import HttpError
from localhub_xet_formats import (
    BOOKEND,
    GLOBAL_DEDUP,
    HAS_METADATA,
    HAS_VERIFICATION,
    SHARD_ENTRY,
    SHARD_FOOTER_SIZE,
    SHARD_HEADER,
    SHARD_TAG,
    Chunk,
    blake3,
    checked_chunks,
    hash_hex,
    xorb_hash,
)

XET_TOKEN_SECONDS = 900


@dataclass(frozen=True)
class Segment:
    """Chunks [first, last) of a xorb, a piece of a file."""

    xorb: str
    first: int
    last: int
    size: int


@dataclass(frozen=True)
class XetFile:
    segments: tuple[Segment, ...]
    sha256: str | None

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)


class BlobStore:
    """Contents by key, in memory or as files under a directory."""

    def __init__(self, root: Path | None):
        self.root, self.memory = root, {}

    def put(self, key: str, data: bytes) -> None:
        if self.root is None:
            self.memory[key] = data
            return
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key: str) -> bytes:
        return self.memory[key] if self.root is None else (self.root / key).read_bytes()


class XetStore:
    """The content-addressed store: xorbs, the files they make up, and the deduplication index."""

    def __init__(self, blobs: BlobStore):
        self.blobs = blobs
        self.xorbs: dict[str, list[Chunk]] = {}
        self.files: dict[str, XetFile] = {}
        self.by_sha256: dict[str, str] = {}
        self.tokens: dict[str, tuple[str, float]] = {}  # CAS token -> (scope, expiry)
        self.grants: dict[str, tuple[str, bytes | None]] = {}  # id -> (xorb, bytes once uploaded)
        self.dedup: dict[str, bytes] = {}  # chunk hash -> xorb section of the shard that has it

    def grant(self, xorb: str) -> str:
        grant = secrets.token_hex(8)
        self.grants[grant] = (xorb, None)
        return grant

    def put_granted(self, grant: str, data: bytes) -> None:
        xorb, uploaded = self.grants.get(grant, ("", None))
        if not xorb:
            raise HttpError(403, "Unknown grant")
        if uploaded is not None:
            raise HttpError(412, "Already uploaded")
        checked_chunks(xorb, data)  # the real storage compares a CRC-64 here
        self.grants[grant] = (xorb, data)

    def commit_grant(self, grant: str) -> bool:
        xorb, data = self.grants.pop(grant, ("", None))
        if data is None:
            raise HttpError(404, "No data was uploaded for this grant")
        return self.put_xorb(xorb, data)

    def put_xorb(self, name: str, data: bytes) -> bool:
        inserted = name not in self.xorbs
        self.xorbs[name] = checked_chunks(name, data)
        self.blobs.put(f"xorbs/{name}", data)
        return inserted

    def put_shard(self, data: bytes) -> None:
        if data[:32] != SHARD_TAG:
            raise HttpError(400, "Not a shard")
        records = SHARD_ENTRY.iter_unpack(
            data[SHARD_HEADER.size : SHARD_HEADER.size + (len(data) - 48) // 48 * 48]
        )
        files: dict[str, XetFile] = {}
        first_chunks: set[tuple[str, int]] = set()
        for raw, flags, count, *_ in records:
            if raw == BOOKEND:
                break
            pieces = [next(records) for _ in range(count)]
            segments = tuple(
                Segment(hash_hex(x), first, last, size) for x, _, size, first, last in pieces
            )
            if flags & HAS_VERIFICATION:
                list(itertools.islice(records, count))
            sha256 = hash_hex(next(records)[0]) if flags & HAS_METADATA else None
            files[hash_hex(raw)] = XetFile(segments, sha256)
            first_chunks.update((segment.xorb, segment.first) for segment in segments[:1])
        for name, file in files.items():
            self._check(name, file)
        section: list[bytes] = []
        eligible: list[str] = []
        for raw, flags, count, *sizes in records:
            section.append(SHARD_ENTRY.pack(raw, flags, count, *sizes))
            if raw == BOOKEND:
                break
            chunks = list(itertools.islice(records, count))
            if blake3 is not None and xorb_hash(
                [(chunk, size) for chunk, _, size, *_ in chunks]
            ) != hash_hex(raw):
                raise HttpError(400, "The shard has wrong chunk hashes")
            for index, (chunk, start, size, chunk_flags, unused) in enumerate(chunks):
                section.append(SHARD_ENTRY.pack(chunk, start, size, chunk_flags, unused))
                by_hash = int.from_bytes(chunk[24:], "little") % 1024 == 0
                if by_hash or chunk_flags & GLOBAL_DEDUP or (hash_hex(raw), index) in first_chunks:
                    eligible.append(hash_hex(chunk))
        self.files.update(files)
        self.by_sha256.update((file.sha256, name) for name, file in files.items() if file.sha256)
        self.dedup.update(dict.fromkeys(eligible, b"".join(section)))

    def _check(self, name: str, file: XetFile) -> None:
        for segment in file.segments:
            chunks = self.xorbs.get(segment.xorb)
            if (
                chunks is None
                or sum(c.size for c in chunks[segment.first : segment.last]) != segment.size
            ):
                raise HttpError(400, f"File {name} refers to missing chunks of xorb {segment.xorb}")
        if file.sha256 and hashlib.sha256(self.read(file, 0, file.size)).hexdigest() != file.sha256:
            raise HttpError(400, f"The chunks of file {name} do not have its sha256")

    def dedup_shard(self, chunk: str) -> bytes:
        """A shard without files, which tells a client about the xorbs near a chunk it asked for."""
        if chunk not in self.dedup:
            raise HttpError(404, "Chunk not tracked")
        bookend = SHARD_ENTRY.pack(BOOKEND, 0, 0, 0, 0)
        header = SHARD_HEADER.pack(SHARD_TAG, 2, SHARD_FOOTER_SIZE)
        xorbs_at = len(header) + len(bookend)
        end = xorbs_at + len(self.dedup[chunk])
        offsets = (
            1,
            len(header),
            xorbs_at,
            end,
            0,
            end,
            0,
            end,
            0,
        )  # version, sections, empty lookup tables
        times = (int(time.time()), int(time.time()) + 86400)
        footer = struct.pack("<9Q32s2Q48s4Q", *offsets, bytes(32), *times, bytes(48), 0, 0, 0, end)
        return header + bookend + self.dedup[chunk] + footer

    def pieces(self, file: XetFile, start: int, end: int) -> Iterator[tuple[Segment, int]]:
        """Segments cut to the chunks that overlap [start, end), each with its place in the file."""
        position = 0
        for segment in file.segments:
            chunks = self.xorbs[segment.xorb]
            kept, kept_at = [], 0
            for index in range(segment.first, segment.last):
                if position < end and position + chunks[index].size > start:
                    kept_at = kept_at if kept else position
                    kept.append(index)
                position += chunks[index].size
            if kept:
                size = sum(chunks[index].size for index in kept)
                yield Segment(segment.xorb, kept[0], kept[-1] + 1, size), kept_at

    def read(self, file: XetFile, start: int, end: int) -> bytes:
        out, base = bytearray(), None
        for piece, offset in self.pieces(file, start, end):
            base = offset if base is None else base
            data = self.blobs.get(f"xorbs/{piece.xorb}")
            for chunk in self.xorbs[piece.xorb][piece.first : piece.last]:
                out += chunk.unpack(data)
        return bytes(out[start - (base or 0) : end - (base or 0)])

    def reconstruction(
        self, name: str, start: int, end: int | None
    ) -> tuple[dict, dict[str, list[tuple[int, int]]]]:
        """Terms of a file, and the chunk ranges to fetch of each xorb."""
        file = self.files.get(name)
        if file is None:
            raise HttpError(404, "File not found")
        end = file.size if end is None else min(end, file.size)
        if start >= end and file.size:
            raise HttpError(416, "Range not satisfiable")
        pieces = list(self.pieces(file, start, end))
        terms = [
            {"hash": p.xorb, "unpacked_length": p.size, "range": {"start": p.first, "end": p.last}}
            for p, _ in pieces
        ]
        fetch: dict[str, list[tuple[int, int]]] = {}
        for piece, _ in sorted(pieces, key=lambda item: item[0].first):
            ranges = fetch.setdefault(piece.xorb, [])
            if ranges and piece.first <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(ranges[-1][1], piece.last))
            else:
                ranges.append((piece.first, piece.last))
        return {
            "offset_into_first_range": start - pieces[0][1] if pieces else 0,
            "terms": terms,
        }, fetch

    def byte_range(self, xorb: str, first: int, last: int) -> dict[str, int]:
        chunks = self.xorbs[xorb]
        return {"start": chunks[first].start, "end": chunks[last - 1].end - 1}

    def issue_token(self, scope: str) -> tuple[str, int]:
        token, expiry = secrets.token_urlsafe(24), int(time.time()) + XET_TOKEN_SECONDS
        self.tokens[token] = (scope, expiry)
        return token, expiry

    def check_token(self, bearer: str | None, scope: str) -> None:
        granted, expiry = self.tokens.get(bearer or "", ("", 0))
        if expiry < time.time():
            raise HttpError(401, "Missing, unknown or expired CAS token")
        if scope == "write" and granted != "write":
            raise HttpError(403, "The CAS token does not have the write scope")
