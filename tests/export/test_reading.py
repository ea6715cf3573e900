from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

import tl_app
from tests.export import small_onnx
from tests.synthetic_runs import make_many_photos, make_run
from tl_app import cli
from tl_app.errors import DataError, ResourceError, UsageError, UserError
from tl_app.export import answering, described, guarded, kept, reading
from tl_app.export.bundle import write_bundle
from tl_app.export.reading import read_export
from tl_app.predictor import Predictor, load_run
from tl_app.runs import RunInfo


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), (220, 10, 10)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunInfo:
    folder = tmp_path_factory.mktemp("runs")
    photos = make_many_photos(folder / "photos", 3, 4)
    return make_run(folder / "runs", "mine", photos)


def changed(path: Path, change) -> Path:
    """An ONNX file as someone might have tampered with it."""
    model = small_onnx.model()
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def zipped(folder: Path, target: Path) -> Path:
    return Path(shutil.make_archive(str(target), "zip", folder.parent, folder.name))


def test_an_onnx_file_works_and_brings_its_settings(tmp_path: Path, red: Path):
    found = read_export(small_onnx.write(tmp_path / "model.onnx"))
    assert (found.kind, found.name, found.classes) == ("onnx", "red-or-blue", small_onnx.CLASSES)
    assert "95.0 % (90–98 %" in found.figures
    assert found.settings is not None and found.settings.settings["epochs"] == 3
    assert "data" not in found.settings.settings, "the photos of another machine are nobody's setting here"
    answers = found.predictor.predict([red, red.read_bytes(), tmp_path / "gone.png"], top=1)
    assert [answer.label for answer in answers] == ["red", "red", ""]
    assert answers[0].sure is True and len(answers[0].top) == 1 and answers[1].path == "photo 2"
    assert "not there" in answers[2].error
    with pytest.raises(UsageError, match="looks at each photo once"):
        found.predictor.predict([red], average=True)


def test_bundles_zips_and_folders_in_folders_are_read(tmp_path: Path, red: Path):
    folder = write_bundle(small_onnx.write(tmp_path / "m.onnx"), tmp_path / "outer" / "bundle")
    assert read_export(folder).kind == "bundle"
    for path in (tmp_path / "outer", zipped(folder, tmp_path / "bundle")):
        found = read_export(path)
        assert found.kind == "bundle" and found.predictor.predict([red])[0].label == "red"


def test_a_run_answers_as_it_does_at_home(run: RunInfo, tmp_path: Path, red: Path):
    moved = shutil.copytree(run.path, tmp_path / "elsewhere" / "mine")
    expected = load_run(run).predict([red])[0]
    for path in (moved, zipped(moved, tmp_path / "run")):
        found = read_export(path, "cpu")
        assert (found.kind, found.name, found.classes) == ("run", "mine", run.classes)
        assert found.settings is not None and found.settings.settings["image_size"] == 64
        assert found.predictor.predict([red])[0].top == expected.top


def exported(info: RunInfo, folder: Path, **over: object) -> Path:
    """A folder as the safetensors export makes it: torchvision's names, temperature in the last layer or not."""
    network = load_run(info).network
    about = small_onnx.description(
        kind="safetensors",
        classes=list(info.classes),
        preprocessing=info.preprocessing,
        config=info.config.to_dict(),
        temperature_in_weights=False,
    )
    folder.mkdir()
    tensors = {name: value.contiguous() for name, value in network.net.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "x", "tl_app": about | over}))
    return folder


def test_a_safetensors_folder_is_a_whole_predictor(run: RunInfo, tmp_path: Path, red: Path):
    found = read_export(exported(run, tmp_path / "safetensors"), "cpu")
    assert (found.kind, found.classes) == ("safetensors", run.classes)
    assert found.settings is not None and isinstance(found.predictor, Predictor)
    assert found.predictor.temperature == 1.25 and found.predictor.views == 6
    # Its own temperature in place of the run's.
    home = load_run(run)
    logits = home.logits(home.preprocessing.center(home.preprocessing.load(red))[None])[0]
    assert dict(found.predictor.predict([red])[0].top) == pytest.approx(
        dict(zip(run.classes, (logits / 1.25).softmax(0).tolist(), strict=True)), abs=1e-6
    )
    inside = read_export(exported(run, tmp_path / "inside", temperature_in_weights=True), "cpu")
    assert isinstance(inside.predictor, Predictor) and inside.predictor.temperature == 1.0


