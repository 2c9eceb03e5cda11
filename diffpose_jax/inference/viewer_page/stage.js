// The poses painted over the picture, and which joint the pointer is at.

const NEAR = 16; // pixels from the pointer to a joint that it means
const OUTLINE = "#141418";

class Stage {
  constructor(poses, canvas) {
    this.poses = poses;
    this.canvas = canvas;
    this.colours = poses.about.colours;
    this.zoom = 1;
  }

  // Called with what is to be seen; `marked` are {row, k}, the last one above.
  draw(frame, layers, least, marked) {
    const { poses } = this;
    const pen = this.#begin();
    const rows = poses.rows(frame);
    const places = new Map(rows.map((row) => [row, this.#places(row, least)]));
    if (layers.boxes) rows.forEach((row) => this.#box(pen, row));
    if (layers.skeleton) {
      rows.forEach((row) => this.#skeleton(pen, places.get(row)));
    }
    for (const row of rows) {
      places.get(row).forEach((at, k) => {
        if (at) this.#joint(pen, frame, { row, k }, layers);
      });
    }
    for (const one of marked) {
      this.#joint(pen, frame, one, {
        ellipses: true,
        samples: true,
        modes: true,
      });
      this.#ring(pen, this.poses.joint(one.row, one.k));
      for (const { at, share } of poses.modes(frame, one.row, one.k)) {
        const [x, y] = this.place(at);
        this.#text(pen, `${Math.round(100 * share)} %`, x + 5, y - 5);
      }
    }
    if (layers.ids) rows.forEach((row) => this.#label(pen, row));
  }

  // The joint in sight that is nearest to a point of the canvas, or null.
  pick(frame, x, y, least) {
    let best = NEAR;
    let found = null;
    for (const row of this.poses.rows(frame)) {
      this.#places(row, least).forEach((at, k) => {
        if (!at) return;
        const gap = Math.hypot(this.#px(at[0]) - x, this.#px(at[1]) - y);
        if (gap < best) [best, found] = [gap, { row, k }];
      });
    }
    return found;
  }

  // The row of the smallest box around a point of the canvas, or -1.
  pickBox(frame, x, y) {
    let best = Infinity;
    let found = -1;
    for (const row of this.poses.rows(frame)) {
      const box = this.poses.box(row);
      if (!box) continue;
      const [left, top, right, bottom] = box.map((edge) => this.#px(edge));
      const area = (right - left) * (bottom - top);
      const inside = x >= left && x <= right && y >= top && y <= bottom;
      if (inside && area < best) [best, found] = [area, row];
    }
    return found;
  }

  // Where a point of the picture lies on the canvas.
  place([x, y]) {
    return [this.#px(x), this.#px(y)];
  }

  colour(track) {
    const { people, none } = this.colours;
    return track < 0 ? none : people[track % people.length];
  }

  #begin() {
    const { canvas } = this;
    const dots = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.round(canvas.clientWidth * dots);
    const height = Math.round(canvas.clientHeight * dots);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    this.zoom = canvas.clientWidth / this.poses.about.width;
    const pen = canvas.getContext("2d");
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.lineCap = pen.lineJoin = "round";
    return pen;
  }

  // The centre of the first pixel is at 0, its edge at -1/2.
  #px(value) {
    return (value + 0.5) * this.zoom;
  }

  // Of each joint [x, y] in the picture, or null where it is not to be seen.
  #places(row, least) {
    const found = [];
    for (let k = 0; k < this.poses.joints; k++) {
      const sure = !(this.poses.score(row, k) < least);
      found.push(sure ? this.poses.joint(row, k) : null);
    }
    return found;
  }

  #side(number) {
    const { left, right, middle } = this.colours;
    return number < 0 ? left : number > 0 ? right : middle;
  }

  #skeleton(pen, places) {
    const there = places.filter(Boolean);
    if (!there.length) return;
    const extent = [0, 1].map((axis) => {
      const values = there.map((at) => at[axis]);
      return Math.max(...values) - Math.min(...values);
    });
    const width = (Math.max(...extent) * this.zoom) / 60;
    const wide = Math.max(1.2, Math.min(7, width));
    const { limbs, sides } = this.poses.about;
    const parts = {
      limbs: limbs.filter(([a, b]) => places[a] && places[b]),
      joints: places.flatMap((at, k) => (at ? [k] : [])),
    };
    // In few strokes: of each colour all at once.
    this.#strokes(pen, places, parts, OUTLINE, [1.9 * wide, 1.35 * wide]);
    for (const side of [0, 1, -1]) {
      const own = {
        limbs: parts.limbs.filter(([a, b]) => {
          return Math.sign(sides[a] + sides[b]) === side;
        }),
        joints: parts.joints.filter((k) => sides[k] === side),
      };
      this.#strokes(pen, places, own, this.#side(side), [wide, 0.95 * wide]);
    }
  }

