// Export of what people decided: review.json, which this page imports again, and review.csv.

const FORMAT = 'review-2';
const CSV_HEAD = ['path', 'candidate', 'probability', 'decision', 'by'];
const BETWEEN_FILES_MS = 1000;  // Safari keeps one of two downloads that start together

/**
 * A cell of CSV. Spreadsheets run a cell that starts like a formula: an apostrophe stops it,
 * and quotes keep a name in one cell where semicolons separate.
 */
function csvCell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

const csvLine = (cells) => `${cells.map(csvCell).join(',')}\r\n`;

/** A file's text, a part an image: as a whole it may be longer than a string can be. */
function textByImage(part) {
  return Array.from({length: imageCount}, (_, image) => part(image));
}

function csvText() {
  return [csvLine(CSV_HEAD), ...textByImage((image) => entriesOf(image).filter(shownAsLabel)
    .map((entry) => csvLine([
      paths[image], classes[columnOf(entry)], chanceText(entry),
      state.kept[entry] ? entry < candidateCount ? 'kept' : 'added' : 'dropped',
      state.value[entry] ? nameOf(state.by[entry]) : 'script',
    ])).join(''))];
}

const timeText = (at) => new Date(at * 1000).toISOString().replace('.000', '');

function photoRecord(image) {
  const sha256 = hashOf(image);
  return sha256 ? {path: paths[image], sha256} : {path: paths[image]};
}

/** Entries of an image that somebody answered, in the order of classes. */
const answeredOf = (image) => entriesOf(image).filter((entry) => spoken(entry).length)
  .sort((a, b) => columnOf(a) - columnOf(b));

/** Voices in an order that does not depend on what was imported first. */
const inOrder = (list) => [...list].sort((a, b) =>
  a.at - b.at || a.settles - b.settles || (people[a.by] < people[b.by] ? -1 : 1));

/** What a person said last, YES, NO or nothing. */
const saidBy = (by, entry) => spoken(entry).filter((voice) => voice.by === by)
  .reduce((last, voice) => !last || voice.at >= last.at ? voice : last, null)?.value;

/** The photo as each person who verified it knows it. */
const verifiedRecords = (image) => inOrder(photoVoices(image)).map(({by, at}) => ({
  ...photoRecord(image),
  true_labels: answeredOf(image).filter((entry) => saidBy(by, entry) === YES)
    .map((entry) => classes[columnOf(entry)]),
  by: people[by], at: timeText(at),
}));

/** Single answers: those of people who have not verified the photo, and settled disputes. */
function decisionRecords(image) {
  const known = new Set(photoVoices(image).map((voice) => voice.by));
  return answeredOf(image).flatMap((entry) => inOrder(spoken(entry))
    .filter((voice) => voice.settles || !known.has(voice.by))
    .map(({by, at, value, settles}) => ({
      ...photoRecord(image), label: classes[columnOf(entry)], true: value === YES,
      by: people[by], at: timeText(at), ...(settles ? {settles: true} : {}),
    })));
}

function jsonText() {
  const lists = [verifiedRecords, decisionRecords].map((records) => {
    let first = true;
    return textByImage((image) => {
      const lines = records(image).map((record) => JSON.stringify(record));
      if (!lines.length) return '';
      const begin = first ? '\n' : ',\n';
      first = false;
      return begin + lines.join(',\n');
    });
  });
  return [
    `{"format": "${FORMAT}", "key": ${JSON.stringify(data.key)}, ` +
      `"by": ${JSON.stringify(people[ME])},\n"verified": [`,
    ...lists[0], '],\n"decisions": [', ...lists[1], ']}\n',
  ];
}

function download(name, blob) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** First the file that this page reads again: a browser may ask before it saves a second one. */
async function exportFiles() {
  if (await askName() === null) return;
  try {
    download('review.json', new Blob(jsonText(), {type: 'application/json'}));
    const table = new Blob(csvText(), {type: 'text/csv;charset=utf-8'});  // of the same moment
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_FILES_MS));
    download('review.csv', table);
    announce('Saved review.json and review.csv among your downloads');
  } catch (error) {
    warn(`The export failed (${error.name}: ${error.message}).`);
  }
}
