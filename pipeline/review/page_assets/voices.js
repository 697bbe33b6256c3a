// Voices: what each person says to a question where several have spoken, and disputes.
//
// A person has two voices at most, the latest answer and the latest that settled a dispute. To
// merge is to keep the later voice of each kind: in any order, any number of times, the same.

const NAME_KEY = 'review-name';
const people = [readName()];
const voices = new Map();    // question -> [{by, at, value, settles}], where one is not enough
const disputed = new Set();  // questions

function readName() {
  try {
    return localStorage.getItem(NAME_KEY) ?? '';
  } catch {
    return '';  // storage warns by itself
  }
}

function personOf(name) {
  const place = people.indexOf(name);
  return place >= 0 ? place : people.push(name) - 1;
}

const nameOf = (person) => people[person] || (person === ME ? 'you' : 'somebody');
const photoVoices = (image) => spoken(ofPhoto(image));

function spoken(question) {
  if (voices.has(question)) return voices.get(question);
  const value = state.value[question];  // undefined where there is no room yet
  return value ? [{by: state.by[question], at: state.at[question], value, settles: false}] : [];
}

/** All voices; who verified a photo has said no to the labels that were not there. */
function voicesOf(question) {
  const list = spoken(question);
  if (question < firstAdded) return list;
  const silent = photoVoices(imageOf(question)).filter(({by}) => !list.some((v) => v.by === by));
  return [...list, ...silent.map(({by, at}) => ({by, at, value: NO, settles: false}))];
}

/** Whether a voice counts more than another: the later one, at the same time any fixed choice. */
const isLater = (voice, other) => voice.at !== other.at ? voice.at > other.at
  : voice.by !== other.by ? people[voice.by] > people[other.by]
    : voice.value === YES && other.value !== YES;

/** A list with one voice more, or the same list where that is no news. */
function joined(list, voice) {
  const place = list.findIndex((v) => v.by === voice.by && v.settles === voice.settles);
  if (place < 0) return [...list, voice];
  return isLater(voice, list[place]) ? list.with(place, voice) : list;
}

/** What holds: the answer on which all agree who have spoken since the last settlement. */
function inForce(list) {
  if (list.length === 1) return list[0];
  const ofPeople = list.filter((voice) => voice.at > 0);  // the run's list speaks at 0, and is none
  if (ofPeople.length && ofPeople.length < list.length) return inForce(ofPeople);
  const latest = (some) => some.reduce((a, b) => isLater(b, a) ? b : a);
  const settling = list.filter((voice) => voice.settles);
  const last = settling.length ? latest(settling) : null;
  const open = last ? [last, ...list.filter((voice) => voice.at > last.at)] : list;
  if (open.every((voice) => voice.value === open[0].value)) return {...latest(open), open: false};
  const mine = open.filter((voice) => voice.by === ME);
  return {...(mine.length ? latest(mine) : {value: 0, by: ME, at: 0}), open: true};
}

function setVoices(question, list) {
  const known = list && (list.length > 1 || list[0]?.settles);
  if (known) voices.set(question, list); else voices.delete(question);
  setDisputed(question, Boolean(known && inForce(list).open));
}

function setDisputed(question, isOpen) {
  if (disputed.has(question) === isOpen) return;
  const image = imageOf(question);
  const before = isVerified(image);
  if (isOpen) disputed.add(question); else disputed.delete(question);
  disputesIn[image] += isOpen ? 1 : -1;
  counts.verified += Number(isVerified(image)) - Number(before);
}

/** Says in words who says what in a dispute. */
const disputeText = (question) => voices.get(question)
  .map(({by, value}) => `${nameOf(by)} ${value === YES ? 'yes' : 'no'}`).join(', ');

/** Makes the answers of one person those of another, who may have answered too. */
function moveAnswers(from, to) {
  for (let question = 0; question < state.by.length; question++) {
    if (state.value[question] && state.by[question] === from) state.by[question] = to;
  }
  for (const [question, list] of voices) {
    let moved = list.map((voice) => voice.by === from ? {...voice, by: to} : voice)
      .reduce(joined, []);
    const alone = moved.every((voice) => voice.by === to) && list.some((voice) => voice.by === to);
    if (alone) moved = [{...inForce(moved), settles: false}];
    const {value, by, at} = inForce(moved);
    setVoices(question, moved);
    setAnswer(question, value, by, at);
  }
  undoStack.length = redoStack.length = 0;  // they name who answered
}

/** Calls the user by a name; somebody of that name, of an earlier review, is the user too. */
function renameMe(name) {
  const other = people.indexOf(name);
  people[ME] = name;
  try {
    localStorage.setItem(NAME_KEY, name);
  } catch {
    // it is asked again
  }
  if (other <= ME) return;
  people[other] = '';
  moveAnswers(other, ME);
}

/** Lets another person go on: what the user has decided stays decided by the one who was here. */
function giveWayTo(name) {
  const before = people[ME];
  people[ME] = '';
  moveAnswers(ME, people.push(before) - 1);
  renameMe(name);
}
