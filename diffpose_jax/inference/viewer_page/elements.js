// Elements of the page, and how its numbers are written.

const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

// Texts are never taken for markup.
function make(name, settings = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(settings)) {
    if (key in found) found[key] = value;
    else found.setAttribute(key, value);
  }
  found.append(...children);
  return found;
}

function makeSvg(name, settings = {}) {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(settings)) {
    found.setAttribute(key, value);
  }
  return found;
}

const swatch = (colour) => {
  const found = make("span", { className: "swatch" });
  found.style.setProperty("--own", colour);
  return found;
};

const fixed = (value, digits) =>
  Number.isFinite(value) ? value.toFixed(digits) : "–";

const pixels = (value) => fixed(value, value < 10 ? 1 : 0);

const spoken = (joint) => joint.replaceAll("_", " ");

// 1:02.35, and 1:00:02.35 after the first hour.
function clockTime(seconds, digits = 2) {
  const unit = 10 ** digits;
  const whole = Math.round(Math.max(0, seconds) * unit);
  const rest = ((whole % (60 * unit)) / unit).toFixed(digits);
  const minutes = Math.floor(whole / (60 * unit));
  const hours = Math.floor(minutes / 60);
  const second = rest.padStart(digits ? 3 + digits : 2, "0");
  if (!hours) return `${minutes}:${second}`;
  return `${hours}:${String(minutes % 60).padStart(2, "0")}:${second}`;
}

// Round numbers, about so many, between two values.
function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((n) => n * power >= rough * 0.999) * power;
  const found = [];
  for (
    let n = Math.ceil(low / step - 1e-9);
    n * step <= high + step * 1e-9;
    n++
  ) {
    found.push(n * step);
  }
  return found;
}
