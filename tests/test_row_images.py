"""Images in rows are bytes: no file outside an image folder, no address is read."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from factory.common import row_images
from factory.common.errors import UserError
from factory.common.image_bytes import FORMATS
from factory.common.parquet_bounds import require_bounded, require_bounded_file
from factory.common.row_images import UnreadableImage, read_hashed, read_image
from factory.data.open import OpenedDataset, open_dataset, open_rows
from factory.data.pixels import decode_images
from factory.distributions.caption_texts import captions_of
from factory.distributions.captions import CaptionSource
from factory.shards.parquet import read_rows
from train.data import first_cell, image_side

FEATURES = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (1, 2, 3)).save(buffer, kind)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * ((side // 8 + 1) * side), 9)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


GOOD = {"bytes": encoded(), "path": "x.png"}


def write(folder: Path, first: Any) -> Path:
    (folder / "data").mkdir(parents=True)
    cells = pa.array([first, GOOD, GOOD, GOOD], CELL)
    table = pa.table({"image": cells, "label": [0, 1, 0, 1]}, schema=FEATURES.arrow_schema)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def decode(opened: OpenedDataset) -> Any:
    return decode_images(
        opened.dataset,
        image_column=opened.image_column,
        height=8,
        width=8,
        image_folder=opened.image_folder,
    )


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """Serve an image on this machine; yield the address and the received requests."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(encoded())

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "path",
    [
        "{url}/x.png",
        "zip://x.png::{url}/x.zip",
        "hf://datasets/a/b@main/x.png",
        "{private}",
        "../private.png",
        "/dev/zero",
        "/etc",
    ],
)
def test_a_path_in_a_row_is_never_followed(
    path: str, tmp_path: Path, requests: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = requests
    monkeypatch.setenv("HF_ENDPOINT", url)
    private = tmp_path / "private.png"
    private.write_bytes(encoded())
    cell = {"bytes": None, "path": path.format(url=url, private=private)}
    opened = open_dataset(str(write(tmp_path / "set", cell)))
    with pytest.raises(UserError, match=r"^row 0: contains no image, only the path or address"):
        decode(opened)
    with pytest.raises(UserError, match=r"^row 0: contains no image, only the path or address"):
        image_side(opened, first_cell(opened), None)
    assert not asked


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, r"the image is missing \(null\)"),
        ({"bytes": None, "path": None}, r"the image is missing \(no bytes\)"),
        ({"bytes": b"", "path": None}, r"is not PNG, JPEG"),
        ({"bytes": b"no image", "path": None}, r"is not PNG, JPEG"),
        ({"bytes": encoded(size=(64, 64))[:60], "path": None}, "cannot be decoded"),
        ({"bytes": bomb(8_900), "path": None}, r"of 8,900 x 8,900 pixels is larger than"),
        ({"bytes": bomb(13_300), "path": None}, "is larger than 67,108,864 pixels"),
        ({"bytes": bomb(20_000), "path": None}, "is larger than 67,108,864 pixels"),
        (
            {"bytes": b"P6\n#" + b"x" * (1 << 20) + b"\n2 2\n255\n" + bytes(12), "path": None},
            "its PPM header is damaged or longer than 4,096 bytes",
        ),
        (
            {"bytes": encoded(size=(1, 101)), "path": None},
            "of 1 x 101 pixels is more than 100 times",
        ),
        (
            {"bytes": encoded(size=(909, 9)), "path": None},
            "of 909 x 9 pixels is more than 100 times",
        ),
    ],
)
def test_a_row_without_a_readable_image_is_named_in_one_line(
    cell: Any, message: str, tmp_path: Path
) -> None:
    opened = open_dataset(str(write(tmp_path / "set", cell)))
    for read in (decode, lambda one: image_side(one, first_cell(one), None)):
        with pytest.raises(UserError, match=message) as caught:
            read(opened)
        assert str(caught.value).startswith("row 0: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [b"P6 2 2 255 ", b"P6\n# a 1\n2 # b\n#c\n 2\n255\n"])
def test_comments_of_a_ppm_image_are_skipped(start: bytes) -> None:
    image = read_image({"bytes": start + bytes([10, 20, 30]) * 4}, where="row 0")
    assert image.size == (2, 2) and image.getpixel((1, 1)) == (10, 20, 30)
    bits = b"P4\n# bits\n8 1\n" + bytes([0b10101010])
    assert read_image({"bytes": bits}, where="row 0").size == (8, 1)


def test_a_long_image_is_read_up_to_the_limit() -> None:
    assert read_image({"bytes": encoded(size=(900, 9))}, where="row 0").size == (900, 9)


def test_the_name_of_a_file_stays_on_its_line_and_is_cut() -> None:
    for name in ("x\nfactory: all is well", "y" * 5000):
        with pytest.raises(UnreadableImage) as caught:
            read_image({"bytes": b"junk", "path": name}, where="row 0")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert str(caught.value).startswith(f"row 0 ({'y' * 197}...): the image cannot be decoded")


def test_only_listed_formats_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program is started")

    for name in ("Popen", "run", "check_call"):
        monkeypatch.setattr(f"subprocess.{name}", refuse)
    for kind in FORMATS:
        assert read_image({"bytes": encoded(kind), "path": None}, where="row 1").mode == "RGB"
    for kind in ("EPS", "PDF", "ICO", "PCX", "TGA"):
        with pytest.raises(UserError, match=r"^row 1: the image cannot be decoded: it is not"):
            read_image({"bytes": encoded(kind), "path": None}, where="row 1")


def test_heic_is_read_where_its_decoder_is_installed(tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    pixels = np.full((40, 64, 3), 255, np.uint8)
    pixels[:, :32] = (200, 30, 30)
    # As bytes, the turn is written as phones do: in the file and in EXIF.
    turned = Image.Exif()
    turned[0x0112] = 6
    folder = tmp_path / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(pixels).save(
            folder / name / "IMG_1.HEIC", "HEIF", quality=95, exif=turned.tobytes()
        )
    opened = open_dataset(folder)
    assert (len(opened.dataset), opened.left_out) == (2, {})
    image = read_image(opened.dataset[0]["image"], where="row 0", folder=folder)
    assert (image.mode, image.size) == ("RGB", (40, 64))
    seen = np.asarray(image, np.int64)
    assert abs(seen[:30] - (200, 30, 30)).max() < 30 and seen[34:].min() > 225
    data = (folder / "cat" / "IMG_1.HEIC").read_bytes()
    for damaged in (data[:200], data[: len(data) // 2], data[:24] + bytes(300)):
        with pytest.raises(UnreadableImage, match=r"^row 0: the image cannot be decoded \("):
            read_image({"bytes": damaged, "path": None}, where="row 0")


def test_a_heic_image_names_the_package_that_is_missing(without_heic: None) -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(UnreadableImage, match=r'HEIC; .*\(pip install "data-factory\[heic\]"\)'):
        read_image({"bytes": heic, "path": None}, where="row 0")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write a folder of images by class."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(encoded())
    return tmp_path / "photos"


def test_paths_are_followed_inside_the_image_folder_that_was_named(photos: Path) -> None:
    opened = open_dataset(str(photos))
    assert opened.image_folder == photos
    assert decode(opened).shape == (4, 8, 8, 3)
    assert image_side(opened, first_cell(opened), None) == 8


def test_a_link_out_of_an_image_folder_is_not_followed(photos: Path, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(encoded())
    (photos / "dog" / "2.png").symlink_to(private)
    with pytest.raises(UserError, match=r"2\.png: is a link out of .*photos and is not read"):
        open_dataset(str(photos))


def test_a_pipe_in_an_image_folder_is_not_waited_for(photos: Path) -> None:
    (photos / "dog" / "1.png").unlink()
    os.mkfifo(photos / "dog" / "1.png")
    item = {"bytes": None, "path": str(photos / "dog" / "1.png")}
    with pytest.raises(UserError, match="is missing or not a regular file"):
        read_image(item, where="row 3", folder=photos)


def test_a_file_beyond_the_size_limit_is_not_read(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_images, "MAX_BYTES", 10)
    with pytest.raises(UserError, match=r"^row 0 \(cat/0\.png\): .* is larger than 10 bytes"):
        decode(open_dataset(str(photos)))


@pytest.mark.parametrize(
    "files", ["{url}/a.parquet", "hf://datasets/a/b/x.parquet", "/etc/*", "../other/*.parquet"]
)
def test_a_card_names_files_of_its_dataset_only(
    files: str, tmp_path: Path, requests: tuple[str, list[str]]
) -> None:
    url, asked = requests
    folder = write(tmp_path / "set", GOOD)
    listed = f"- split: train\n    path: '{files.format(url=url)}'"
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  {listed}\n---\n"
    )
    for call in (
        lambda: open_dataset(str(folder)),
        lambda: open_rows(str(folder), config_name=None, split="train"),
    ):
        with pytest.raises(UserError, match="its card names files outside the dataset"):
            call()
    assert not asked


@pytest.mark.parametrize(
    ("suffix", "kind"),
    # Members of a .tar may be pickles.
    [("h5", "hdf5"), ("lance", "lance"), ("tar", "webdataset")],
)
def test_formats_that_may_point_elsewhere_are_not_read(
    suffix: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / f"train.{suffix}").write_bytes(b"<a/>")
    with pytest.raises(UserError, match=f"its files are {kind}, which is not supported"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml", "dataset_infos.json"])
def test_descriptions_of_a_dataset_are_bounded(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", GOOD)
    text = "[" * 100_000
    (folder / name).write_text(f"---\n{text}\n---\n" if name == "README.md" else text)
    with pytest.raises(UserError, match="is nested deeper than 50 levels"):
        open_dataset(str(folder))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="is not a regular file"):
        open_dataset(str(folder))
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"is a link out of .*set and is not read"):
        open_dataset(str(folder))


@pytest.mark.parametrize(
    "text",
    [
        "dataset_info: [5]",
        "dataset_info: {features: 7}",
        "dataset_info: {features: [1, 2]}",
        "dataset_info: {features: [{name: label, dtype: {class_label: 5}}]}",
        "configs: [5]",
        "configs: [{config_name: 5, data_files: data/*.parquet}]",
        "configs: [{config_name: x, data_files: [{split: 5, path: data/*.parquet}]}]",
        "configs: [{config_name: x, data_files: data/*.parquet, features: 3}]",
    ],
)
def test_a_malformed_card_is_one_line(text: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", GOOD)
    (folder / "README.md").write_text(f"---\n{text}\n---\n")
    for config_name in (None, "x"):
        with pytest.raises(UserError, match="its card is invalid") as caught:
            open_dataset(str(folder), config_name=config_name)
        assert str(caught.value).startswith(f"{folder}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "page", "footer", "metadata"])
def test_a_damaged_parquet_file_is_one_line(damage: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", GOOD)
    (file,) = folder.rglob("*.parquet")
    data = file.read_bytes()
    if damage == "metadata":
        table = pq.read_table(file)
        odd = table.schema.with_metadata({"huggingface": '{"info": {"features": [5]}}'})
        pq.write_table(table.cast(odd), file)
    else:
        page = data[:4] + b"\xff" * 300 + data[304:]
        footer = data[:-40] + b"\xff" * 32 + data[-8:]
        damaged = {"empty": b"", "junk": b"junk", "cut": data[:-99], "page": page, "footer": footer}
        file.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"its files cannot be loaded") as caught:
        open_dataset(str(folder))
    assert str(caught.value).startswith(f"{folder}: ") and "\n" not in str(caught.value)


def test_no_damage_of_a_footer_is_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "number": [1, 2]}), path)
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    refused = 0
    for place in range(len(data) - 8 - length, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        try:
            require_bounded(io.BytesIO(damaged), shown="train.parquet")
        except (UserError, ValueError, OSError):
            refused += 1
    assert refused > 100


LONG = b"x" * (1 << 20)
NESTED: dict[str, Any] = {
    "column": lambda values: pa.array(values),
    "image": lambda values: pa.array([{"bytes": one, "path": None} for one in values], CELL),
    "list": lambda values: pa.array([[one] for one in values]),
}
# How a long value takes almost no space in many rows.
REPEATING: dict[str, dict[str, Any]] = {
    "dictionary": {"dictionary_pagesize_limit": 1 << 22},
    "prefixes": {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
    "compression": {"use_dictionary": False},
}


def write_in_parts(path: Path, part: pa.Table, times: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, part.schema, compression="zstd", **options) as writer:
        for _ in range(times):
            writer.write_table(part)
    return path


@pytest.mark.parametrize("kind", REPEATING)
@pytest.mark.parametrize("place", NESTED)
def test_rows_that_are_far_larger_than_their_file_are_not_read(
    place: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = pa.table({"image": NESTED[place]([LONG] * 15)})
    path = write_in_parts(tmp_path / "set" / "train.parquet", part, 10, **REPEATING[kind])
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("it was read"))
    for name in (path, path.parent):
        with pytest.raises(UserError, match=r"train\.parquet: its .* bytes would become more than"):
            open_rows(str(name), config_name=None, split=None)
    with pytest.raises(UserError, match="bytes would become more than"):
        read_rows(path)
    captions = CaptionSource(file=str(path))
    with pytest.raises(UserError, match="bytes would become more than"):
        captions_of(captions.place, sha256=None)


@pytest.mark.parametrize("column", ["number", "", ".number"])
def test_endless_rows_of_equal_numbers_are_not_read(column: str, tmp_path: Path) -> None:
    part = pa.table({column: np.zeros(1_000_000, dtype=np.int64)})
    path = write_in_parts(tmp_path / "train.parquet", part, 18)
    with pytest.raises(UserError, match="bytes would become more than"):
        require_bounded_file(path, shown="train.parquet")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_texts_that_many_rows_share_are_read(version: str, tmp_path: Path) -> None:
    """Prompts of a dataset: some thousands, a constant one, and none."""
    prompts = [f"a photo of {number} cats {'and dogs ' * (number % 20)}" for number in range(6000)]
    rows = 300_000
    table = pa.table(
        {
            "prompt": [prompts[row % 6000] for row in range(rows)],
            "negative_prompt": ["blurry, " * 20] * rows,
            "empty": pa.nulls(rows, pa.string()),
            "words": [["a", "b"]] * rows,
            "sure": [True] * rows,
        }
    )
    path = tmp_path / "train.parquet"
    pq.write_table(table, path, data_page_version=version, dictionary_pagesize_limit=1 << 22)
    assert table.nbytes > 70 * path.stat().st_size
    require_bounded_file(path, shown="train.parquet")


def test_an_image_in_a_row_has_the_limit_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_images, "MAX_BYTES", 10)
    with pytest.raises(UserError, match=r"row 3: the image has more than 10 bytes"):
        read_image({"bytes": encoded(), "path": None}, where="row 3")


def test_faults_of_the_machine_are_not_blamed_on_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "set", GOOD)
    for code, kind in ((errno.ENOSPC, OSError), (errno.ENOENT, UserError)):

        def fail(*_: object, code: int = code, **__: object) -> None:
            raise OSError(code, "fails")

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(kind):
            open_dataset(str(folder))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataset_info.json", '{"features":' * 3000 + "1" + "}" * 3000),
        ("dataset_info.json", "[1]"),
        ("dataset_info.json", '{"features": 5}'),
        ("dataset_info.json", '{"features": {"image": {"_type": "Value", "dtype": {}}}}'),
        ("state.json", '{"_data_files": 1}'),
        ("state.json", '{"_data_files": [1]}'),
        ("state.json", '{"_data_files": [{"filename": 1}]}'),
        ("state.json", '{"_data_files": [{"filename": "a\\u0000b"}]}'),
        ("state.json", '{"_data_files": [], "_indices_data_files": "ab"}'),
        ("dataset_dict.json", '{"splits": 5}'),
        ("dataset_dict.json", '{"splits": [5]}'),
        ("dataset_dict.json", '{"splits": ["a\\u0000b"]}'),
    ],
)
def test_a_malformed_saved_dataset_is_one_line(name: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    open_dataset(str(write(tmp_path / "set", GOOD))).dataset.save_to_disk(str(folder))
    (folder / name).write_text(text)
    with pytest.raises(UserError) as caught:
        open_dataset(str(folder))
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)


