// The page as a whole: what is chosen, and what must be drawn anew after it.

function blobOf(text, type) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return URL.createObjectURL(new Blob([bytes], { type }));
}

class Viewer {
  constructor(poses, video) {
    this.poses = poses;
    this.track = this.#longest();
    this.k = this.#leastSure(this.track);
    this.chosen = -1; // row of somebody without identity
    this.hover = null;
    this.stage = new Stage(poses, byId("poses"));
    this.clock = new Clock(poses, video, () => this.#soon());
    this.span = new Span(poses, () => this.#stretched());
    const colour = (track) => this.stage.colour(track);
    const go = (frame) => this.clock.go(frame);
    const choose = (track) => this.choose(track);
    this.timeline = new Timeline(poses, this.span, {
      go,
      pick: choose,
      colour,
    });
    this.curves = new Curves(poses, this.span, go);
    this.panel = new Panel(poses, {
      choose,
      joint: (k) => this.chooseJoint(k),
    });
    this.panel.list(this.timeline.listed);
    byId("time-end").textContent = clockTime(poses.end);
    const last = poses.number(poses.count - 1);
    byId("frame").max = last;
    byId("frames").textContent = poses.about.frames;
    byId("frame").step = poses.about.every;
    byId("ruler").setAttribute("aria-valuemax", last);
    this.#listen();
    this.#fit();
    this.choose(this.track);
    this.clock.go(0);
  }

  choose(track, row = -1) {
    this.track = track;
    this.chosen = row;
    this.panel.select(track, this.k);
    this.timeline.select(track);
    this.curves.draw(track, this.k);
    this.#soon();
  }

  chooseJoint(k) {
    this.k = k;
    this.choose(this.track, this.chosen);
  }

  step(frames) {
    this.clock.pause();
    this.clock.go(this.clock.asked + frames);
  }

  // The identity that is there most, and of its joints the most doubtful one.
  #longest() {
    const all = [...this.poses.tracks.values()].filter((one) => one.track >= 0);
    all.sort((a, b) => b.frames.length - a.frames.length);
    return all[0]?.track ?? (this.poses.tracks.size ? -1 : NaN);
  }

  #leastSure(track) {
    const rows = this.poses.tracks.get(track)?.rows ?? [];
    const few = rows.filter((_, i) => i % Math.ceil(rows.length / 200) === 0);
    const mean = (k) => {
      const found = few.map((row) => this.poses.score(row, k));
      const sound = found.filter(Number.isFinite);
      const sum = sound.reduce((total, one) => total + one, 0);
      return sound.length ? sum / sound.length : Infinity;
    };
    let best = 0;
    for (let k = 1; k < this.poses.joints; k++) {
      if (mean(k) < mean(best)) best = k;
    }
    return best;
  }

