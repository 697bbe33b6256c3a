// Packing of answers into short text, for a storage that holds some five million characters.
//
// Loops, and no function for each answer: a review may have millions.

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const FEW = 2000;  // questions, up to which a list is shorter than a mark for every question

/** Values 0 to 3, three to a character. */
function packValues(values) {
  const codes = new Uint8Array(Math.ceil(values.length / 3));
  for (let i = 0; i < values.length; i++) codes[(i / 3) | 0] |= values[i] << (2 * (i % 3));
  for (let i = 0; i < codes.length; i++) codes[i] = CHARACTERS.charCodeAt(codes[i]);
  return new TextDecoder().decode(codes);
}

function unpackValues(text, length) {
  const numbers = new Uint8Array(128);
  for (let i = 0; i < CHARACTERS.length; i++) numbers[CHARACTERS.charCodeAt(i)] = i;
  const values = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    values[i] = (numbers[text.charCodeAt((i / 3) | 0)] >> (2 * (i % 3))) & 3;
  }
  return values;
}

/** [values as text, runs of equal (by, at): length, by, difference of `at` from the run before]. */
function packAnswers({value, by, at}) {
  const runs = [];
  let [length, lastBy, lastAt, before] = [0, 0, 0, 0];
  for (let i = 0; i < value.length; i++) {
    if (value[i] === 0) continue;
    if (length && by[i] === lastBy && at[i] === lastAt) {
      length++;
      continue;
    }
    if (length) {
      runs.push(length, lastBy, lastAt - before);
      before = lastAt;
    }
    [length, lastBy, lastAt] = [1, by[i], at[i]];
  }
  if (length) runs.push(length, lastBy, lastAt - before);
  return [packValues(value), runs];
}

function unpackAnswers([text, runs], length) {
  const value = unpackValues(text, length);
  const {by, at} = noAnswers(length);
  let [run, left, time] = [-3, 0, 0];
  for (let i = 0; i < length; i++) {
    if (value[i] === 0) continue;
    if (left === 0) {
      run += 3;
      left = runs[run];
      time += runs[run + 2];
    }
    left--;
    by[i] = runs[run + 1];
    at[i] = time;
  }
  return {value, by, at};
}

/** Questions as differences each from the one before, or as marks of all questions in order. */
function packQuestions(questions) {
  if (questions.length <= FEW) {
    return Array.from(questions, (question, i) => question - (questions[i - 1] ?? 0));
  }
  const marks = new Uint8Array(state.value.length);
  for (const question of questions) marks[question] = 1;
  return packValues(marks);
}

function unpackQuestions(packed) {
  if (typeof packed !== 'string') {
    let last = 0;
    return Uint32Array.from(packed, (difference) => last += difference);
  }
  const marks = unpackValues(packed, packed.length * 3);
  return marked(marks);
}

/** The indices that are not 0, in order. */
function marked(marks) {
  let count = 0;
  for (let i = 0; i < marks.length; i++) if (marks[i]) count++;
  const result = new Uint32Array(count);
  let place = 0;
  for (let i = 0; i < marks.length; i++) if (marks[i]) result[place++] = i;
  return result;
}