def test_a_link_out_of_a_dataset_is_not_read(tmp_path: Path) -> None:
    other = write(tmp_path / "other", GOOD)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data").symlink_to(other / "data")
    with pytest.raises(UserError, match=r"is a link out of .*set and is not read"):
        open_dataset(str(tmp_path / "set"))


def test_a_saved_dataset_lists_its_own_files_only(tmp_path: Path) -> None:
    opened = open_dataset(str(write(tmp_path / "set", GOOD)))
    for name in ("one", "two"):
        opened.dataset.save_to_disk(str(tmp_path / name))
    assert len(open_dataset(str(tmp_path / "one")).dataset) == 4
    state = tmp_path / "one" / "state.json"
    state.write_text(state.read_text().replace('"data-', '"../two/data-'))
    with pytest.raises(UserError, match=r"two/data-.* is a link out of .*one and is not read"):
        open_dataset(str(tmp_path / "one"))


def smooth(width: int, height: int, form: str = "JPEG") -> dict[str, Any]:
    """Return a smooth image as a cell of a row."""
    noise = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    image.save(buffer, form, quality=92)
    return {"bytes": buffer.getvalue(), "path": None}


def test_a_large_jpeg_is_decoded_small_and_looks_the_same_at_the_size_wanted() -> None:
    row = smooth(4032, 3024)
    whole, digest = read_hashed(row, where="row 0")
    assert whole.size == (4032, 3024)
    for side, expected in ((224, (1008, 756)), (32, (504, 378)), (1000, (4032, 3024))):
        image, own = read_hashed(row, where="row 0", side=side)
        assert (image.size, own) == (expected, digest)
        wanted, found = (
            np.asarray(one.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
            for one in (whole, image)
        )
        # Levels of 256; two JPEG encoders differ by more.
        assert np.abs(wanted - found).mean() < 0.5
        assert np.abs(wanted - found).max() <= 4
    png, _ = read_hashed(smooth(2200, 2000, "PNG"), where="row 0", side=32)
    assert png.size == (2200, 2000)


@pytest.mark.parametrize("size", [(640, 480), (2048, 2048)])
def test_images_that_are_not_large_are_decoded_whole_and_hashed_as_ever(
    size: tuple[int, int],
) -> None:
    row = smooth(*size)
    image, digest = read_hashed(row, where="row 0", side=8)
    with Image.open(io.BytesIO(row["bytes"])) as stored:
        pixels = stored.convert("RGB").tobytes()
    assert image.tobytes() == pixels
    assert digest == hashlib.sha256(f"{size[0]}x{size[1]} ".encode() + pixels).digest()


def test_the_file_of_an_image_that_cannot_be_decoded_is_named(photos: Path) -> None:
    file = min(photos.rglob("*.png"))
    file.write_bytes(file.read_bytes()[:45])
    name = file.relative_to(photos)
    with pytest.raises(UnreadableImage, match=rf"^row 0 \({name}\): the image cannot be decoded"):
        decode(open_dataset(str(photos)))
