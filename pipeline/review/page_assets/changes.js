// Changes by the user: to flip a decision, to mark a photo as looked at, to undo and to redo.

function applyChange(change) {
  toggle(change);
  undoStack.push(change);
  redoStack.length = 0;
  refresh();
  saveSoon();
  announce(change.words);
}

/** Toggles the last change of one stack, and moves it to the other. */
function toggleLast(from, to, word, focus) {
  const change = from.pop();
  if (!change) return;
  toggle(change);
  to.push(change);
  if (change.image >= 0 && positions[change.image] >= 0) goTo(positions[change.image], focus);
  refresh();
  saveSoon();
  announce(`${word}: ${change.words}`);
}

const undo = (focus = true) => toggleLast(undoStack, redoStack, 'Undone', focus);
const redo = (focus = true) => toggleLast(redoStack, undoStack, 'Done again', focus);

/** Flips the decision on a candidate; its photo counts as looked at. */
function flip(entry) {
  const image = imageOf(entry);
  const word = kept[entry] ? 'dropped' : 'kept';
  applyChange({
    flips: [entry], marks: seen[image] ? [] : [image], image,
    words: `${isolate(classes[columns[entry]])} ${word} in ${isolate(fileName(image))}`,
  });
}

/** Marks a photo as looked at, or takes the mark back. */
function mark(image) {
  const words = seen[image] ? 'is to be looked at' : 'looked at';
  applyChange({flips: [], marks: [image], image, words: `${isolate(fileName(image))} ${words}`});
}
