"""The answers as models, from which the interface's description is made."""

from pydantic import BaseModel


class Problem(BaseModel):
    """Why a request was refused: one sentence, and a code that a program can act on."""

    error: str
    code: str


class Haze(BaseModel):
    """What was found in a picture: `airlight` is sRGB in 0..1, its mean over the picture; `borders` are the widths in
    pixels of bars and frames around it, by side, which are left unchanged."""

    width: int
    height: int
    airlight: list[float]
    density: float
    mean_transmission: float
    borders: dict[str, int]


class Field(Haze):
    """The haze of one picture.

    `lattice` holds the rows of the transmission lattice over the area inside the borders; transmission is never below
    `floor`.
    """

    floor: float
    lattice: list[list[float]]


class HeldPicture(Haze):
    """A kept picture: its name, and for how long it is kept after its last use."""

    id: str
    kept_seconds: float
    format: str
    transparent: bool
    notes: list[str]


class HeldVideo(BaseModel):
    """A kept video: `stills` are the times, in seconds, of its preview frames."""

    id: str
    kept_seconds: float
    width: int
    height: int
    seconds: float
    frames: int | None
    stills: list[float]
    stem: str
    suffix: str


class JobState(BaseModel):
    """How far a job is: `done` of `total` frames or pictures; `file` is the address of its result, once there is one.

    A ZIP is made while it is downloaded; `missing` are those of its pictures that are not kept (any more).
    """

    id: str
    kind: str
    state: str
    done: int
    total: int | None
    failed: int
    error: str | None
    file: str | None
    name: str
    missing: list[str]


class Accepted(BaseModel):
    """What this server accepts."""

    body: int
    pixels: int
    jobs: bool
    video: int
    video_seconds: float
