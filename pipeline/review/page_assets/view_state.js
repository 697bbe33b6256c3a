// What the page remembers beside the answers: filters, order and place, and what can be undone.

const viewKey = `review-view:${data.key}`;
const undoKey = `review-undo:${data.key}`;
const UNDO_CHARACTERS = 2e6;  // of all changes; the oldest are forgotten
const packedChanges = new WeakMap();
let undoTimer = 0;

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

/** Not at once with the answers: each takes its time. */
function saveUndoSoon() {
  clearTimeout(undoTimer);
  undoTimer = setTimeout(saveUndo, SAVE_MS);
}

/** Undo belongs to one tab and to the answers stored with it: those of `storedText`. */
function saveUndo() {
  clearTimeout(undoTimer);
  undoTimer = 0;
  let room = UNDO_CHARACTERS;
  const stacks = [undoStack, redoStack].map((stack) => {
    const packed = [];
    for (const change of [...stack].reverse()) {
      const text = packChange(change);
      room -= text.length;
      if (room < 0) break;
      packed.unshift(text);
    }
    return `[${packed}]`;
  });
  try {
    sessionStorage.setItem(undoKey, `[${undoFingerprint()},${stacks}]`);
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
  if (!found || found[0] !== undoFingerprint()) return;
  undoStack.push(...found[1].map(unpackChange));
  redoStack.push(...found[2].map(unpackChange));
}

/** Whose answers can be undone, and which: the user's of now. */
const undoFingerprint = () => fingerprint(`${people[ME]} ${storedText ?? ''}`);

/** A number that two different texts hardly share. */
function fingerprint(text) {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0;
  return hash;
}

function packChange(change) {
  if (packedChanges.has(change)) return packedChanges.get(change);
  const text = JSON.stringify({
    questions: packQuestions(change.questions), image: change.image, words: change.words,
    voices: change.voices, before: packAnswers(change.before), after: packAnswers(change.after),
  });
  packedChanges.set(change, text);
  return text;
}

function unpackChange({questions: packed, before, after, ...rest}) {
  const questions = unpackQuestions(packed);
  return {
    ...rest, questions,
    before: unpackAnswers(before, questions.length), after: unpackAnswers(after, questions.length),
  };
}
