// A ruler to go along, and below it a lane for each identity: when it is there.

const LISTED = 300; // identities that have a lane

class Timeline {
  constructor(poses, span, actions) {
    this.poses = poses;
    this.span = span;
    this.actions = actions; // go(frame), pick(track), colour(track)
    this.ruler = byId("ruler");
    this.rows = byId("rows");
    this.lanes = new Map();
    this.listed = this.#listed();
    this.#fill();
    const go = (time) => actions.go(poses.frameAt(time));
    slide(this.ruler, span, go);
  }

  // The lanes at the part of the time that is in sight.
  draw() {
    const { span } = this;
    for (const { picture } of this.lanes.values()) {
      picture.setAttribute("viewBox", `${span.from} 0 ${span.length} 1`);
    }
    const marks = ticks(span.from, span.to, this.ruler.clientWidth / 90);
    const step = marks[1] - marks[0] || 1;
    const digits = step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step)));
    this.ruler.replaceChildren(
      ...marks.map((time) => {
        const mark = make("span", { textContent: clockTime(time, digits) });
        mark.style.left = `${100 * span.share(time)}%`;
        return mark;
      }),
    );
  }

  // Says where in time it is, also to those who do not see it.
  mark(frame) {
    const time = this.poses.times[frame];
    const { ruler } = this;
    ruler.setAttribute("aria-valuenow", this.poses.number(frame));
    ruler.setAttribute(
      "aria-valuetext",
      `frame ${this.poses.number(frame)}, ${clockTime(time)}`,
    );
  }

  select(track) {
    for (const [own, { button }] of this.lanes) {
      button.setAttribute("aria-pressed", own === track);
    }
    const lane = this.lanes.get(track)?.button.parentElement;
    if (!lane) return;
    const { rows } = this;
    const above = lane.offsetTop - rows.offsetTop;
    if (above < rows.scrollTop) rows.scrollTop = above;
    const below = above + lane.offsetHeight - rows.clientHeight;
    if (below > rows.scrollTop) rows.scrollTop = below;
  }

  // The identities that are there most; in their order.
  #listed() {
    const all = [...this.poses.tracks.values()];
    const most = [...all].sort((a, b) => b.frames.length - a.frames.length);
    const chosen = new Set(most.slice(0, LISTED));
    if (all.length > LISTED) {
      const longest = most[LISTED].frames.length;
      const frames = longest === 1 ? "1 frame" : `${longest} frames`;
      byId("unlisted").textContent =
        `${all.length - LISTED} more identities, each there in at most ` +
        `${frames}, have no line here; choose them in the picture.`;
    }
    return all.filter((one) => chosen.has(one));
  }

  #fill() {
    for (const one of this.listed) {
      const picture = makeSvg("svg", { preserveAspectRatio: "none" });
      const bars = makeSvg("path", { class: "own", d: this.#bars(one.frames) });
      bars.style.setProperty("--own", this.actions.colour(one.track));
      picture.setAttribute("aria-hidden", "true");
      picture.append(bars);
      const button = make("button", { type: "button" }, ...this.#name(one));
      button.addEventListener("click", () => this.actions.pick(one.track));
      const lane = make("div", { className: "lane" }, button, picture);
      slide(picture, this.span, (time, how) => {
        if (how === "down") this.actions.pick(one.track);
        this.actions.go(this.poses.frameAt(time));
      });
      this.lanes.set(one.track, { button, picture });
      this.rows.append(lane);
    }
  }

  #name({ track, frames }) {
    const colour = this.actions.colour(track);
    const name = track < 0 ? "none" : String(track);
    const said = track < 0 ? "People without identity" : `Person ${track}`;
    const title = `${said}, in ${frames.length} of ${this.poses.count} frames`;
    return [swatch(colour), make("span", { textContent: name, title })];
  }

  // A bar for each stretch of frames without a gap.
  #bars(frames) {
    const { times, end } = this.poses;
    let path = "";
    for (let i = 0; i < frames.length;) {
      let last = i;
      while (frames[last + 1] === frames[last] + 1) last++;
      const until = times[frames[last] + 1] ?? end;
      path += `M${times[frames[i]]} 0H${until}V1H${times[frames[i]]}Z`;
      i = last + 1;
    }
    return path;
  }
}
