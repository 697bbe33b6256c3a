// Storage of answers in the browser, which several tabs may share.
//
// Each text that is stored says which one it was made after: a tab that writes without having seen
// another's text has not taken back what it lacks.

const SAVE_MS = 250;

// The photos of another split are another review of the same run.
const storageKey = `review-3:${data.key}:${imageCount}:${candidateCount}`;
let storedText = null;  // and what it says: all that this page knows of the storage
let stored = {value: new Uint8Array(0), by: [], at: [], voices: new Map()};
let saveTimer = 0;
let storageOrder = null;

/** Questions in the order of storage: a photo's labels and whether it is verified share times. */
function questionsByImage() {
  if (storageOrder?.length === firstAdded + added.images.length) return storageOrder;
  const order = new Uint32Array(firstAdded + added.images.length);
  let place = 0;
  for (let image = 0; image < imageCount; image++) {
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) order[place++] = entry;
    order[place++] = ofPhoto(image);
  }
  for (; place < order.length; place++) order[place] = place;
  storageOrder = order;
  return order;
}

function storageText(token) {
  const order = questionsByImage();
  const [value, runs] = packAnswers(answersOf(order));
  return JSON.stringify({
    token, after: stored.token,
    images: imageCount, entries: candidateCount, carried: data.carried, people,
    added: added.images.map((image, i) => [image, added.columns[i]]),
    value, runs, voices: [...voices],
  });
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = 0;
  restore();
  const token = Math.random();
  const text = storageText(token);
  try {
    localStorage.setItem(storageKey, text);
    storedText = text;
    stored = {...snapshot(), token};
    saveUndoSoon();
  } catch (error) {
    warn('This browser does not store decisions here ' +
      `(${error.name}): export them before you close the page.`);
  }
}

function snapshot() {
  return {
    value: state.value.slice(), by: state.by.slice(), at: state.at.slice(),
    voices: new Map(voices),
  };
}

function saveSoon() {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(save, SAVE_MS);
}

/** Saves at once what would be saved soon. */
function flush() {
  saveView();
  if (saveTimer) save();
  if (undoTimer) saveUndo();
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
      typeof found.value !== 'string' ||
      ![found.people, found.added, found.runs, found.voices].every(Array.isArray)) {
    warn('Stored decisions belong to other labels, and are not shown.');
    return null;
  }
  return unpackStored(found);
}

/** Stored answers by this page's questions and people, which another tab may count otherwise. */
function unpackStored(found) {
  const {people: names} = found;
  const isMine = !names[ME] || !people[ME] || names[ME] === people[ME];  // or of another user
  const who = names.map((name, place) => place === ME && isMine ? ME : personOf(name));
  const entries = found.added.map(([image, column]) => makeEntry(image, column));
  makeRoom(firstAdded + added.images.length);
  const own = (question) => question < firstAdded ? question : entries[question - firstAdded];
  const order = questionsByImage().subarray(0, firstAdded + entries.length).map(own);
  const answers = unpackAnswers([found.value, found.runs], order.length);
  const {length} = state.value;
  const result = {
    token: found.token, after: found.after, carried: found.carried, ...noAnswers(length),
    voices: new Map(found.voices.map(([question, list]) =>
      [own(question), list.map((voice) => ({...voice, by: who[voice.by]}))])),
  };
  for (let place = 0; place < order.length; place++) {
    if (answers.value[place] === 0) continue;
    result.value[order[place]] = answers.value[place];
    result.by[order[place]] = who[answers.by[place]];
    result.at[order[place]] = answers.at[place];
  }
  return result;
}

/** Takes over what an earlier visit or another tab has stored, and leaves the rest as it is. */
function restore() {
  const found = readStored();
  if (!found) return null;
  const isKnown = stored.token === undefined || found.after === stored.token;
  const isOlder = (question) => found.value[question] === 0 || found.at[question] < state.at[question];
  const [news, mine] = [[], new Set()];
  for (let question = 0; question < found.value.length; question++) {
    const changed = found.value[question] !== (stored.value[question] ?? 0) ||
      found.by[question] !== (stored.by[question] ?? 0) ||
      found.at[question] !== (stored.at[question] ?? 0);
    if (!isKnown && state.value[question] && isOlder(question)) mine.add(question);
    else if (changed) news.push(question);
  }
  const heard = [...new Set([...found.voices.keys(), ...stored.voices.keys()])].filter((question) =>
    JSON.stringify(found.voices.get(question)) !== JSON.stringify(stored.voices.get(question)) &&
    !mine.has(question));
  for (const question of heard) setVoices(question, found.voices.get(question));
  for (const question of news) {
    setAnswer(question, found.value[question], found.by[question], found.at[question]);
  }
  stored = found;
  leaveToOthers(new Set([...news, ...heard]));
  if (mine.size) saveSoon();
  refresh();
  return found;
}