def test_a_spoilt_safetensors_folder_is_refused(run: RunInfo, tmp_path: Path):
    folder = exported(run, tmp_path / "a", classes=["one", "two"])
    with pytest.raises(UsageError, match="cannot be read"):
        read_export(folder, "cpu")
    with pytest.raises(UsageError, match="cannot be built"):
        read_export(exported(run, tmp_path / "b", config={"future": 1}), "cpu")
    (folder / "config.json").write_text('{"architectures": ["ViT"]}')
    with pytest.raises(UsageError, match="not exported by tl-app"):
        read_export(folder, "cpu")
    (folder / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    (folder / "config.json").write_text(json.dumps({"tl_app": small_onnx.description()}))
    with pytest.raises(UsageError, match="cannot be read"):
        read_export(folder, "cpu")


def test_without_a_threshold_no_answer_is_sure_or_nobody_knows(tmp_path: Path, red: Path):
    for temperature, sure in ((1.25, False), (1, None)):
        about = small_onnx.description(sure_threshold=None, temperature=temperature)
        found = read_export(small_onnx.write(tmp_path / "model.onnx", about))
        assert found.predictor.predict([red])[0].sure is sure


def test_predict_takes_a_path_to_an_export(tmp_path: Path, red: Path, capsys: pytest.CaptureFixture[str]):
    model = small_onnx.write(tmp_path / "model.onnx")
    (answer,) = tl_app.predict(model, red)
    assert answer.label == "red" and tl_app.read_export(model).name == "red-or-blue"
    assert cli.run(["predict", str(model), str(red), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["predictions"][0]["label"] == "red"
    assert cli.run(["explain", str(model), str(red)]) == 2
    assert "cannot be explained" in capsys.readouterr().err
    with pytest.raises(UsageError, match="There is no run 'nothing'"):
        tl_app.predict("nothing", red)


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def external_constant(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="x", dims=[1], data_type=TensorProto.FLOAT)
    tensor.external_data.add(key="location", value="x.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor))


def nested(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Spy", [], ["y"], domain="evil")], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["photos"], [], then_branch=inner, else_branch=inner))


def looped(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "inner", [], [])
    outer = helper.make_graph([helper.make_node("Loop", ["", ""], [], body=inner)], "outer", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=outer))


def endless(model: onnx.ModelProto) -> None:
    """The logits go through a loop that ends in some thousand years."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["more"]), helper.make_node("Neg", ["x"], ["y"])],
        "body",
        [
            value("number", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("x", TensorProto.FLOAT, None),
        ],
        [value("more", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(helper.make_tensor("turns", TensorProto.INT64, [], [2**62]))
    model.graph.node[3].input[0] = "later"
    model.graph.node.insert(3, helper.make_node("Loop", ["turns", "", "logits"], ["later"], body=body))


def own_function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("evil", "F", [], [], [], []))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def more_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))


def foreign(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (external, "weights are in another file"),
        (external_constant, "weights are in another file"),
        (nested, "needs the operator evil.Spy"),
        (looped, "could run for ever"),
        (own_function, "operators of its own"),
        (float_input, "'photos' has another type or shape"),
        (more_classes, "'probabilities' has another type or shape"),
        (two_outputs, "wanted is one 'probabilities'"),
        (foreign, "was not exported by tl-app.*--to onnx"),
    ],
)
def test_an_onnx_file_with_more_than_a_network_in_it_is_refused(tmp_path: Path, change, said: str):
    with pytest.raises(UsageError, match=said):
        read_export(changed(tmp_path / "model.onnx", change))


def grown(graph: onnx.GraphProto) -> None:
    """Puts a part that takes gigabytes behind the answer: its size follows from the photo's."""
    graph.initializer.append(numpy_helper.from_array(np.array([10**7], np.int64), "times"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "none"))
    graph.node[-1].output[0] = "before"
    graph.node.extend(
        [
            helper.make_node("Shape", ["photos"], ["side"], start=1, end=2),
            helper.make_node("Mul", ["side", "times"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "none"], ["nothing"]),
            helper.make_node("Add", ["before", "nothing"], ["probabilities"]),
        ]
    )


def test_a_graph_that_wants_any_amount_of_memory_is_stopped(tmp_path: Path):
    path = changed(small_onnx.write(tmp_path / "a.onnx"), lambda model: grown(model.graph))
    with pytest.raises(ResourceError, match="needs more than 2 GB of memory"):
        read_export(path)


def shared(model: onnx.ModelProto) -> None:
    weights = np.zeros(3 * 2**20, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "shared"))
    for number in range(20):
        model.graph.node.append(helper.make_node("Relu", ["shared"], [f"copy{number}"]))


def texts(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["photos"], ["written"], to=TensorProto.STRING))


def rare(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("SequenceEmpty", [], ["sequence"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [(shared, "share weights"), (texts, "texts"), (rare, "needs the operator .*SequenceEmpty")],
)
def test_what_no_network_for_photos_needs_is_refused(tmp_path: Path, change, said: str):
    with pytest.raises(UsageError, match=said):
        read_export(changed(small_onnx.write(tmp_path / "a.onnx"), change))


def test_a_table_that_came_with_a_run_names_no_file_elsewhere(run: RunInfo, tmp_path: Path):
    folder = tmp_path / run.path.name
    shutil.copytree(run.path, folder)
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    (folder / "exports").mkdir(exist_ok=True)
    (folder / "exports" / "link.onnx").symlink_to(secret)
    (folder / "exports" / "good.onnx").write_text("x")
    rows = {
        str(number): {"format": "onnx", "label": "ONNX", "file": file, "model": "", "created": ""}
        for number, file in enumerate((str(secret), "../../secret.txt", "link.onnx", "..", "good.onnx"))
    }
    (folder / "exports" / "exports.json").write_text(json.dumps({"format": 1, "exports": rows}))
    found = kept.read_exports(dataclasses.replace(run, path=folder))
    assert [Path(row.file) for row in found] == [folder / "exports" / "good.onnx"]


def test_a_graph_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answering, "_MOST_SECONDS", 0.3)
    with pytest.raises(ResourceError, match="took more than 0 s"):
        read_export(changed(tmp_path / "model.onnx", endless))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"format": 2}, "of format 2"),
        ({"classes": ["a", "a"]}, "there twice"),
        ({"classes": "ab"}, "classes is no list"),
        ({"classes": ["a", "b\n"]}, r"classes holds .*: 'b\\n'"),
        ({"classes": ["a", "b\u202ec"]}, r"classes holds .*: 'b\\u202ec'"),
        ({"classes": ["a", 7]}, "classes holds .*: 7"),
        ({"classes": []}, "classes are missing"),
        ({"name": {"a": 1}}, "name is no text"),
        ({"name": "x" * 301}, "name is no text"),
        ({"temperature": float("nan")}, "temperature is no number"),
        ({"temperature": 10**400}, "temperature is no number"),
        ({"temperature": True}, "temperature is no number"),
        ({"sure_threshold": 7}, "sure_threshold is no number"),
        ({"preprocessing": None}, "how photos are prepared"),
        ({"preprocessing": {"resize": 1}}, "preprocessing"),
        ({"preprocessing": small_onnx.description()["preprocessing"] | {"resize": 10**6}}, "4096 pixels"),
        (
            {"preprocessing": small_onnx.description()["preprocessing"] | {"std": [1, 1, float("inf")]}},
            "mean",
        ),
        ({"lineage": 3}, "lineage is no list"),
    ],
)
def test_every_value_of_a_description_is_checked(over: dict, said: str):
    text = json.dumps(small_onnx.description(**over))
    with pytest.raises(UsageError, match=said):
        described.parse(text, "model.onnx")


