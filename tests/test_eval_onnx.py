"""A model as an ONNX file: the same answers as from its run, and nothing else is opened."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from quick_python import python
from test_eval_predict import predict, put
from test_eval_score import NAMES, write_real, write_run

from eval import load_classifier, onnx_checks, onnx_export, onnx_file, onnx_session
from eval.cli import main
from factory.common.errors import Failure, UserError

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "pets")


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    main(["export", str(run), "--onnx", str(run.parent / "pets.onnx"), "--threshold", "0.3"])
    return run.parent / "pets.onnx"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write images of many shapes."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(11):
        put(folder / f"{number:02}.png", number, size=(10 + number, 10))
    return folder


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_answers_are_those_of_the_run(
    run: Path, exported: Path, photos: Path, batch_size: int
) -> None:
    options = [photos, "--top-k", 7, "--batch-size", batch_size]
    ours, theirs = predict(run, *options)["images"], predict(exported, *options)["images"]
    assert len(ours) == 11 and len({one["answer"] for one in ours}) > 2
    for one, other in zip(ours, theirs, strict=True):
        labels = [pair["label"] for pair in one["predictions"]]
        assert labels == [pair["label"] for pair in other["predictions"]]
        scores = [pair["score"] for pair in one["predictions"]]
        assert scores == pytest.approx([pair["score"] for pair in other["predictions"]], abs=1e-5)
    [called] = load_classifier(exported)(photos / "03.png", top_k=7)
    assert [pair["label"] for pair in called] == [
        pair["label"] for pair in theirs[3]["predictions"]
    ]


def test_check_reports_unreadable_images_and_the_choice_for_images_that_are_not_square_is_kept(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "cut.png").write_bytes((photos / "09.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("")
    (folder / "out.png").symlink_to(photos / "09.png")
    out = tmp_path / "padded.ONNX"
    main(["export", str(run), "--onnx", str(out), "--fit", "pad", "--check", str(folder)])
    line, said = capsys.readouterr()
    assert re.search(r"not checked: .*out\.png: is a link out of", said)
    assert re.search(r"not checked: .*cut\.png", said)
    assert f"--check {folder}: 12 images; 1 path names no image; not read: 1 .txt" in said
    assert "; 1 image cannot be read (see above)" in line
    found = re.search(r"on 11 images of .* by at most (\S+) \(limit 0.0001\), 11 get the", line)
    # Logits are up to 13, where a step of float32 is 1e-6; without AVX-512 sums differ by 14 steps.
    assert found is not None and float(found[1]) < 2e-5, line
    ours = load_classifier(run, fit="pad")([photos / "09.png", photos / "10.png"])
    for one, other in zip(
        ours, load_classifier(out)([photos / "09.png", photos / "10.png"]), strict=True
    ):
        scores = {pair["label"]: pair["score"] for pair in other}
        assert {pair["label"]: pair["score"] for pair in one} == pytest.approx(scores, abs=1e-5)
    assert ours != load_classifier(run)([photos / "09.png", photos / "10.png"])


def test_the_file_says_what_it_needs_and_nothing_of_this_machine(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    found = {one.key: one.value for one in model.metadata_props}
    assert (found["format"], found["format_version"]) == ("data-factory/classifier", "1")
    assert json.loads(found["label_names"]) == NAMES
    assert json.loads(found["preprocessing"]) == {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
        "fit": "crop",
    }
    assert json.loads(found["threshold"]) == 0.3
    assert json.loads(found["model"])["architecture"] == "test_resnet"
    [pixels], [logits] = model.graph.input, model.graph.output
    assert pixels.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert (pixels.name, logits.name) == ("pixels", "logits")
    data = exported.read_bytes()
    for trace in (b"site-packages", b".py", str(ROOT).encode(), str(exported.parent).encode()):
        assert trace not in data
    assert not list(exported.parent.glob("*.data"))


def test_the_stored_threshold_is_taken_by_auto(
    run: Path, exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = predict(exported, photos, "--threshold", "auto")
    assert found["threshold"] == 0.3
    assert f"{exported}: threshold 0.3, stored in the file" in capsys.readouterr().err
    rejected = [one["answer"] == "none of these" for one in found["images"]]
    assert rejected == [one["predictions"][0]["score"] < 0.3 for one in found["images"]]
    assert predict(exported, photos)["threshold"] is None
    with pytest.raises(UserError, match="--data x: the threshold of an ONNX file is in the file"):
        predict(exported, photos, "--threshold", "auto", "--data", "x")
    bare = change(exported, tmp_path, lambda model: drop_property(model, "threshold"))
    with pytest.raises(UserError, match=r"contains no threshold .*; export the run again with"):
        predict(bare, photos, "--threshold", "auto")


def test_a_file_that_computes_something_else_is_not_written(
    run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same bytes, without seconds of tracing.
    monkeypatch.setattr(onnx_export, "_exported", lambda *_: exported.read_bytes())
    forward = onnx_file.OnnxModel.forward
    monkeypatch.setattr(
        onnx_file.OnnxModel, "forward", lambda self, pixels: forward(self, pixels) + 2e-4
    )
    with pytest.raises(
        Failure, match=r"a.onnx: is not written: on 100 images .* by up to 2\.\de-04"
    ):
        main(["export", str(run), "--onnx", str(tmp_path / "a.onnx")])
    monkeypatch.setattr(
        onnx_file.OnnxModel, "forward", lambda self, pixels: forward(self, pixels) * float("nan")
    )
    with pytest.raises(Failure, match="by up to nan"):
        main(["export", str(run), "--onnx", str(tmp_path / "a.onnx")])
    assert list(tmp_path.iterdir()) == []


def change(file: Path, folder: Path, edit: Callable[[Any], object]) -> Path:
    """Write an edited copy of a file."""
    model = onnx.load(file)
    edit(model)
    (folder / "changed.onnx").write_bytes(model.SerializeToString())
    return folder / "changed.onnx"


def drop_property(model: Any, name: str) -> None:
    kept = [one for one in model.metadata_props if one.key != name]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def set_property(name: str, value: str) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        drop_property(model, name)
        model.metadata_props.add(key=name, value=value)

    return edit


def external(place: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Keep a tensor's values in a file of the machine."""

    def edit(model: Any) -> None:
        tensor = place(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../../../etc/passwd")

    return edit


def constant(model: Any) -> Any:
    """Add a constant node; return its tensor."""
    tensor = helper.make_tensor("x", TensorProto.FLOAT, [1], [0.0])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["x"], value=tensor))
    return model.graph.node[0].attribute[0].t


