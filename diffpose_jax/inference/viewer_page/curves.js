// Curves of a joint over time.

const HEIGHT = 96; // of a chart, in pixels
const EDGE = 6; // above and below its curve

class Curves {
  constructor(poses, span, go) {
    this.poses = poses;
    this.span = span;
    this.box = byId("curves");
    const share = Math.round(100 * poses.about.ellipses[0].share);
    const kinds = [
      {
        title: "Score",
        read: (row, k) => poses.score(row, k),
        top: 1,
        digits: 3,
      },
      {
        title: `${share} % of errors within`,
        unit: " px",
        read: (row, k) => poses.radius(row, k),
        digits: 1,
      },
    ];
    if (poses.about.calibrated) {
      kinds.push({
        title: "P(within half a head)",
        read: (row, k) => poses.within(row, k),
        top: 1,
        digits: 3,
      });
    }
    this.charts = kinds.map((kind) => this.#chart(kind, go));
  }

  // The curves of a joint of an identity.
  draw(track, k) {
    const found = track < 0 ? null : this.poses.tracks.get(track);
    byId("no-curve").hidden = Boolean(found);
    for (const chart of this.charts) this.#draw(chart, found, k);
  }

  // The values of a row, -1 for none.
  mark(row, k) {
    for (const { kind, value } of this.charts) {
      const number = row < 0 ? NaN : kind.read(row, k);
      const known = Number.isFinite(number);
      value.textContent = known
        ? `${fixed(number, kind.digits)}${kind.unit ?? ""}`
        : "–";
    }
  }

  #chart(kind, go) {
    const value = make("output");
    const picture = makeSvg("svg", { role: "img", height: HEIGHT });
    const scale = make("div", { className: "scale" });
    const title = make("h3", {}, `${kind.title}: `, value);
    const lane = make("div", { className: "lane" }, scale, picture);
    this.box.append(make("figure", {}, title, lane));
    slide(picture, this.span, (time) => go(this.poses.frameAt(time)));
    return { kind, value, picture, scale };
  }

  #draw({ kind, picture, scale }, found, k) {
    const width = Math.max(1, picture.clientWidth);
    const line = found ? this.#line(found, kind, k, width) : [];
    const most =
      kind.top ?? Math.max(1e-3, ...line.map((at) => at.high)) * 1.05;
    const up = (value) =>
      HEIGHT - EDGE - (Math.min(value, most) / most) * (HEIGHT - 2 * EDGE);
    const marks = ticks(0, most, 3);
    const parts = marks.map((value) =>
      makeSvg("line", {
        class: "grid",
        x2: width,
        y1: up(value),
        y2: up(value),
      }),
    );
    parts.push(makeSvg("path", { class: "curve", d: this.#path(line, up) }));
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    picture.setAttribute("aria-label", `${kind.title} over time`);
    picture.replaceChildren(...parts);
    scale.replaceChildren(
      ...marks.map((value) => {
        const mark = make("span", {
          textContent: Number(value.toPrecision(3)),
        });
        mark.style.top = `${up(value)}px`;
        return mark;
      }),
    );
  }

  // For each half pixel the lowest and highest of the values that fall on it.
  #line({ rows, frames }, kind, k, width) {
    const { times } = this.poses;
    const { span } = this;
    const found = [];
    let before = -2;
    // One frame more at each side, so that lines run on to the edges.
    const from = lastAtMost(times, span.from) - 1;
    const to = lastAtMost(times, span.to) + 1;
    for (let i = lastAtMost(frames, from); i < frames.length; i++) {
      if (frames[i] < from) continue;
      if (frames[i] > to) break;
      const value = kind.read(rows[i], k);
      if (!Number.isFinite(value)) continue;
      const x = Math.round(2 * width * span.share(times[frames[i]])) / 2;
      const last = found.at(-1);
      const gap = frames[i] !== before + 1;
      before = frames[i];
      if (last && last.x === x && !gap) {
        last.low = Math.min(last.low, value);
        last.high = Math.max(last.high, value);
        last.end = value;
      } else {
        found.push({
          x,
          gap,
          begin: value,
          low: value,
          high: value,
          end: value,
        });
      }
    }
    return found;
  }

  #path(line, up) {
    let path = "";
    line.forEach((at, i) => {
      path += `${at.gap ? "M" : "L"}${at.x} ${up(at.begin).toFixed(1)}`;
      if (at.low < at.high) {
        path += `V${up(at.low).toFixed(1)}V${up(at.high).toFixed(1)}`;
        path += `V${up(at.end).toFixed(1)}`;
      }
      // What stands alone is a dot.
      const alone = at.gap && (line[i + 1]?.gap ?? true);
      if (alone) path += "h0.01";
    });
    return path;
  }
}
