"""How a synthetic person looks: skin, hair, garments and their colours."""

import dataclasses

import numpy as np

from diffpose_jax.data import synthetic_body

_SKINS = np.array(
  [  # BGR
    (198, 214, 240),
    (176, 196, 232),
    (150, 178, 220),
    (120, 152, 200),
    (90, 122, 172),
    (62, 90, 138),
    (45, 62, 98),
    (160, 182, 232),
  ],
  float,
)
_HAIRS = np.array(
  [
    (22, 20, 22),
    (28, 36, 50),
    (34, 50, 78),
    (60, 92, 138),
    (120, 165, 205),
    (40, 66, 130),
    (150, 150, 152),
    (205, 205, 208),
  ],
  float,
)


@dataclasses.dataclass(frozen=True)
class Look:
  """Colours and garments of one person; colours are BGR 0..255."""

  skin: np.ndarray
  hair: np.ndarray
  hair_style: str
  shirt: np.ndarray
  shirt_second: np.ndarray
  pattern: str
  sleeve: float
  bottom: np.ndarray
  bottom_kind: str
  loose: float
  shoes: np.ndarray
  beard: bool
  open_front: bool
  hem: float


def cloth_colour(rng: np.random.Generator) -> np.ndarray:
  """Returns a colour as clothes have them: many greys, some bright (BGR)."""
  if rng.random() < 0.45:
    grey = rng.choice([25, 45, 70, 110, 160, 205, 235])
    return np.clip(grey + rng.normal(0, 9, 3), 5, 250)
  hue = rng.uniform(0, 2 * np.pi)
  wheel = 0.5 + 0.5 * np.cos(hue - 2 * np.pi * np.arange(3) / 3)
  value, strength = rng.uniform(60, 240), rng.uniform(0.3, 1.0)
  return np.clip(value * (1 - strength + strength * wheel), 5, 250)


def sample_look(rng: np.random.Generator, body: synthetic_body.Body) -> Look:
  """Returns random colours and garments for a body."""
  styles = ["short", "short", "bald", "cap", "curly", "long", "tail", "hat"]
  weights = np.array([4, 3, 1.2, 2, 1, 0.7, 0.2, 0.6])
  if body.female:
    weights = np.array([1, 1, 0, 1, 1.5, 4, 3, 0.5])
  kinds, kind_weights = ["trousers", "shorts", "skirt"], [3.2, 1.8, 0.02]
  if body.female:
    kind_weights = [3, 1.5, 1.4]
  kind_weights = np.array(kind_weights) / sum(kind_weights)
  shirtless = not body.female and rng.random() < 0.07
  skin = np.clip(
    _SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.9, 1.06), 0, 250
  )
  bottom = cloth_colour(rng)
  if rng.random() < 0.25:
    bottom = np.array([95, 62, 45]) * rng.uniform(0.6, 1.5)  # jeans
  patterns = [
    "plain",
    "stripes",
    "pin",
    "plaid",
    "logo",
    "blotch",
    "panel",
    "yoke",
  ]
  pattern = str(
    rng.choice(patterns, p=np.array([5, 1.6, 0.8, 1.1, 2.2, 1, 1, 0.8]) / 13.5)
  )
  return Look(
    skin=skin,
    hair=np.clip(
      _HAIRS[rng.integers(len(_HAIRS))] * rng.uniform(0.8, 1.2), 0, 250
    ),
    hair_style=str(rng.choice(styles, p=weights / weights.sum())),
    shirt=skin if shirtless else cloth_colour(rng),
    shirt_second=cloth_colour(rng),
    pattern="bare" if shirtless else pattern,
    sleeve=0.0
    if shirtless
    else float(rng.choice([0.0, 0.22, 0.28, 0.5, 1, 1, 1])),
    bottom=bottom,
    bottom_kind=str(rng.choice(kinds, p=kind_weights)),
    loose=float(rng.uniform(0.0, 0.03)),
    shoes=cloth_colour(rng),
    beard=bool(not body.female and not body.child and rng.random() < 0.2),
    open_front=bool(rng.random() < 0.15),
    hem=float(rng.uniform(-0.16, 0.14)),
  )