ODD_NAMES = (
    "\u0645\u06cc\u200c\u062e",  # a zero-width non-joiner, as in Persian
    "no\u00a0break",
    "\u5168\u3000\u89d2",  # an ideographic space
    "\U0001f469\u200d\U0001f33e",  # a farmer: two emoji, joined
    "\u05d0\u200f1",
)


def test_names_with_signs_that_have_no_ink_are_read_as_they_are(run: RunInfo, tmp_path: Path, red: Path):
    assert not any(name.isprintable() for name in ODD_NAMES)
    about = small_onnx.description(classes=[f"red{ODD_NAMES[0]}", ODD_NAMES[3]])
    found = read_export(small_onnx.write(tmp_path / "model.onnx", about))
    assert found.predictor.predict([red])[0].label == f"red{ODD_NAMES[0]}"
    for name in ODD_NAMES:
        assert described.parse(json.dumps({**about, "classes": [name, "x"]}), "m").classes == (name, "x")
    for name in ("a\x85", "a\u2029", "a\ud800", "a\u2066", "a\x00", ""):
        with pytest.raises(UsageError, match="no plain name"):
            reading._check_classes(dataclasses.replace(run, classes=(name, "x")))
    reading._check_classes(dataclasses.replace(run, classes=ODD_NAMES))