def branch(kind: str) -> Callable[[Any], None]:
    """Add an operator with graphs of its own."""
    graph = helper.make_graph([], "g", [], [])
    node = helper.make_node(kind, ["c"], ["x"], then_branch=graph, else_branch=graph)
    return lambda model: model.graph.node.insert(0, node)


def resize(values: str) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        text = next(one.value for one in model.metadata_props if one.key == "preprocessing")
        set_property("preprocessing", json.dumps(json.loads(text) | json.loads(values)))(model)

    return edit


EDITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "weights elsewhere": (
        external(lambda model: model.graph.initializer[0]),
        "keeps weights in another file, which is not read",
    ),
    "a constant elsewhere": (external(constant), "keeps weights in another file"),
    "a branch": (branch("If"), "has the operator 'If', which is not read"),
    "a hidden branch": (branch("Relu"), r"has a loop or branch \('(then|else)_branch'\)"),
    "a foreign operator": (
        lambda model: model.graph.node.add(op_type="X", domain="com.microsoft"),
        r"has an operator that is not ONNX's own \('com.microsoft'\)",
    ),
    "no metadata": (
        lambda model: drop_property(model, "format"),
        "has no class names and preprocessing that data-factory export writes, version 1",
    ),
    "another version": (
        set_property("format_version", "2"),
        "that data-factory export writes, version 1",
    ),
    "a class too many": (
        set_property("label_names", json.dumps([*NAMES, "x"])),
        "its input and output do not fit its metadata",
    ),
    "no class": (set_property("label_names", "[]"), r"is damaged \(label_names: "),
    "names that are none": (set_property("label_names", "[1, [2]]"), r"is damaged \(label_names"),
    "broken JSON": (set_property("label_names", "["), "label_names: is not valid JSON"),
    "another size": (resize('{"input_size": [3, 33, 33]}'), "input and output do not fit"),
    "a huge resize": (resize('{"crop_pct": 0.0001}'), r"is damaged \(preprocessing.crop_pct"),
    "no mean": (resize('{"mean": null}'), r"is damaged \(preprocessing.mean"),
    "a threshold of 2": (set_property("threshold", "2"), r"is damaged \(threshold"),
    "an unknown operator": (
        lambda model: model.graph.node.add(op_type="NoSuchOperator", output=["y"]),
        "has the operator 'NoSuchOperator', which is not read",
    ),
    "a wrong graph": (
        lambda model: model.graph.node.add(op_type="Relu", input=["pixels"], output=["logits"]),
        "computes the value 'logits' twice",
    ),
    "an unknown version": (
        lambda model: setattr(model.opset_import[0], "version", 9999),
        "onnxruntime cannot open it",
    ),
    "two versions": (
        lambda model: model.opset_import.add(version=9),
        "names 2 versions of ONNX's operators instead of one",
    ),
    "too many classes": (
        set_property("label_names", json.dumps(["x"] * 1_000_001)),
        r"is damaged \(label_names: List should have at most 1000000 items",
    ),
    "a function": (
        lambda model: model.functions.add(name="f"),
        "has functions or training steps of its own",
    ),
    "sparse weights": (
        lambda model: model.graph.sparse_initializer.add(dims=[10**10]),
        "has sparse weights, which are not read",
    ),
    "a text": (
        lambda model: model.graph.initializer.add(
            name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"]
        ),
        r"has a tensor of a type that is not read \(number 8\)",
    ),
    "missing values": (
        lambda model: model.graph.initializer.add(
            name="t", data_type=TensorProto.FLOAT, dims=[10**10]
        ),
        r"has a tensor of 10,000,000,000 values \('t'\) but contains 0",
    ),
    "much besides weights": (
        set_property("unused", "x" * 17_000_000),
        "has more than 16,000,000 bytes besides its weights",
    ),
}


