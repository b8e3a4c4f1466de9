"""The page as static files, as far as no browser is needed: what is written, and what is refused."""

import io
import re
import tarfile

import pytest
import standin

from nedr.cli.main import main
from nedr.errors import NedrError, UsageError
from nedr.inference.onnx import Network
from nedr.web import runtime, site

ENGINE = {name: name.encode() for name in runtime.FILES}


@pytest.fixture
def weights(tmp_path):
    standin.write(tmp_path / "weights.onnx")
    return tmp_path / "weights.onnx"


@pytest.fixture
def package(tmp_path):
    for name, path in runtime.FILES.items():
        (tmp_path / "package" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / path).write_bytes(name.encode())
    return tmp_path / "package"


def packed(folder):
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w:gz") as archive:
        archive.add(folder, "package")
    return file.getvalue()


def test_the_command_writes_the_site_and_writes_it_again(tmp_path, weights, package, capsys):
    call = ["web-app", str(tmp_path / "new" / "site"), "--runtime", str(package), "--weights", str(weights)]
    assert main(call) == 0
    assert main(call) == 0
    written = tmp_path / "new" / "site"
    assert (written / "runtime/wasm.js").read_bytes() == b"wasm.js"
    assert (written / "network.ort").read_bytes()[4:8] == b"ORTM"
    assert "python -m http.server" in capsys.readouterr().out


def test_other_contents_of_the_folder_are_left_alone(tmp_path, weights, package):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("a letter")
    with pytest.raises(UsageError, match="other contents"):
        site.write(tmp_path / "mine", source=package, weights=weights)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_every_file_that_the_page_needs_is_in_it_and_kept(weights):
    files = site.contents(ENGINE, weights)
    listed = files["files.js"].decode()
    for name, data in files.items():
        asked = re.findall(r'(?:from|import) "\./([^"]+)"', data.decode(errors="ignore"))
        assert set(asked) <= set(files), name
        assert name in ("sw.js", "files.js") or f'"{name}"' in listed or name.startswith("runtime/webgpu")
    assert b"useToken" in files["server.js"]


def test_the_page_asks_at_once_for_all_modules_that_its_scripts_import(weights):
    files = site.contents(ENGINE, weights)
    page = files["index.html"].decode()
    asked = set(re.findall(r'rel="modulepreload" href="([^"]+)"', page))
    started = set(re.findall(r'type="module" src="([^"]+)"', page))
    imported = {name for one in asked for name in re.findall(r'^import .*"\./([^"]+)"', files[one].decode(), re.M)}
    assert {"page.js", "install.js"} == started
    assert started | imported == asked
    assert page.index("Content-Security-Policy") < page.index("engine.js") < page.index("modulepreload")


def test_the_network_in_the_site_answers_as_the_one_it_was_made_of(tmp_path, weights):
    (tmp_path / "network.ort").write_bytes(site.contents(ENGINE, weights)["network.ort"])
    assert site._answer(Network(tmp_path / "network.ort", 1)) == pytest.approx(site._answer(Network(weights, 1)))


def test_a_change_of_any_file_is_a_new_version(weights):
    first, same = (site.contents(ENGINE, weights)["files.js"] for _ in range(2))
    other = site.contents(ENGINE | {"webgpu.js": b"other"}, weights)["files.js"]
    assert first == same
    assert first.splitlines()[0] != other.splitlines()[0]


def test_a_served_page_that_has_changed_too_much_is_noticed():
    with pytest.raises(ValueError, match=r"expected .* once in"):
        site._changed("<html>")


def test_the_release_is_fetched_once_and_checked(tmp_path, monkeypatch, package):
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "caches"))
    data, fetched = packed(package), []
    monkeypatch.setattr(runtime, "_downloaded", lambda: fetched.append(1) or data)
    with pytest.raises(NedrError, match="expected sha256"):
        runtime.files()
    monkeypatch.setattr(runtime, "SHA256", runtime.hashlib.sha256(data).hexdigest())
    assert runtime.files() == runtime.files() == ENGINE
    assert len(fetched) == 2
    runtime.kept().write_bytes(b"damaged")
    assert runtime.files() == ENGINE


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(runtime, "URL", (tmp_path / "nothing.tgz").as_uri())
    with pytest.raises(NedrError, match="--runtime FILE"):
        runtime.files()


def test_a_package_may_be_a_file_and_must_be_whole(tmp_path, package):
    (tmp_path / "whole.tgz").write_bytes(packed(package))
    assert runtime.files(tmp_path / "whole.tgz") == ENGINE
    (package / runtime.FILES["wasm.wasm"]).unlink()
    with pytest.raises(NedrError, match="lacks dist/ort-wasm"):
        runtime.files(package)
    for content in (packed(package), b"no archive"):
        (tmp_path / "half.tgz").write_bytes(content)
        with pytest.raises(NedrError, match="is not the onnxruntime-web package"):
            runtime.files(tmp_path / "half.tgz")
    with pytest.raises(UsageError, match="no package onnxruntime-web"):
        runtime.files(tmp_path / "missing")
