// Decisions and photos looked at, as they are now, and the changes that led to them.

const kept = keptByScript.slice();               // by entry: 1 kept, 0 dropped
const seen = new Uint8Array(imageCount);         // by image: 1 looked at
const agreed = new Uint8Array(candidateCount);   // 1 where an earlier decision is the script's now
const counts = {
  seen: 0, changed: 0,
  kept: new Int32Array(classes.length),
  total: new Int32Array(classes.length),
  changedBy: new Int32Array(classes.length),
};
for (let entry = 0; entry < candidateCount; entry++) {
  counts.total[columns[entry]]++;
  counts.kept[columns[entry]] += kept[entry];
}

// A change lists what it toggles: {flips: [entry], marks: [image], image, words}. It is its own
// inverse, so undoing and redoing are one step.
const undoStack = [];
const redoStack = [];

function toggle(change) {
  for (const entry of change.flips) {
    kept[entry] ^= 1;
    const sign = kept[entry] ? 1 : -1;
    const away = kept[entry] === keptByScript[entry] ? -1 : 1;
    counts.kept[columns[entry]] += sign;
    counts.changedBy[columns[entry]] += away;
    counts.changed += away;
  }
  for (const image of change.marks) {
    seen[image] ^= 1;
    counts.seen += seen[image] ? 1 : -1;
  }
}

/** Takes what another tab has changed out of what can be undone and redone here. */
function leaveToOthers(change) {
  const [flips, marks] = [new Set(change.flips), new Set(change.marks)];
  for (const stack of [undoStack, redoStack]) {
    const left = stack.map((own) => ({
      ...own,
      flips: own.flips.filter((entry) => !flips.has(entry)),
      marks: own.marks.filter((image) => !marks.has(image)),
    })).filter((own) => own.flips.length || own.marks.length);
    stack.splice(0, stack.length, ...left);
  }
}

/** Indices at which two arrays of one length differ. */
function differing(one, other) {
  const list = [];
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) list.push(i);
  return list;
}
