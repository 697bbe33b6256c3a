// Answers of people, apart from what the program thinks, and the counts that follow from both.

const YES = 1;
const NO = 2;  // 0: nobody has answered
const ME = 0;  // place in `people`

/** Room for answers: what was said, by whom in `people`, and when, in seconds since 1970. */
const noAnswers = (length) =>
  ({value: new Uint8Array(length), by: new Uint16Array(length), at: new Uint32Array(length)});

// By question. `kept` is what holds for a label: the answer, or else the program's decision.
const state = {...noAnswers(firstAdded), kept: new Uint8Array(firstAdded)};
const keptIn = new Uint32Array(imageCount);      // labels kept in an image
const disputesIn = new Uint32Array(imageCount);  // labels in dispute
const counts = {
  verified: 0, decided: 0, bare: imageCount,  // photos, labels, photos in which no label is kept
  kept: new Int32Array(classes.length),       // by class, of its candidates
  total: new Int32Array(classes.length),
  decidedBy: new Int32Array(classes.length),
  added: new Int32Array(classes.length),
};

function setKept(entry, isKept) {
  if (state.kept[entry] === isKept) return;
  const sign = isKept ? 1 : -1;
  const image = imageOf(entry);
  state.kept[entry] = isKept;
  (entry < candidateCount ? counts.kept : counts.added)[columnOf(entry)] += sign;
  counts.bare -= Number(keptIn[image] === 0);
  keptIn[image] += sign;
  counts.bare += Number(keptIn[image] === 0);
}

for (let entry = 0; entry < candidateCount; entry++) {
  counts.total[columns[entry]]++;
  setKept(entry, keptByProgram[entry]);
}

/** Makes room for questions up to one. */
function makeRoom(question) {
  if (question < state.value.length) return;
  for (const name of Object.keys(state)) {
    const before = state[name];
    state[name] = new before.constructor(question + 1 + (before.length >> 3));
    state[name].set(before);
  }
}

function setAnswer(question, value, by, at) {
  makeRoom(question);
  const before = state.value[question];
  state.value[question] = value;
  state.by[question] = by;
  state.at[question] = at;
  if (isOfPhoto(question)) {
    if (disputesIn[imageOf(question)]) return;
    counts.verified += Number(value === YES) - Number(before === YES);
    return;
  }
  const more = Number(value > 0) - Number(before > 0);
  counts.decided += more;
  counts.decidedBy[columnOf(question)] += more;
  const program = question < candidateCount ? keptByProgram[question] : 0;
  setKept(question, value ? Number(value === YES) : program);
}

/** Whether somebody has said it of every label: those that are not named are false. */
const isWhole = (image) => state.value[ofPhoto(image)] === YES;
/** Whether, moreover, nobody differs. */
const isVerified = (image) => isWhole(image) && !disputesIn[image];
/** Whether an entry is a label at all: not one that was only offered. */
const shownAsLabel = (entry) => entry < candidateCount || state.value[entry] > 0;

const isAgainst = (entry) => state.value[entry] > 0 && entry < candidateCount &&
  state.kept[entry] !== keptByProgram[entry];

/** Whether the program kept a label below the threshold: no photo's most probable one goes. */
function isKeptAsBest(entry) {
  if (entry >= candidateCount || state.value[entry] || !keptByProgram[entry]) return false;
  const all = probability.subarray(starts[images[entry]], starts[images[entry] + 1]);
  return probability[entry] < data.threshold * probabilitySteps &&
    all.every((other) => other <= probability[entry]);
}