  // The row of the chosen person in a frame, or -1.
  #row(frame) {
    if (this.track >= 0) return this.poses.find(frame, this.track);
    const [first, last] = [
      this.poses.first[frame],
      this.poses.first[frame + 1],
    ];
    const there = this.chosen >= first && this.chosen < last;
    return there ? this.chosen : this.poses.find(frame, -1);
  }

  // Draws once for all that changed since the last picture.
  #soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const { clock, poses } = this;
    const { asked, shown } = clock;
    this.span.include(poses.times[asked]);
    const row = this.#row(shown);
    const marked = row < 0 ? [] : [{ row, k: this.k }];
    if (this.hover?.frame === shown) marked.push(this.hover);
    this.stage.draw(shown, this.#layers(), this.#least(), marked);
    this.panel.draw(shown, row, this.k);
    this.curves.mark(row, this.k);
    this.timeline.mark(asked);
    this.#tell(asked, shown);
  }

  #tell(asked, shown) {
    const { clock, poses } = this;
    byId("lanes").style.setProperty(
      "--at",
      this.span.share(poses.times[asked]),
    );
    byId("time-now").textContent = clockTime(poses.times[asked]);
    const number = byId("frame");
    if (document.activeElement !== number) number.value = poses.number(asked);
    byId("play").setAttribute("aria-label", clock.running ? "Pause" : "Play");
    byId("play").classList.toggle("running", clock.running);
    Object.assign(document.body.dataset, { asked, shown });
    if (this.hover && this.hover.frame !== shown) this.#point(null);
  }

  #layers() {
    const boxes = [...byId("layers").querySelectorAll("[name]")];
    return Object.fromEntries(boxes.map((one) => [one.name, one.checked]));
  }

  #least() {
    return Number(byId("least").value);
  }

  // Lanes and curves, as the part of the time in sight or the width is another.
  #stretched() {
    if (!this.curves) return;
    this.timeline.draw();
    this.curves.draw(this.track, this.k);
    byId("whole").disabled =
      this.span.length >= this.span.end - this.span.start;
    this.#soon();
  }

  #fit() {
    // A scroll bar takes room from the lanes above it alone.
    const { rows } = this.timeline;
    const bar = rows.offsetWidth - rows.clientWidth;
    byId("lanes").style.setProperty("--bar", `${bar}px`);
    this.#stretched();
  }

  #listen() {
    const { clock } = this;
    byId("play").addEventListener("click", () => clock.toggle());
    byId("back").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("rate").addEventListener("change", (event) =>
      clock.setRate(Number(event.target.value)),
    );
    byId("frame").addEventListener("change", (event) => {
      clock.pause();
      clock.go(Math.round(Number(event.target.value) / this.poses.about.every));
    });
    const middle = () => this.poses.times[clock.asked];
    byId("closer").addEventListener("click", () => this.span.zoom(2, middle()));
    byId("wider").addEventListener("click", () =>
      this.span.zoom(0.5, middle()),
    );
    byId("whole").addEventListener("click", () => this.span.whole());
    byId("layers").addEventListener("input", () => {
      byId("least-now").textContent = this.#least().toFixed(2);
      this.#soon();
    });
    listenToKeys(this);
    new ResizeObserver(() => this.#fit()).observe(byId("lanes"));
    new ResizeObserver(() => this.#soon()).observe(this.stage.canvas);
    this.#listenToPointer();
  }

  #listenToPointer() {
    const { canvas } = this.stage;
    const at = (event) => {
      const { left, top } = canvas.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    const find = (event) =>
      this.stage.pick(this.clock.shown, ...at(event), this.#least());
    canvas.addEventListener("pointermove", (event) => this.#point(find(event)));
    canvas.addEventListener("pointerleave", () => this.#point(null));
    canvas.addEventListener("click", (event) => {
      const { shown } = this.clock;
      const joint = find(event);
      const row = joint?.row ?? this.stage.pickBox(shown, ...at(event));
      if (row < 0) return;
      this.k = joint?.k ?? this.k;
      this.choose(this.poses.track(row), row);
      this.#point(joint);
    });
  }

  // Shows what is known of a joint beside it.
  #point(joint) {
    const tip = byId("tip");
    const frame = this.clock.shown;
    this.hover = joint && { ...joint, frame };
    tip.hidden = !joint;
    this.stage.canvas.style.cursor = joint ? "pointer" : "";
    this.#soon();
    if (!joint) return;
    tip.textContent = this.panel.brief(frame, joint.row, joint.k);
    const [x, y] = this.stage.place(this.poses.joint(joint.row, joint.k));
    const { clientWidth, clientHeight } = this.stage.canvas;
    const room = clientWidth - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(room, x - tip.offsetWidth / 2))}px`;
    const above = y - tip.offsetHeight - 20;
    const below = Math.min(clientHeight - tip.offsetHeight, y + 20);
    tip.style.top = `${above < 0 ? below : above}px`;
  }
}

// Video of an odd size has a row or column more, which is not of the picture.
function trim(video, { width, height }) {
  video.addEventListener("loadedmetadata", () => {
    const more = (own, size) => (own === size + 1 ? own / size : 1);
    video.style.width = `${100 * more(video.videoWidth, width)}%`;
    video.style.height = `${100 * more(video.videoHeight, height)}%`;
  });
}

async function start() {
  const { about, columns } = JSON.parse(byId("numbers").textContent);
  byId("numbers").remove();
  const poses = await Poses.read(about, columns);
  let video = byId("video");
  if (about.video) {
    trim(video, about);
    video.addEventListener("error", () => {
      byId("no-video").hidden = false;
      viewer.clock.lose();
    });
  } else {
    video.remove();
    video = null;
  }
  const viewer = new Viewer(poses, video);
  if (about.video?.address) video.src = about.video.address;
  else if (video) {
    video.src = blobOf(byId("film").textContent, about.video.type);
    byId("film").remove();
  }
  document.body.dataset.ready = "";
}

start().catch((error) => {
  byId("failed").hidden = false;
  byId("failed").append(` (${error.message})`);
  throw error;
});
