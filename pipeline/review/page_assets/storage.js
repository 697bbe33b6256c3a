// Storage of decisions in the browser, which several tabs may share.
//
// Decisions are stored as such, not as differences from the script's: the key is the same for any
// threshold. (The format without a number in its key held differences.)

const SAVE_MS = 250;

const storageKey = `review-2:${data.key}`;
let storedText = null;  // and what it says: all that this page knows of the storage
let stored = {kept: keptByScript.slice(), seen: new Uint8Array(imageCount)};
let saveTimer = 0;

/** Indices that fulfil `test`, each as its distance from the one before: short to write. */
function distances(length, test) {
  const list = [];
  let last = 0;
  for (let i = 0; i < length; i++) {
    if (test(i)) {
      list.push(i - last);
      last = i;
    }
  }
  return list;
}

/** The inverse of `distances`, but for indices that are none below `length`. */
function indices(list, length) {
  let last = 0;
  return list.map((distance) => last += distance)
    .filter((index) => Number.isInteger(index) && index >= 0 && index < length);
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = 0;
  restore();
  const mine = (entry) => kept[entry] !== keptByScript[entry] || agreed[entry];
  const text = JSON.stringify({
    images: imageCount, entries: candidateCount,
    kept: distances(candidateCount, (entry) => mine(entry) && kept[entry]),
    dropped: distances(candidateCount, (entry) => mine(entry) && !kept[entry]),
    seen: distances(imageCount, (image) => seen[image]),
  });
  try {
    localStorage.setItem(storageKey, text);
    storedText = text;
    stored = {kept: kept.slice(), seen: seen.slice()};
  } catch (error) {
    warn('This browser does not store decisions here ' +
      `(${error.name}): export them before you close the page.`);
  }
}

function saveSoon() {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(save, SAVE_MS);
}

/** Saves at once what would be saved soon. */
function flush() {
  if (saveTimer) save();
}

/** What is stored, if it is news and belongs to these labels, else null. */
function readStored() {
  let found;
  try {
    const text = localStorage.getItem(storageKey);
    if (text === storedText) return null;
    storedText = text;
    found = JSON.parse(text);
  } catch (error) {
    warn(`Stored decisions could not be read (${error.name}).`);
    return null;
  }
  if (!found) return null;
  if (found.images !== imageCount || found.entries !== candidateCount ||
      ![found.kept, found.dropped, found.seen].every(Array.isArray)) {
    warn('Stored decisions belong to other labels, and are not shown.');
    return null;
  }
  return found;
}

/** Takes over what an earlier visit or another tab has stored, and leaves the rest as it is. */
function restore() {
  const found = readStored();
  if (!found) return;
  const before = stored;
  stored = {kept: keptByScript.slice(), seen: new Uint8Array(imageCount)};
  for (const [list, decision] of [[found.kept, 1], [found.dropped, 0]]) {
    for (const entry of indices(list, candidateCount)) {
      stored.kept[entry] = decision;
      if (keptByScript[entry] === decision) agreed[entry] = 1;
    }
  }
  for (const image of indices(found.seen, imageCount)) stored.seen[image] = 1;
  const news = (name, now) => differing(before[name], stored[name])
    .filter((index) => now[index] !== stored[name][index]);
  const change = {flips: news('kept', kept), marks: news('seen', seen)};
  toggle(change);
  leaveToOthers(change);
  refresh();
}
