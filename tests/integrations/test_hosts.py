"""What is added to other programs, as far as it runs without them."""

import importlib.util
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nedr

ROOT = Path(__file__).parents[2] / "integrations"
COMMAND = f"#!/bin/sh\nexec '{sys.executable}' -m nedr \"$@\"\n"


@pytest.fixture
def photo(tmp_path):
    y, x = np.mgrid[0:96, 0:128]
    pixels = np.stack([150 + 40 * np.sin(x / (9 + c)) * np.cos(y / 11) for c in range(3)], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "it's hazy.png")
    return tmp_path / "it's hazy.png"


@pytest.fixture
def command(tmp_path):
    path = tmp_path / "nedr"
    path.write_text(COMMAND)
    path.chmod(0o755)
    return path


def loaded(path):
    spec = importlib.util.spec_from_file_location(f"host_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_is_short():
    files = [path for path in ROOT.rglob("*") if path.suffix in (".py", ".lua")]
    assert len(files) == 3
    assert max(len(path.read_text().splitlines()) for path in files) < 150


def test_comfyui(photo):
    torch = pytest.importorskip("torch")
    [(name, node)] = loaded(ROOT / "comfyui" / "__init__.py").NODE_CLASS_MAPPINGS.items()
    assert name == "NedrDehaze"
    assert set(node.INPUT_TYPES()["required"]) == {"image", "strength"}
    frame = np.asarray(Image.open(photo), np.float32) / 255
    clear, clarity = getattr(node(), node.FUNCTION)(torch.from_numpy(np.stack([frame, frame[::-1]])), 0.8)
    assert clear.shape == (2, 96, 128, 3)
    assert clarity.shape == (2, 96, 128)
    assert np.array_equal(clear[0].numpy(), nedr.dehaze(frame, strength=0.8))


class Layer:
    def set_name(self, name):
        self.name = name


class Picture:
    """An image of GIMP's, as much of it as the plug-in asks for."""

    def __init__(self, path):
        self.path, self.layers, self.log = path, [], []

    def duplicate(self):
        return Picture(self.path)

    def insert_layer(self, layer, parent, position):
        self.layers.insert(position, layer)

    def __getattr__(self, name):
        return lambda *arguments: self.log.append(name)


@pytest.fixture
def gimp(monkeypatch):
    """The plug-in, with a GIMP that copies files."""
    kept = types.SimpleNamespace(
        PlugIn=object,
        Image=Picture,
        Procedure=object,
        ProcedureConfig=object,
        MergeType=types.SimpleNamespace(CLIP_TO_IMAGE=1),
        RunMode=types.SimpleNamespace(NONINTERACTIVE=1, INTERACTIVE=0),
        PDBStatusType=types.SimpleNamespace(SUCCESS=3, EXECUTION_ERROR=0, CANCEL=4),
        file_save=lambda mode, image, file, options: shutil.copy(image.path, file),
        displays_flush=lambda: None,
    )

    def load(mode, image, file):
        layer = Layer()
        layer.pixels = np.asarray(Image.open(file))
        return layer

    kept.file_load_layer = load
    repository = types.ModuleType("gi.repository")
    repository.Gimp, repository.GObject = kept, types.SimpleNamespace()
    repository.Gio = types.SimpleNamespace(File=types.SimpleNamespace(new_for_path=lambda path: path))
    repository.GLib = types.SimpleNamespace(Error=lambda *text: text)
    gi = types.ModuleType("gi")
    gi.require_version = lambda name, version: None
    monkeypatch.setitem(sys.modules, "gi", gi)
    monkeypatch.setitem(sys.modules, "gi.repository", repository)
    return loaded(ROOT / "gimp" / "nedr" / "nedr.py")


def run_plugin(gimp, image):
    procedure = types.SimpleNamespace(new_return_values=lambda status, error: (status, error))
    config = types.SimpleNamespace(get_property=lambda name: {"strength": 0.8}[name])
    return gimp.Nedr().run(procedure, gimp.Gimp.RunMode.NONINTERACTIVE, image, [], config, None)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the command is a shell script")
def test_gimp(gimp, photo, command, monkeypatch):
    monkeypatch.setenv("NEDR", str(command))
    image = Picture(photo)
    assert run_plugin(gimp, image)[0] == gimp.Gimp.PDBStatusType.SUCCESS
    [layer] = image.layers
    assert layer.name == "dehazed 0.8"
    assert np.array_equal(layer.pixels, np.asarray(nedr.dehaze(photo, strength=0.8)))
    assert image.log == ["undo_group_start", "undo_group_end"]


def test_gimp_says_what_is_missing(gimp, photo, monkeypatch, tmp_path):
    monkeypatch.setenv("NEDR", str(tmp_path / "nowhere"))
    image = Picture(photo)
    status, error = run_plugin(gimp, image)
    assert status == gimp.Gimp.PDBStatusType.EXECUTION_ERROR
    assert "set NEDR" in error[0]
    assert image.layers == []
    assert image.log == ["undo_group_start", "undo_group_end"]


class Darktable:
    """A darktable that keeps what it is told, in a Lua of its own."""

    def __init__(self, **chosen):
        lua = pytest.importorskip("lupa").LuaRuntime()
        self.said, self.chosen, table = [], {"on": True, "strength": 0.8, **chosen}, lua.table_from
        parts = {
            "preferences": table({"register": lambda *_: None, "read": lambda _, name, kind: self.chosen[name]}),
            "configuration": table({"running_os": "linux"}),
            "print": self.said.append,
            "print_error": lambda text: None,
            "register_event": self.register,
        }
        lua.globals().package.loaded["darktable"] = table(parts)
        lua.execute((ROOT / "darktable" / "nedr.lua").read_text())
        self.table = table

    def register(self, index, event, function):
        assert event == "intermediate-export-image"
        self.function = function

    def export(self, path):
        self.function("intermediate-export-image", self.table({"filename": path.name}), str(path), None, None)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the command is a shell script")
def test_darktable(photo, command):
    expected = np.asarray(nedr.dehaze(photo, strength=0.8))
    darktable = Darktable(command=str(command))
    darktable.export(photo)
    assert np.array_equal(np.asarray(Image.open(photo)), expected)
    assert darktable.said == []
    assert sorted(path.name for path in photo.parent.iterdir()) == sorted([photo.name, "nedr"])


def test_darktable_leaves_what_fails(photo, tmp_path):
    before = photo.read_bytes()
    darktable = Darktable(command=str(tmp_path / "nowhere"))
    darktable.export(photo)
    assert photo.read_bytes() == before
    assert "with its haze" in darktable.said[0]
    Darktable(on=False, command="false").export(photo)
    exr = photo.with_suffix(".exr")
    darktable.export(exr)
    assert "choose JPEG" in darktable.said[1]
