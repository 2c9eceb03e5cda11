// Which frame is asked for, and which one is in sight.

const TRIES = 10; // of one seek

// `asked` runs ahead of `shown` while the video looks for its picture. Without a
// video, or with one that does not play, time passes by itself.
class Clock {
  constructor(poses, video, changed) {
    this.poses = poses;
    this.video = video;
    this.changed = changed;
    this.places = poses.shown ?? poses.times; // of frames in the video
    this.asked = 0;
    this.shown = 0;
    this.rate = 1;
    this.running = false;
    this.sought = -1; // what the video is looking for
    this.seen = null; // what it shows, where the browser tells
    if (video) this.#listen();
  }

  go(frame) {
    this.asked = Math.max(0, Math.min(this.poses.count - 1, frame));
    if (!this.video) this.shown = this.asked;
    else if (this.sought < 0) this.#seek();
    this.changed();
  }

  toggle() {
    if (this.running) this.pause();
    else this.play();
  }

  play() {
    if (this.poses.count < 2) return;
    if (this.asked === this.poses.count - 1) this.go(0);
    this.running = true;
    if (this.video) {
      this.video.playbackRate = this.rate;
      this.video.play().catch(() => this.pause());
      if (!this.exact) this.#follow();
    } else {
      this.#tick(performance.now(), this.poses.times[this.asked]);
    }
    this.changed();
  }

  pause() {
    if (!this.running) return;
    this.running = false;
    if (this.video) {
      this.video.pause();
      this.go(this.shown);
    }
    this.changed();
  }

  setRate(rate) {
    this.rate = rate;
    if (this.video) this.video.playbackRate = rate;
  }

  // Goes on without the video.
  lose() {
    this.pause();
    this.video = null;
    this.places = this.poses.times;
    this.go(this.asked);
  }

  #listen() {
    const { video } = this;
    this.exact = "requestVideoFrameCallback" in video;
    if (this.exact) this.#watch();
    video.addEventListener("loadedmetadata", () => this.#seek());
    video.addEventListener("ended", () => this.pause());
    video.addEventListener("seeked", () => {
      // By then its picture is in sight, and told of.
      requestAnimationFrame(() => requestAnimationFrame(() => this.#arrive()));
    });
  }

  // Keeps to the pictures that the video shows, playing or not.
  #watch() {
    this.video.requestVideoFrameCallback((now, { mediaTime }) => {
      if (!this.video) return;
      this.seen = this.#at(mediaTime);
      if (this.running && this.sought < 0) this.#move(this.seen);
      this.#watch();
    });
  }

  // The same where the browser does not tell of pictures.
  #follow() {
    requestAnimationFrame(() => {
      if (!this.running || !this.video) return;
      if (this.sought < 0) this.#move(this.#at(this.video.currentTime));
      this.#follow();
    });
  }

  #move(frame) {
    this.shown = this.asked = frame;
    this.changed();
  }

  // Files round to a thousandth of a second.
  #at(time) {
    return lastAtMost(this.places, time + 1e-3);
  }

  #seek() {
    if (this.video.readyState < 1) return; // `loadedmetadata` will come
    const begin = this.places[this.asked];
    const next = this.places[this.asked + 1] ?? Infinity;
    let end = Math.min(begin + 1 / this.poses.about.fps, next);
    const { duration } = this.video;
    if (duration > begin) end = Math.min(end, duration);
    this.sought = this.asked;
    this.tries = TRIES;
    // In the middle of the time that it is shown, rounding does no harm.
    this.video.currentTime = (begin + end) / 2;
  }

  // Files with uneven frames say of how long each is shown only the mean, and
  // browsers go by that: so what came is held against what was sought.
  #arrive() {
    const { video } = this;
    if (!video || this.sought < 0 || video.seeking) return;
    const found = this.seen ?? this.sought;
    const off = this.places[this.sought] - this.places[found];
    if (off && this.asked === this.sought && this.tries--) {
      video.currentTime += off;
      return;
    }
    const moved = this.asked !== this.sought;
    this.sought = -1;
    this.shown = found;
    if (moved) this.#seek();
    this.changed();
  }

  #tick(before, time) {
    requestAnimationFrame((now) => {
      if (!this.running || this.video) return;
      const passed = time + ((now - before) / 1000) * this.rate;
      this.#move(this.poses.frameAt(passed));
      if (passed >= this.poses.end) this.pause();
      else this.#tick(now, passed);
    });
  }
}
