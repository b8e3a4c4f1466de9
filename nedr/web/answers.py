"""What is answered, as models: the interface's description is made of them."""

from pydantic import BaseModel


class Problem(BaseModel):
    """Why a request was refused: one sentence, and a word that a program can act on."""

    error: str
    code: str


class Preview(BaseModel):
    """What the page draws, as data URLs of one size: `transmission`, guided by the picture, is red * 256 + green."""

    picture: str
    transmission: str
    maps: dict[str, str]


class Field(BaseModel):
    """The haze of one picture.

    `lattice` holds the rows of the transmission's lattice over the whole picture; `airlight` is sRGB in 0..1;
    transmission is held at `floor` or above, at `colour_floor` for a pixel's colour.
    """

    width: int
    height: int
    airlight: list[float]
    density: float
    mean_transmission: float
    floor: float
    colour_floor: float
    lattice: list[list[float]]
    preview: Preview | None = None