def nodes(*given: tuple[str, str, dict[str, Any]], **constants: Any) -> Callable[[Any], None]:
    """Add operators whose last result, `x`, is added to the logits.

    Args:
        *given: Operator, names of its inputs and then its output, attributes.
        **constants: Tensors that they read, as arrays.
    """

    def edit(model: Any) -> None:
        for name, value in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        model.graph.node[-1].output[0] = "answer"
        added = [*given, ("ReduceMax", "x m", {"keepdims": 0}), ("Add", "answer m logits", {})]
        for kind, names, attributes in added:
            *inputs, output = names.split()
            model.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))

    return edit


ONE = np.ones(1, np.float32)
LARGER = np.array([1, 1, 1e4, 1e4], np.float32)
SQUARE: tuple[str, str, dict[str, Any]] = ("ConstantOfShape", "shape a", {})
COSTLY: dict[str, tuple[Callable[[Any], object], str]] = {
    "a filled tensor": (
        nodes(("ConstantOfShape", "n x", {}), n=[10**9]),
        r"needs 3\.7 GiB of memory for 1 image at the operator ConstantOfShape \['x'\]; the limit",
    ),
    "a repeated value": (nodes(("Expand", "one n x", {}), one=ONE, n=[10**10]), "needs 37.3 GiB"),
    "a repeated tensor": (nodes(("Tile", "one n x", {}), one=ONE, n=[10**10]), "needs 37.3 GiB"),
    "borders": (nodes(("Pad", "one n x", {}), one=ONE, n=[10**10, 0]), "needs 37.3 GiB"),
    "a range of numbers": (
        nodes(
            ("Range", "zero n step r", {}),
            ("Cast", "r x", {"to": TensorProto.FLOAT}),
            zero=0,
            n=10**10,
            step=1,
        ),
        "needs 74.5 GiB",
    ),
    "a larger image": (
        nodes(("Resize", "pixels none n x", {}), none=ONE[:0], n=LARGER),
        "needs 1,144.4 GiB",
    ),
    "an outer product": (
        nodes(
            ("ConstantOfShape", "n a", {}),
            ("Transpose", "a b", {"perm": [1, 0]}),
            ("MatMul", "a b x", {}),
            n=[100_000, 1],
        ),
        "needs 37.3 GiB",
    ),
    "a tensor joined with itself": (
        nodes(
            ("Identity", "one a0", {}),
            *[("Concat", f"a{n} a{n} a{n + 1}", {"axis": 0}) for n in range(40)],
            ("Identity", "a40 x", {}),
            one=ONE,
        ),
        "needs 3.0 GiB of memory for 1 image at the operator Concat",
    ),
    "many values at once": (
        nodes(
            *[("ConstantOfShape", f"n a{k}", {}) for k in range(40)],
            ("Sum", " ".join(f"a{k}" for k in range(40)) + " x", {}),
            n=[20_000_000],
        ),
        "needs 2.0 GiB of memory for 1 image at the operator ConstantOfShape",
    ),
    "a size that the image decides": (
        nodes(
            ("ReduceMax", "pixels a", {"keepdims": 0}),
            ("Cast", "a b", {"to": TensorProto.INT64}),
            ("Reshape", "b one c", {}),
            ("ConstantOfShape", "c x", {}),
            one=[1],
        ),
        r"has a value of unknown size \(ConstantOfShape 'x'\), so its memory cannot be known",
    ),
    "products of large matrices": (
        nodes(
            SQUARE,
            *[("MatMul", f"a {'a' if n == 0 else f'b{n}'} b{n + 1}", {}) for n in range(5)],
            ("Identity", "b5 x", {}),
            shape=[10_000, 10_000],
        ),
        r"needs 4e\+12 operations for 1 image at the operator MatMul \['b4'\]; the limit is 4e",
    ),
    "a large window": (
        nodes(
            SQUARE,
            ("AveragePool", "a x", {"kernel_shape": [1999, 1999], "pads": [999] * 4}),
            shape=[1, 1, 2000, 2000],
        ),
        "operations for 1 image at the operator AveragePool",
    ),
    "weights of few channels": (
        nodes(
            ("ConstantOfShape", "image a", {}),
            ("ConstantOfShape", "shape w", {}),
            ("Conv", "a w x", {}),
            image=[1, 100_000, 32, 32],
            shape=[1, 100_000, 30, 30],
        ),
        r"has weights of few channels \('w', 1\), which need more than 4 GiB",
    ),
    "a value from nowhere": (
        nodes(("Identity", "void x", {})),
        "reads the value 'void' before it is computed",
    ),
}
EDITS |= COSTLY


