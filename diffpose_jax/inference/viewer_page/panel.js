// What is known of the chosen joint in the frame in sight.

class Panel {
  constructor(poses, actions) {
    this.poses = poses;
    this.actions = actions; // choose(track), joint(k), colour(track)
    this.person = byId("person");
    this.joint = byId("joint");
    this.values = byId("values");
    poses.about.joints.forEach((name, k) => {
      this.joint.append(
        make("option", { value: k, textContent: spoken(name) }),
      );
    });
    this.person.addEventListener("change", () =>
      actions.choose(Number(this.person.value)),
    );
    this.joint.addEventListener("change", () =>
      actions.joint(Number(this.joint.value)),
    );
  }

  list(tracks) {
    for (const { track } of tracks) this.person.append(this.#option(track));
    this.person.disabled = !tracks.length;
  }

  select(track, k) {
    const known = [...this.person.options].some((one) => +one.value === track);
    if (!known && this.poses.tracks.has(track)) {
      this.person.append(this.#option(track));
    }
    this.person.value = track;
    this.joint.value = k;
  }

  // `row` is -1 where the person is not there.
  draw(frame, row, k) {
    this.values.replaceChildren();
    if (row < 0) {
      const words = this.poses.tracks.size
        ? "Not in this frame."
        : "There are no people in this video.";
      this.values.append(make("p", { textContent: words }));
      return;
    }
    const list = make("dl");
    for (const [name, words] of this.#facts(frame, row, k)) {
      list.append(
        make("dt", { textContent: name }),
        make("dd", { textContent: words }),
      );
    }
    this.values.append(list, ...this.#modes(frame, row, k));
  }

  // Two lines, for beside the pointer.
  brief(frame, row, k) {
    const { poses } = this;
    const track = poses.track(row);
    const who = track < 0 ? "no identity" : `person ${track}`;
    const parts = [`score ${fixed(poses.score(row, k), 2)}`];
    const within = poses.within(row, k);
    if (Number.isFinite(within)) parts.push(`P(within) ${fixed(within, 2)}`);
    const radius = poses.radius(row, k);
    if (Number.isFinite(radius)) parts.push(`± ${pixels(radius)} px`);
    const modes = poses.modes(frame, row, k).length;
    if (modes) parts.push(`${modes} modes`);
    return `${who}, ${spoken(poses.about.joints[k])}\n${parts.join(" · ")}`;
  }

  #option(track) {
    const words = track < 0 ? "Without identity" : `Person ${track}`;
    return make("option", { value: track, textContent: words });
  }

  *#facts(frame, row, k) {
    const { poses } = this;
    const joint = poses.joint(row, k);
    yield ["Position", joint ? joint.map((v) => fixed(v, 2)).join(", ") : "–"];
    yield ["Score", fixed(poses.score(row, k), 3)];
    if (poses.about.calibrated) {
      yield ["P(within half a head)", fixed(poses.within(row, k), 3)];
    }
    for (const share of poses.about.ellipses) {
      const found = poses.ellipse(row, k, share);
      const axes = found
        ? `${pixels(found.long)} × ${pixels(found.short)} px`
        : "–";
      yield [`${Math.round(100 * share.share)} % ellipse, half axes`, axes];
    }
    yield ["Score of the box", fixed(poses.boxScore(row), 3)];
    if (!poses.about.members) return;
    const words = poses.sampled(frame)
      ? String(poses.samples(frame, row, k).length)
      : `not of this frame; of every ${poses.about.samplesEvery}th here`;
    yield ["Samples", words];
  }

  #modes(frame, row, k) {
    const found = this.poses.modes(frame, row, k);
    if (!found.length) return [];
    const list = make("ul", { className: "modes" });
    for (const { at, share, spread } of found) {
      const bar = make("span", { className: "share" });
      bar.style.width = `${100 * share}%`;
      const where = at.map((v) => fixed(v, 1)).join(", ");
      const alone = Number.isNaN(spread);
      const words =
        `${Math.round(100 * share)} % at ${where}, ` +
        (alone ? "one sample" : `spread ${pixels(spread)} px`);
      list.append(make("li", {}, bar, make("span", { textContent: words })));
    }
    const heading = make("h3", { textContent: "Where its samples gather" });
    return [heading, list];
  }
}
