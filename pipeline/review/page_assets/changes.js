// Changes by the user, each of which can be undone: answers to any number of questions.
//
// A change lists its questions, their answers before and after, and the voices before and after
// of those that more than one person has answered.

const undoStack = [];
const redoStack = [];

const seconds = () => Math.floor(Date.now() / 1000);

function answersOf(questions) {
  const {length} = questions;
  const {value, by, at} = noAnswers(length);
  for (let i = 0; i < length; i++) {  // those without room yet are 0
    value[i] = state.value[questions[i]];
    by[i] = state.by[questions[i]];
    at[i] = state.at[questions[i]];
  }
  return {value, by, at};
}

/** Sets the questions of a change to one of its sides, `before` or `after`. */
function setTo(change, side) {
  const {value, by, at} = change[side];
  for (let i = 0; i < change.questions.length; i++) {
    setAnswer(change.questions[i], value[i], by[i], at[i]);
  }
  for (const entry of change.voices) setVoices(entry.question, entry[side]);
}

function applyChange(change) {
  change.before = answersOf(change.questions);
  setTo(change, 'after');
  undoStack.push(change);
  redoStack.length = 0;
  refresh();
  saveSoon();
  announce(change.words);
}

/** Takes back or does again the last change of one stack, and moves it to the other. */
function moveLast(from, to, side, word, focus) {
  const change = from.pop();
  if (!change) return;
  setTo(change, side);
  to.push(change);
  if (change.image >= 0 && positions[change.image] >= 0) goTo(positions[change.image], focus);
  refresh();
  saveSoon();
  announce(`${word}: ${change.words}`);
}

const undo = (focus = true) => moveLast(undoStack, redoStack, 'before', 'Undone', focus);
const redo = (focus = true) => moveLast(redoStack, undoStack, 'after', 'Done again', focus);

/** A change that makes new lists of voices hold, by question. */
function changeOfVoices(lists, image, words) {
  const change = {questions: new Uint32Array(lists.size), image, words, voices: []};
  const {value, by, at} = noAnswers(lists.size);
  let place = 0;
  for (const [question, list] of lists) {
    const held = list.length ? inForce(list) : {value: 0, by: ME, at: 0};
    change.questions[place] = question;
    [value[place], by[place], at[place]] = [held.value, held.by, held.at];
    place++;
    if (voices.has(question) || list.length > 1 || list[0]?.settles) {
      change.voices.push({question, before: voices.get(question), after: list});
    }
  }
  return {...change, after: {value, by, at}};
}

/**
 * The voices of a question once the user has answered. Against others' answers, or a settlement of
 * the user's own, this settles.
 */
function afterMyAnswer(question, value, now) {
  const list = voicesOf(question);
  const settles = !isOfPhoto(question) && list.some((voice) =>
    voice.value !== value && (voice.by !== ME || voice.settles));
  const at = list.reduce((latest, voice) => Math.max(latest, voice.at + 1), now);
  return joined(list, {by: ME, at, value, settles});
}

/** Answers some labels of a photo. One that the user has verified is verified anew as it is. */
function answer(image, values, words) {
  const now = seconds();
  const lists = new Map();
  for (const [entry, value] of values) lists.set(entry, afterMyAnswer(entry, value, now));
  if (photoVoices(image).some((voice) => voice.by === ME)) addVerified(lists, image, now);
  applyChange(changeOfVoices(lists, image, words));
}

/** Adds that a photo is verified: all its labels that are not answered yet are as they show. */
function addVerified(lists, image, now) {
  const mine = [...lists.values()].flat().filter((voice) => voice.by === ME);
  const at = mine.reduce((latest, voice) => Math.max(latest, voice.at), now);
  for (const entry of entriesOf(image)) {
    if (lists.has(entry)) continue;
    if (!shownAsLabel(entry)) continue;
    const value = state.kept[entry] ? YES : NO;
    lists.set(entry, joined(voicesOf(entry), {by: ME, at, value, settles: false}));
  }
  lists.set(ofPhoto(image), joined(photoVoices(image), {by: ME, at, value: YES, settles: false}));
}

const said = (entry, word) =>
  `${isolate(classes[columnOf(entry)])} ${word} in ${isolate(fileName(imageOf(entry)))}`;

/** Decides a label the other way. */
function flip(entry) {
  const value = state.kept[entry] ? NO : YES;
  const word = value === NO ? 'dropped' : entry < candidateCount ? 'kept' : 'added';
  answer(imageOf(entry), [[entry, value]], said(entry, word));
}

/** Decides a label as it is. */
function confirm(entry) {
  answer(imageOf(entry), [[entry, state.kept[entry] ? YES : NO]], said(entry, 'confirmed'));
}

/** Verifies a photo, disputes in it settled as they show; or takes that back. */
function verify(image) {
  if (isVerified(image)) {
    takeBack(image);
    return;
  }
  const now = seconds();
  const lists = new Map();
  for (const entry of entriesOf(image)) {
    if (disputed.has(entry)) lists.set(entry, afterMyAnswer(entry, state.kept[entry] ? YES : NO, now));
  }
  addVerified(lists, image, now);
  applyChange(changeOfVoices(lists, image, `${isolate(fileName(image))} verified`));
}

/** Takes back that a photo is verified, and with it the answers that only confirm the program. */
function takeBack(image) {
  const lists = new Map([[ofPhoto(image), []]]);
  for (const entry of entriesOf(image)) {
    const own = voicesOf(entry).every((voice) => voice.by === ME);
    if (own && entry < candidateCount && state.value[entry] && !isAgainst(entry)) lists.set(entry, []);
  }
  applyChange(changeOfVoices(lists, image, `${isolate(fileName(image))} is to be verified`));
}
