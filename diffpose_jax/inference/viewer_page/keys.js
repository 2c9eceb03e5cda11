// What keys do, but in fields that take them themselves.

const JUMP = 10; // frames of a long step

function listenToKeys(viewer) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (takes(event.target, event.key)) return;
    const action = keyAction(viewer, event);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

// Whether an element has a use for a key: buttons for two of them alone.
function takes(element, key) {
  const own = element.closest?.("input, select, summary, button");
  if (!own) return false;
  const pressed = own.matches("button, summary, [type=checkbox]");
  return !pressed || key === " " || key === "Enter";
}

function keyAction(viewer, { key, shiftKey }) {
  const { clock, span, poses } = viewer;
  const long = shiftKey ? JUMP : 1;
  const now = () => poses.times[clock.asked];
  const actions = {
    " ": () => clock.toggle(),
    ArrowLeft: () => viewer.step(-long),
    ArrowRight: () => viewer.step(long),
    PageUp: () => viewer.step(-JUMP),
    PageDown: () => viewer.step(JUMP),
    Home: () => viewer.step(-Infinity),
    End: () => viewer.step(Infinity),
    "[": () => turnPerson(viewer, -1),
    "]": () => turnPerson(viewer, 1),
    ",": () => turnJoint(viewer, -1),
    ".": () => turnJoint(viewer, 1),
    "+": () => span.zoom(2, now()),
    "-": () => span.zoom(0.5, now()),
    0: () => span.whole(),
  };
  return actions[key];
}

function turnPerson(viewer, by) {
  const all = viewer.timeline.listed.map((one) => one.track);
  if (!all.length) return;
  const place = all.indexOf(viewer.track) + by;
  viewer.choose(all[(place + all.length) % all.length]);
}

function turnJoint(viewer, by) {
  const { joints } = viewer.poses;
  viewer.chooseJoint((viewer.k + by + joints) % joints);
}