@pytest.mark.parametrize("kind", EDITS)
def test_files_of_others_are_refused_in_one_line(
    exported: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    edit, message = EDITS[kind]
    file = change(exported, tmp_path, edit)
    with pytest.raises(UserError, match=rf"changed\.onnx: .*{message}") as caught:
        load_classifier(file)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", COSTLY)
def test_costly_files_are_refused_before_onnxruntime_opens_them(
    exported: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "_session", lambda *_: pytest.fail("was opened"))
    with pytest.raises(UserError):
        load_classifier(change(exported, tmp_path, COSTLY[kind][0]))


def test_a_size_that_grows_with_the_batch_is_refused_before_it_is_computed(
    exported: Path, tmp_path: Path
) -> None:
    edit = nodes(
        ("Shape", "pixels n1", {"end": 1}),
        ("Mul", "n1 n1 n2", {}),
        ("Mul", "n2 n2 n4", {}),
        ("Mul", "n4 n4 n8", {}),
        ("ConstantOfShape", "n8 x", {}),
    )
    model = load_classifier(change(exported, tmp_path, edit)).checkpoint.model
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, len(NAMES))
    with pytest.raises(UserError, match=r"needs 95\.4 GiB of memory for 20 images .*Constant"):
        model(torch.zeros(20, 3, 32, 32))


def test_many_small_parts_are_not_read(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_checks, "MAX_STRUCTURE", 200_000)
    assert load_classifier(exported).checkpoint.label_names == NAMES
    # Field 7 of a model is its graph, field 1 of a graph an operator: here, empty ones.
    file = tmp_path / "many.onnx"
    file.write_bytes(exported.read_bytes() + b"\x3a\xc0\x9a\x0c" + b"\x0a\x00" * 100_000)
    monkeypatch.setattr(onnx, "load_model_from_string", lambda *_: pytest.fail("was parsed"))
    with pytest.raises(UserError, match="has more than 200,000 bytes besides its weights"):
        load_classifier(file)


def test_onnxruntime_has_a_limit_of_its_own(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_session, "MAX_BYTES", 0)
    limited = load_classifier(exported).checkpoint.model
    monkeypatch.undo()
    pixels = torch.zeros(256, 3, 32, 32)
    with pytest.raises(UserError, match=r"pets\.onnx: onnxruntime needs more than .* of memory"):
        limited(pixels)
    assert load_classifier(exported).checkpoint.model(pixels).shape == (256, len(NAMES))
    assert capfd.readouterr().err == ""


