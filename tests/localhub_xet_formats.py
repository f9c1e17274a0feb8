"""Xet's binary formats, as far as localhub reads them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from localhub_http import HttpError

try:
    from blake3 import blake3
except ImportError:  # optional, see localhub
    blake3 = None


SHARD_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
SHARD_HEADER = struct.Struct("<32sQQ")  # tag, version, footer size
SHARD_ENTRY = struct.Struct("<32sIIII")  # every record of a shard has these 48 bytes
SHARD_FOOTER_SIZE = 200
BOOKEND = b"\xff" * 32
HAS_VERIFICATION, HAS_METADATA, GLOBAL_DEDUP = 1 << 31, 1 << 30, 1 << 31
CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")


def hash_hex(raw: bytes) -> str:
    """Xet writes a hash as four little-endian 64-bit numbers."""
    return "".join(raw[i : i + 8][::-1].hex() for i in range(0, 32, 8))


@dataclass(frozen=True)
class Chunk:
    """One chunk inside a xorb: header and packed bytes are at [start, end) of the xorb."""

    start: int
    end: int
    size: int
    scheme: int

    def unpack(self, xorb: bytes) -> bytes:
        data = xorb[self.start + 8 : self.end]
        if self.scheme:
            import pyarrow

            data = pyarrow.decompress(data, decompressed_size=self.size, codec="lz4", asbytes=True)
        if (
            self.scheme == 2
        ):  # the bytes at index 0, 1, 2, 3 (mod 4) were stored one group after the other
            grouped, data, position = data, bytearray(self.size), 0
            for i in range(4):
                length = len(range(i, self.size, 4))
                data[i::4] = grouped[position : position + length]
                position += length
        return bytes(data)


def parse_xorb(data: bytes) -> list[Chunk]:
    """Chunk table of a xorb: version (1 byte), packed size (3), scheme (1), size (3), bytes."""
    chunks, position = [], 0
    while (
        position < len(data) and data[position : position + 7] != b"XETBLOB"
    ):  # an optional footer
        header = data[position : position + 8]
        end = position + 8 + int.from_bytes(header[1:4], "little")
        if len(header) < 8 or header[0] != 0 or header[4] > 2 or end > len(data):
            raise HttpError(400, "Bad xorb serialization")
        chunks.append(Chunk(position, end, int.from_bytes(header[5:8], "little"), header[4]))
        position = end
    return chunks


def xorb_hash(nodes: list[tuple[bytes, int]]) -> str:
    """Merkle hash of chunks: groups of 2 to 9 nodes, cut after a hash divisible by 4."""
    while len(nodes) > 1:
        merged = []
        while nodes:
            limit = min(9, len(nodes))
            cuts = (
                i + 1
                for i in range(2, limit)
                if int.from_bytes(nodes[i][0][24:], "little") % 4 == 0
            )
            group = nodes[: next(cuts, limit)]
            text = "".join(f"{hash_hex(node)} : {size}\n" for node, size in group)
            merged.append(
                (blake3(text.encode(), key=NODE_KEY).digest(), sum(size for _, size in group))
            )
            nodes = nodes[len(group) :]
        nodes = merged
    return hash_hex(nodes[0][0])


def checked_chunks(name: str, data: bytes) -> list[Chunk]:
    chunks = parse_xorb(data)
    if blake3 is not None:
        nodes = [
            (blake3(chunk.unpack(data), key=CHUNK_KEY).digest(), chunk.size) for chunk in chunks
        ]
        if xorb_hash(nodes) != name:
            raise HttpError(400, "The xorb does not have the announced hash")
    return chunks
