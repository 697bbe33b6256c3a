// What the page remembers beside the answers: filters, order and place, and what can be undone.

const viewKey = `review-view:${data.key}`;
const undoKey = `review-undo:${data.key}`;
const UNDO_CHARACTERS = 2e6;  // of all changes; the oldest are forgotten
const packedChanges = new WeakMap();

const remembered = () => [...$('filter-form').querySelectorAll('input, select')];

function saveView() {
  const fields = Object.fromEntries(remembered().map((field) =>
    [field.id, field.type === 'checkbox' ? field.checked : field.value]));
  const view = {fields, image: currentImage, thresholds: [...classThresholds]};
  try {
    localStorage.setItem(viewKey, JSON.stringify(view));
  } catch {
    // the answers are what matters: storage warns of them
  }
}

/** Sets filters and order as they were; returns the photo that was current, or -1. */
function restoreView() {
  let view = null;
  try {
    view = JSON.parse(localStorage.getItem(viewKey));
  } catch {
    return -1;
  }
  if (!view) return -1;
  for (const field of remembered()) {
    const value = view.fields?.[field.id];
    if (value === undefined) continue;
    if (field.type === 'checkbox') field.checked = value;
    else if (field.tagName !== 'SELECT' || [...field.options].some((o) => o.value === value)) {
      field.value = value;
    }
  }
  for (const [column, threshold] of view.thresholds ?? []) classThresholds.set(column, threshold);
  return view.image ?? -1;
}

/** Undo belongs to one tab and to the answers stored with it: those of `text`. */
function saveUndo(text) {
  const room = {left: UNDO_CHARACTERS};
  const stacks = [undoStack, redoStack].map((stack) => {
    const packed = [];
    for (const change of [...stack].reverse()) {
      const own = packChange(change);
      room.left -= own.length;
      if (room.left < 0) break;
      packed.unshift(own);
    }
    return `[${packed}]`;
  });
  try {
    sessionStorage.setItem(undoKey, `[${fingerprint(text)},${stacks}]`);
  } catch {
    sessionStorage.removeItem(undoKey);
  }
}

function restoreUndo() {
  let found = null;
  try {
    found = JSON.parse(sessionStorage.getItem(undoKey));
  } catch {
    return;
  }
  if (!found || found[0] !== fingerprint(storedText ?? '')) return;
  undoStack.push(...found[1].map(unpackChange));
  redoStack.push(...found[2].map(unpackChange));
}

/** A number that two different texts hardly share. */
function fingerprint(text) {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0;
  return hash;
}

function packChange(change) {
  if (packedChanges.has(change)) return packedChanges.get(change);
  const {questions, image, words, voices: lists} = change;
  const gaps = [...questions].map((question, i) => question - (questions[i - 1] ?? 0));
  const side = ({value, by, at}) => [packValues(value), packRuns(by, at)];
  const text = JSON.stringify(
    {gaps, image, words, voices: lists, before: side(change.before), after: side(change.after)});
  packedChanges.set(change, text);
  return text;
}

function unpackChange({gaps, image, words, voices: lists, before, after}) {
  let last = 0;
  const questions = Uint32Array.from(gaps, (gap) => last += gap);
  const side = ([values, runs]) =>
    ({value: unpackValues(values, gaps.length), ...unpackRuns(runs, gaps.length)});
  return {questions, image, words, voices: lists, before: side(before), after: side(after)};
}
