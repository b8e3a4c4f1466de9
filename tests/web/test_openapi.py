"""What /openapi.json says is true: requests made from it, fit and unfit, are answered as it says."""

import tempfile
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pillow_heif")
pytest.importorskip("av")
pytest.importorskip("schemathesis", reason="no schemathesis: pip install schemathesis")

import footage
import pillow_heif
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from nedr.web.app import application
from nedr.web.limits import Limits


def picture(kind):
    """A small picture file of a media type."""
    file = BytesIO()
    Image.effect_noise((24, 16), 40).convert("RGB").save(file, kind)
    return file.getvalue()


def heic():
    """A small file as telephones write it."""
    file = BytesIO()
    pillow_heif.from_pillow(Image.open(BytesIO(picture("PNG")))).save(file)
    return file.getvalue()


KINDS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/x-portable-anymap": "PPM",
}


def video(folder):
    """A small video file."""
    footage.film(folder / "clip.mp4", footage.panned("temple", (32, 48), 3))
    return (folder / "clip.mp4").read_bytes()


schemathesis.openapi.media_type("image/heic", st.just(heic()))
with tempfile.TemporaryDirectory() as folder:
    schemathesis.openapi.media_type("application/octet-stream", st.just(video(Path(folder))))
for media, kind in KINDS.items():
    schemathesis.openapi.media_type(media, st.just(picture(kind)))

schema = schemathesis.openapi.from_asgi("/openapi.json", application(hosts=["testserver"], limits=Limits(workers=1)))


LOSSY = ("jpeg", "webp", "avif")


def fitted(case):
    """The case without what no description can forbid: options that exclude each other, parts beyond the picture."""
    query, form = case.query or {}, case.body if isinstance(case.body, dict) and "image" in case.body else {}
    for name in query.keys() & form.keys():
        del form[name]
    given = {**query, **form}
    unfit = {"strength", "format", "quality", "region"} if "map" in given else set()
    if given.get("format") not in LOSSY:
        unfit.add("quality")
    for fields in (query, form):
        for name in unfit & fields.keys():
            del fields[name]
        if "region" in fields:
            fields["region"] = "1,2,17,15"
    return case


@schema.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_its_description_says(case):
    if case.meta.generation.mode.is_positive:
        case = fitted(case)
    case.call_and_validate(timeout=60)
