"""Which videos can be read and written here, by doing it."""

import importlib
import pathlib
import re
import tempfile
from typing import Any

import cv2
import numpy as np

from diffpose_jax.data import video
from diffpose_jax.doctor import finding

_SIZE = (64, 64)  # pictures of the tests
_GREY = 110
_REINSTALL = (
  "pip install --force-reinstall 'opencv-python-headless>=4.12,<5'; of several "
  "OpenCV packages keep this one"
)


def check() -> list[finding.Finding]:
  """Lines on OpenCV, WebM, H.264, the people detector, and PyAV."""
  found = [_opencv()]
  for name, test in (("WebM", _webm), ("H.264", _h264), ("HOG", _hog)):
    try:
      found.append(finding.Finding(name, test()))
    except Exception as error:
      found.append(finding.broken(name, error, _REINSTALL))
  return [*found, *_pyav()]


def _opencv() -> finding.Finding:
  built = re.search(r"FFMPEG:\s*(\S+)", cv2.getBuildInformation())
  text = f"{cv2.__version__}, FFmpeg {built[1] if built else 'not told'}"
  if cv2.__version__.split(".")[0] != "4":
    return finding.Finding("OpenCV", text, finding.PROBLEM, _REINSTALL)
  return finding.Finding("OpenCV", text)


def _webm() -> str:
  """A video written and read back, which is this program's own output."""
  wanted = [np.full((*_SIZE, 3), 40 + 30 * i, np.uint8) for i in range(4)]
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "test.webm"
    with video.Writer(path, fps=10.0, size=_SIZE) as writer:
      for picture in wanted:
        writer.write(picture)
    frames = [frame for _, _, frame in video.read(path)]
  _compare(frames, wanted)
  return "written and read back"


def _h264() -> str:
  """A stream of one picture, made here, as OpenCV cannot write one."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "test.h264"
    path.write_bytes(h264(_GREY) * 3)
    frames = [frame for _, _, frame in video.read(path)]
  # Video's 16 to 235 are 0 to 255.
  grey = round((_GREY - 16) * 255 / 219)
  _compare(frames, [np.full((*_SIZE, 3), grey, np.uint8)] * 3)
  return "read; OpenCV does not write it"


def _compare(frames: list[np.ndarray], wanted: list[np.ndarray]) -> None:
  """Raises ValueError where frames are not as they were."""
  if len(frames) != len(wanted):
    raise ValueError(f"{len(frames)} frames came back of {len(wanted)}")
  for frame, picture in zip(frames, wanted, strict=True):
    away = np.abs(frame.astype(int) - picture)
    if frame.shape != picture.shape or away.max() > 12:
      raise ValueError(f"a frame came back otherwise, by {away.max()} of 255")


def h264(grey: int) -> bytes:
  """An H.264 stream of one grey picture of 64x64 pixels, not compressed.

  Baseline profile, each macroblock of the kind I_PCM, which holds samples as
  they are. Source: ITU-T H.264, sections 7.3.2.1, 7.3.2.2, 7.3.3 and 7.3.5.
  """
  wide, high = (side // 16 for side in _SIZE)
  sequence = f"{66:08b}{0xC0:08b}{10:08b}" + _golomb(0, 0, 2, 1) + "0"
  sequence += _golomb(wide - 1, high - 1) + "1100"
  picture = _golomb(0, 0) + "00" + _golomb(0, 0, 0) + "000" + _golomb(0, 0, 0)
  picture += "000"
  # First macroblock, intra only, picture set, number 0, IDR 0, flags, QP 0.
  image = _golomb(0, 7, 0) + "0000" + _golomb(0) + "00" + _golomb(0)
  samples = f"{grey:08b}" * 256 + f"{128:08b}" * 128
  for _ in range(wide * high):
    image += _golomb(25)
    image += "0" * (-len(image) % 8) + samples
  parts = ((0x67, sequence), (0x68, picture), (0x65, image))
  return b"".join(_unit(kind, bits) for kind, bits in parts)


def _golomb(*values: int) -> str:
  """Numbers from 0 on as H.264's ue(v): zeros, one fewer than the digits."""
  texts = [f"{value + 1:b}" for value in values]
  return "".join("0" * (len(text) - 1) + text for text in texts)


def _unit(kind: int, bits: str) -> bytes:
  bits += "1"
  bits += "0" * (-len(bits) % 8)
  return b"\0\0\0\1" + bytes([kind]) + int(bits, 2).to_bytes(len(bits) // 8)


def _hog() -> str:
  """OpenCV's people detector, on a picture without anybody."""
  detector: Any = cv2.HOGDescriptor()
  detector.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
  detector.detectMultiScale(np.zeros((160, 96, 3), np.uint8))
  return "the people detector that OpenCV brings is there"


def _pyav() -> list[finding.Finding]:
  """What PyAV adds, where it is installed."""
  try:
    av = importlib.import_module("av")
  except ImportError:
    return [
      finding.Finding(
        "PyAV", "not installed (optional): H.264 cannot be written"
      )
    ]
  known = sorted(
    {"av1", "h264", "hevc", "libx264", "vp9"} & set(av.codecs_available)
  )
  return [finding.Finding("PyAV", f"{av.__version__}: {', '.join(known)}")]