def test_a_batch_is_computed_in_parts_that_fit(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.randn(11, 3, 32, 32)
    whole = load_classifier(exported).checkpoint.model
    monkeypatch.setattr(onnx_session, "_PART_BYTES", 4 * whole._bytes(1))
    parts = load_classifier(exported).checkpoint.model
    assert torch.allclose(parts(pixels), whole(pixels), atol=1e-5)
    assert sorted(parts._allowed) == [1, 3, 4]
    assert sorted(whole._allowed) == [1, 11]


@pytest.mark.parametrize(
    "architecture",
    [
        "test_vit",
        *(
            pytest.param(name, marks=pytest.mark.soak)
            for name in (
                *(
                    "test_convnext",
                    "test_efficientnet",
                    "test_byobnet",
                    "test_nfnet",
                    "test_mambaout",
                ),
                *("test_maxvit", "regnety_002", "mobilenetv3_small_050", "mixer_s32_224"),
                *("swin_tiny_patch4_window7_224", "deit_tiny_patch16_224"),
            )
        ),
    ],
)
def test_models_of_other_families_are_exported_and_read(tmp_path: Path, architecture: str) -> None:
    """`export` compares the answers of a file that it has read again."""
    import timm
    from safetensors.torch import save_file

    model = timm.create_model(architecture, num_classes=len(NAMES))
    run = tmp_path / "run"
    run.mkdir()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, run / "model.safetensors")
    config = {
        "architecture": architecture,
        "num_classes": len(NAMES),
        "label_names": NAMES,
        "pretrained_cfg": {"input_size": model.pretrained_cfg["input_size"]},
    }
    (run / "config.json").write_text(json.dumps(config))
    main(["export", str(run), "--onnx", str(tmp_path / "model.onnx")])
    assert load_classifier(tmp_path / "model.onnx").checkpoint.label_names == NAMES


def test_what_is_no_such_file_is_named(
    run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UserError, match=r"none.onnx: no such ONNX file; write it with `.* export RUN"
    ):
        load_classifier(tmp_path / "none.onnx")
    for data in (b"", b"junk" * 100, exported.read_bytes()[:5000]):
        (tmp_path / "bad.onnx").write_bytes(data)
        with pytest.raises(UserError, match=r"bad.onnx: (is not an ONNX file|has no class names)"):
            load_classifier(tmp_path / "bad.onnx")
    with pytest.raises(UserError, match="device cuda: ONNX files are computed on the CPU"):
        load_classifier(exported, device="cuda")
    real, *_ = write_real(tmp_path / "real")
    with pytest.raises(UserError, match="ONNX files work with predict and load_classifier only"):
        main(["score", str(exported), "--real", str(real)])
    with pytest.raises(UserError, match="is an ONNX file already; name the run"):
        main(["export", str(exported), "--onnx", str(tmp_path / "a.onnx")])
    with pytest.raises(UserError, match=r"--onnx .*a.pt: end the name in .onnx"):
        main(["export", str(run), "--onnx", str(tmp_path / "a.pt")])
    with pytest.raises(UserError, match=r"bad.onnx: exists; .* replace it with --overwrite"):
        main(["export", str(run), "--onnx", str(tmp_path / "bad.onnx")])
    with pytest.raises(UserError, match=r"--check .*void: contains no images"):
        (tmp_path / "void").mkdir()
        main(
            ["export", str(run), "--onnx", str(tmp_path / "a.onnx"), "--check", f"{tmp_path}/void"]
        )
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="is larger than 1,000 bytes and is not read"):
        load_classifier(exported)
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="GB of weights; one ONNX file has room for"):
        main(["export", str(run), "--onnx", str(tmp_path / "a.onnx")])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for call in (
        lambda: load_classifier(exported),
        lambda: main(["export", str(run), "--onnx", str(tmp_path / "a.onnx")]),
    ):
        with pytest.raises(UserError, match=r'onnxruntime: pip install "data-factory\[onnx\]"'):
            call()


def test_onnx_is_imported_for_its_files_only(run: Path, exported: Path, photos: Path) -> None:
    code = (
        "import sys\nfrom eval import load_classifier\n"
        "load_classifier(sys.argv[1])(sys.argv[2])\n"
        "print(sorted({'onnx', 'onnxruntime', 'onnxscript'} & set(sys.modules)))\n"
    )
    for model, expected in ((run, "[]"), (exported, "['onnx', 'onnxruntime']")):
        done = subprocess.run(
            [python(), "-c", code, str(model), str(photos / "00.png")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert (done.stdout.strip(), done.stderr) == (expected, ""), done.stderr
