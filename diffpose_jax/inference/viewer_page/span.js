// The part of the time that all lanes show, and what moves along them.

const CLOSEST = 5; // frames in sight at least

class Span {
  constructor(poses, changed) {
    this.start = poses.times[0];
    this.end = poses.end;
    this.least = Math.min(
      this.end - this.start,
      (CLOSEST * (this.end - this.start)) / poses.count,
    );
    this.changed = changed;
    this.whole();
  }

  whole() {
    this.show(this.start, this.end);
  }

  get length() {
    return this.to - this.from;
  }

  // 0 at the left end, 1 at the right one.
  share(time) {
    return (time - this.from) / this.length;
  }

  time(share) {
    return this.from + share * this.length;
  }

  // Closer for a factor above 1, with the time where it is.
  zoom(factor, time) {
    const whole = this.end - this.start;
    const length = Math.max(this.least, Math.min(whole, this.length / factor));
    const at = this.share(time);
    this.show(time - at * length, time + (1 - at) * length);
  }

  // Moves on by a page where a time would be out of sight.
  include(time) {
    if (time < this.from || time > this.to) {
      this.show(time - 0.1 * this.length, time + 0.9 * this.length);
    }
  }

  show(from, to) {
    const length = to - from;
    this.from = Math.max(this.start, Math.min(this.end - length, from));
    this.to = Math.min(this.end, this.from + length);
    this.changed();
  }
}

// Lets the pointer choose a time on an element; `chosen` is told how it came to.
function slide(element, span, chosen) {
  const at = (event) => {
    const { left, width } = element.getBoundingClientRect();
    const share = (event.clientX - left) / Math.max(1, width);
    return span.time(Math.max(0, Math.min(1, share)));
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    chosen(at(event), "down");
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) chosen(at(event), "move");
  });
  element.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      span.zoom(event.deltaY < 0 ? 1.25 : 0.8, at(event));
    },
    { passive: false },
  );
}