def test_a_description_that_is_no_json_is_refused():
    for text in ("", "[]", "null", "[" * 100_000, "x" * (described.MOST_BYTES + 1)):
        with pytest.raises(UsageError, match="description"):
            described.parse(text, "model.onnx")


def test_settings_that_this_version_does_not_know_spoil_no_model(tmp_path: Path, red: Path):
    for config in ({"future": 1}, {"epochs": "many"}, None, {"recipe": ["head"]}):
        about = small_onnx.description(config=config, metrics={"accuracy": 7, "images": -1, "split": 3})
        found = read_export(small_onnx.write(tmp_path / "model.onnx", about))
        assert found.settings is None and found.unread and found.figures == ""
        assert found.predictor.predict([red])[0].label == "red"


def test_a_network_that_does_not_fit_its_description_is_refused(tmp_path: Path):
    def untyped(model: onnx.ModelProto) -> None:  # the file no longer says how many classes there are
        model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
        about = small_onnx.description(classes=["a", "b", "c"])
        model.metadata_props[0].value = json.dumps(about)

    with pytest.raises(UserError, match="no probability of each class"):
        read_export(changed(tmp_path / "model.onnx", untyped))

    def broken(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type = "Conv"

    with pytest.raises(UsageError, match="cannot load"):
        read_export(changed(tmp_path / "model.onnx", broken))


def test_what_is_no_export_is_refused(tmp_path: Path, red: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    names = (
        "weights.pt",
        "net.pkl",
        "model.safetensors",
        "page.html",
        "model.pt2",
        "broken.onnx",
        "broken.zip",
    )
    for name in names:
        (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    for name, said in {
        "weights.pt": "may hold a program",
        "net.pkl": "may hold a program",
        "model.safetensors": "weights alone",
        "page.html": r"a page for browsers.*\.onnx files of tl-app.*take the run's ONNX export",
        "model.pt2": r"may hold a program.*\.onnx files of tl-app.*Ask for an ONNX",
        "broken.onnx": "is no ONNX file",
        "broken.zip": "is no exported model",
        "red.png": "is no exported model",
        "empty": "no model in the folder",
        "nowhere": "There is no",
    }.items():
        with pytest.raises(UsageError, match=said):
            read_export(tmp_path / name)
    monkeypatch.setattr(guarded, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="Allowed: 0 MB"):
        read_export(small_onnx.write(tmp_path / "model.onnx"))


def test_zips_that_are_not_safe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        archive.writestr("../../model.onnx", b"x")
    with pytest.raises(DataError, match="outside its own folder"):
        read_export(tmp_path / "slip.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(80 * 2**20))
    with pytest.raises(DataError, match="zip bomb"):
        read_export(tmp_path / "bomb.zip")
    monkeypatch.setattr(reading, "MOST_UNPACKED_BYTES", 2**20)
    with pytest.raises(DataError, match="1 files of 84 MB"):
        read_export(tmp_path / "bomb.zip")


def spoil_classes(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"classes": [["a"], "b", "c"]}))


def spoil_preprocessing(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"preprocessing": [1]}))


def spoil_settings(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    values["config"]["backbone"] = "no_such_network"
    (folder / "config.json").write_text(json.dumps(values))


def spoil_weights(folder: Path) -> None:
    for file in (folder / "checkpoints").iterdir():
        file.write_bytes(b"\x80\x04cos\nsystem\n")


def fewer_classes(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"classes": ["a", "b"]}))


def long_text(folder: Path) -> None:
    (folder / "status.json").write_text(" " * (5 * 2**20))


@pytest.mark.parametrize(
    "spoil",
    [spoil_classes, spoil_preprocessing, spoil_settings, spoil_weights, fewer_classes, long_text],
)
def test_a_spoilt_run_is_refused_with_a_reason(run: RunInfo, tmp_path: Path, spoil):
    moved = shutil.copytree(run.path, tmp_path / "mine")
    spoil(moved)
    with pytest.raises(UserError):
        read_export(moved, "cpu")
