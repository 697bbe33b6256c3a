// Packing of many numbers into short text, for a storage that holds some five million characters.

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Values 0 to 3, three to a character. */
function packValues(values) {
  const codes = new Uint8Array(Math.ceil(values.length / 3));
  for (let i = 0; i < values.length; i++) codes[(i / 3) | 0] |= values[i] << (2 * (i % 3));
  for (let i = 0; i < codes.length; i++) codes[i] = CHARACTERS.charCodeAt(codes[i]);
  return new TextDecoder().decode(codes);
}

function unpackValues(text, length) {
  const values = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    values[i] = (CHARACTERS.indexOf(text[(i / 3) | 0]) >> (2 * (i % 3))) & 3;
  }
  return values;
}

/** Pairs (by, at) in runs of equal ones: [length, by, difference of `at` from the run before]. */
function packRuns(by, at) {
  const runs = [];
  let last = 0;
  for (let i = 0; i < by.length; i++) {
    if (i && by[i] === by[i - 1] && at[i] === at[i - 1]) {
      runs[runs.length - 3]++;
    } else {
      runs.push(1, by[i], at[i] - last);
      last = at[i];
    }
  }
  return runs;
}

function unpackRuns(runs, length) {
  const [by, at] = [new Uint8Array(length), new Uint32Array(length)];
  let [place, time] = [0, 0];
  for (let i = 0; i < runs.length; i += 3) {
    time += runs[i + 2];
    by.fill(runs[i + 1], place, place + runs[i]);
    at.fill(time, place, place + runs[i]);
    place += runs[i];
  }
  return {by, at};
}