  // Limbs and joints in a colour, so wide and so large.
  #strokes(pen, places, { limbs, joints }, colour, [width, radius]) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    for (const [a, b] of limbs) {
      pen.moveTo(...this.place(places[a]));
      pen.lineTo(...this.place(places[b]));
    }
    pen.stroke();
    pen.beginPath();
    for (const k of joints) this.#circle(pen, places[k], radius);
    pen.fill();
  }

  #joint(pen, frame, { row, k }, layers) {
    const at = this.poses.joint(row, k);
    if (!at) return;
    const colour = this.#side(this.poses.about.sides[k]);
    if (layers.ellipses) {
      this.poses.about.ellipses.forEach((share) => {
        const found = this.poses.ellipse(row, k, share);
        if (found) this.#ellipse(pen, at, found, colour);
      });
    }
    if (layers.samples) {
      for (const sample of this.poses.samples(frame, row, k)) {
        pen.fillStyle = OUTLINE;
        this.#disc(pen, sample, 2.6);
        pen.fillStyle = colour;
        this.#disc(pen, sample, 1.7);
      }
    }
    if (layers.modes) {
      for (const mode of this.poses.modes(frame, row, k)) {
        this.#cross(pen, mode, colour);
      }
    }
  }

  #ellipse(pen, [x, y], { long, short, angle }, colour) {
    const axes = [long, short].map((axis) => axis * this.zoom);
    pen.beginPath();
    pen.ellipse(this.#px(x), this.#px(y), ...axes, angle, 0, 2 * Math.PI);
    this.#twice(pen, colour, 1.4);
  }

  // A mode is the larger the more of the samples are in it.
  #cross(pen, { at, share }, colour) {
    const [x, y] = this.place(at);
    const arm = 4 + 6 * share;
    pen.beginPath();
    pen.moveTo(x - arm, y);
    pen.lineTo(x + arm, y);
    pen.moveTo(x, y - arm);
    pen.lineTo(x, y + arm);
    this.#twice(pen, colour, 2);
  }

  #ring(pen, at) {
    if (!at) return;
    pen.beginPath();
    pen.arc(...this.place(at), 9, 0, 2 * Math.PI);
    this.#twice(pen, "#fff", 2);
  }

  #box(pen, row) {
    const box = this.poses.box(row);
    if (!box) return;
    const [left, top, right, bottom] = box.map((edge) => this.#px(edge));
    pen.strokeStyle = this.colour(this.poses.track(row));
    pen.lineWidth = 1.5;
    pen.strokeRect(left, top, right - left, bottom - top);
  }

  #label(pen, row) {
    const track = this.poses.track(row);
    const box = this.poses.box(row);
    if (track < 0 || !box) return;
    pen.font = "600 12px system-ui, sans-serif";
    const wide = pen.measureText(track).width + 8;
    const room = this.canvas.clientWidth - wide;
    const x = Math.max(0, Math.min(room, this.#px(box[0])));
    const y = Math.max(
      16,
      Math.min(this.canvas.clientHeight, this.#px(box[1])),
    );
    pen.fillStyle = this.colour(track);
    pen.fillRect(x, y - 16, wide, 16);
    pen.fillStyle = OUTLINE;
    pen.fillText(track, x + 4, y - 4);
  }

  #text(pen, words, x, y) {
    pen.font = "600 11px system-ui, sans-serif";
    pen.lineWidth = 3;
    pen.strokeStyle = OUTLINE;
    pen.strokeText(words, x, y);
    pen.fillStyle = "#fff";
    pen.fillText(words, x, y);
  }

  #disc(pen, at, radius) {
    pen.beginPath();
    this.#circle(pen, at, radius);
    pen.fill();
  }

  #circle(pen, at, radius) {
    const [x, y] = this.place(at);
    pen.moveTo(x + radius, y);
    pen.arc(x, y, radius, 0, 2 * Math.PI);
  }

  // The path in a colour, over a dark edge.
  #twice(pen, colour, width) {
    pen.strokeStyle = OUTLINE;
    pen.lineWidth = width + 1.6;
    pen.stroke();
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  }
}
