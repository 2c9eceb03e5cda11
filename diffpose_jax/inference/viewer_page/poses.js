// The poses of the page, out of its compressed numbers.

const KINDS = {
  i4: Int32Array,
  i2: Int16Array,
  u2: Uint16Array,
  u1: Uint8Array,
};
const TICKS = 10000; // a second

async function inflated(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Of each number the lowest bytes come first, then the next ones.
async function numbers(kind, texts) {
  const planes = await Promise.all(texts.map(inflated));
  const found = new KINDS[kind](planes[0].length);
  const view = new DataView(found.buffer);
  const size = found.BYTES_PER_ELEMENT;
  planes.forEach((plane, place) => {
    for (let i = 0; i < plane.length; i++) {
      view.setUint8(i * size + place, plane[i]);
    }
  });
  return found;
}

// Where each of the runs begins, and where the last one ends.
function starts(counts) {
  const found = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) found[i + 1] = found[i] + counts[i];
  return found;
}

// The last place with at most this value; 0 before the first.
function lastAtMost(values, value) {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

// A step of samples that is not that of an unknown number.
const known = (step) => step !== -(2 ** 15);

// A frame is one that the page holds, a row a person in a frame, and k a joint.
class Poses {
  static async read(about, columns) {
    const names = Object.keys(columns);
    const found = await Promise.all(
      names.map((name) => numbers(about.kinds[name], columns[name])),
    );
    return new Poses(
      about,
      Object.fromEntries(names.map((name, i) => [name, found[i]])),
    );
  }

  constructor(about, columns) {
    this.about = about;
    this.columns = columns;
    this.joints = about.joints.length;
    this.times = Float64Array.from(columns.time, (ticks) => ticks / TICKS);
    this.count = this.times.length;
    // Where the frames are in the video, if not at their own times.
    this.shown = columns.shown?.length
      ? Float64Array.from(columns.shown, (ticks) => ticks / TICKS)
      : null;
    this.first = starts(columns.count);
    this.end = this.times[this.count - 1] + about.every / about.fps;
    this.tracks = this.#tracks();
    this.#indexSamples();
  }

  // The frame that is shown at a time.
  frameAt(time) {
    return lastAtMost(this.times, time + 1e-6);
  }

  // What the recording calls the frame.
  number(frame) {
    return frame * this.about.every;
  }

  rows(frame) {
    const found = [];
    for (let r = this.first[frame]; r < this.first[frame + 1]; r++)
      found.push(r);
    return found;
  }

  track(row) {
    return this.columns.track[row];
  }

  // The row of an identity in a frame, or -1.
  find(frame, track) {
    const places = this.columns.track;
    for (let r = this.first[frame]; r < this.first[frame + 1]; r++) {
      if (places[r] === track) return r;
    }
    return -1;
  }

  box(row) {
    return this.#hundredths("box", row, 4);
  }

  boxScore(row) {
    return this.#thousandths("box_score", row);
  }

  joint(row, k) {
    return this.#hundredths("joint", row * this.joints + k, 2);
  }

  score(row, k) {
    return this.#thousandths("score", row * this.joints + k);
  }

  within(row, k) {
    return this.#thousandths("within", row * this.joints + k);
  }

  // [xx, xy, yy] in pixels², or null.
  scale(row, k) {
    return this.#hundredths("scale", row * this.joints + k, 3);
  }

  // Of a share's ellipse: long and short half axis in pixels, the former's angle.
  ellipse(row, k, share) {
    const scale = this.scale(row, k);
    if (!scale) return null;
    const [xx, xy, yy] = scale;
    const middle = (xx + yy) / 2;
    const apart = Math.hypot((xx - yy) / 2, xy);
    const root = (value) => Math.sqrt(Math.max(0, value) * share.distance);
    return {
      long: root(middle + apart),
      short: root(middle - apart),
      angle: Math.atan2(2 * xy, xx - yy) / 2,
    };
  }

  // Of the circle as large as the first share's ellipse, in pixels; or NaN.
  radius(row, k) {
    const found = this.ellipse(row, k, this.about.ellipses[0]);
    return found ? Math.sqrt(found.long * found.short) : NaN;
  }

  // Whether the page holds the samples of a frame.
  sampled(frame) {
    return this.about.members > 0 && frame % this.about.samplesEvery === 0;
  }

  // Joints of the members, [x, y] each; empty where they are not held.
  samples(frame, row, k) {
    const joint = this.joint(row, k);
    if (!joint || !this.sampled(frame)) return [];
    const { sample } = this.columns;
    const kept = this.#keptRow(frame, row);
    const found = [];
    for (let m = 0; m < this.about.members; m++) {
      const at = ((kept * this.about.members + m) * this.joints + k) * 2;
      if (!known(sample[at])) continue;
      found.push(this.#away(joint, sample[at], sample[at + 1]));
    }
    return found;
  }

  // Where the samples of a joint gather, if in several places; see above.
  modes(frame, row, k) {
    const joint = this.joint(row, k);
    if (!joint || !this.sampled(frame)) return [];
    const { mode, mode_share, mode_spread } = this.columns;
    const at = this.#keptRow(frame, row) * this.joints + k;
    const found = [];
    for (let i = this.firstMode[at]; i < this.firstMode[at + 1]; i++) {
      found.push({
        at: this.#away(joint, mode[2 * i], mode[2 * i + 1]),
        share: mode_share[i] / 1000,
        spread: known(mode_spread[i]) ? mode_spread[i] * this.about.step : NaN,
      });
    }
    return found;
  }

  #away([x, y], across, down) {
    return [x + across * this.about.step, y + down * this.about.step];
  }

  #hundredths(name, place, size) {
    const column = this.columns[name];
    const found = [];
    for (let i = place * size; i < (place + 1) * size; i++) {
      if (column[i] === -(2 ** 31)) return null;
      found.push(column[i] / 100);
    }
    return found;
  }

  #thousandths(name, place) {
    const value = this.columns[name][place];
    return value === 2 ** 16 - 1 ? NaN : value / 1000;
  }

  // Identities in their order, each with its rows and their frames.
  #tracks() {
    const found = new Map();
    for (let frame = 0; frame < this.count; frame++) {
      for (let r = this.first[frame]; r < this.first[frame + 1]; r++) {
        const track = this.columns.track[r];
        if (!found.has(track))
          found.set(track, { track, rows: [], frames: [] });
        const own = found.get(track);
        own.rows.push(r);
        if (own.frames.at(-1) !== frame) own.frames.push(frame);
      }
    }
    return new Map([...found].sort(([a], [b]) => a - b));
  }

  // Only some of the frames keep their samples, so rows are counted anew.
  #indexSamples() {
    const every = this.about.samplesEvery;
    const kept = this.columns.count.map((n, i) => (i % every ? 0 : n));
    this.firstKept = starts(kept);
    this.firstMode = starts(this.columns.modes);
  }

  #keptRow(frame, row) {
    return this.firstKept[frame] + row - this.first[frame];
  }
}
