// Reading of a review.json: its records, and the voices by question that follow from them.

const HELD_TEXT = 'format review-2, or review-1 of this very page';

/**
 * What the file says: {records, left: records of photos and names of classes not here}. A record is
 * {image, columns, isWhole, voice}: one of a whole photo has the columns of all true labels.
 */
function readReview(review, fileSeconds) {
  if (review?.format === 'review-1') return readEarlier(review, fileSeconds);
  if (review?.format !== FORMAT) throw new Error(`it is not a review.json of the ${HELD_TEXT}.`);
  const {verified = [], decisions = []} = review;
  if (!Array.isArray(verified) || !Array.isArray(decisions)) {
    throw new Error('expected lists of verified photos and of decisions.');
  }
  const found = {records: [], left: 0};
  const context = {imageOf: imageByPath(), columnOf: columnByName(), found, by: review.by};
  verified.forEach((record, i) => readVerified(record, `verified photo ${i + 1}`, context));
  decisions.forEach((record, i) => readDecision(record, `decision ${i + 1}`, context));
  return found;
}

/**
 * Calls with question and voice of all records. Who verified a photo says no to each label that any record
 * names and theirs does not: so all labels have an entry before the first voice is made.
 */
function eachVoice(records, callback) {
  for (const {image, columns: named} of records) {
    for (const column of named) makeEntry(image, column);
  }
  for (const {image, columns: named, isWhole, voice} of records) {
    if (!isWhole) {
      callback(entryOf(image, named[0]), voice);
      continue;
    }
    const no = {...voice, value: NO};
    for (const entry of entriesOf(image)) {
      callback(entry, named.includes(columnOf(entry)) ? voice : no);
    }
    callback(ofPhoto(image), voice.settles ? {...voice, settles: false} : voice);
  }
}

const imageByPath = () => new Map(paths.map((path, image) => [path, image]));
const columnByName = () => new Map(classes.map((name, column) => [name, column]));

/** The image of a record; undefined where it is none of this page, or has other bytes now. */
function imageOfRecord(record, where, {imageOf: imageByName, found}) {
  if (typeof record?.path !== 'string') throw new Error(`${where} has no path.`);
  const image = imageByName.get(record.path);
  const hash = image === undefined ? '' : hashOf(image);
  if (image !== undefined && (!hash || !record.sha256 || hash === record.sha256)) return image;
  found.left++;
  return undefined;
}

/** The columns of some names; of other classes there is nothing to say here. */
function columnsOfNames(names, {columnOf: columnByText, found}) {
  const known = names.map((name) => columnByText.get(name)).filter((column) => column !== undefined);
  found.left += names.length - known.length;
  return known;
}

/** Who said it and when: {by, at}. */
function sourceOf(record, where, context) {
  const by = record.by ?? context.by;
  const at = Math.floor(Date.parse(record.at) / 1000);
  if (typeof by !== 'string' || !(at >= 0)) throw new Error(`${where} does not say by whom and when.`);
  return {by: personOf(by), at};
}

function readVerified(record, where, context) {
  const image = imageOfRecord(record, where, context);
  if (image === undefined) return;
  if (!Array.isArray(record.true_labels)) throw new Error(`${where} has no list of true_labels.`);
  const voice = {...sourceOf(record, where, context), value: YES, settles: record.settles === true};
  const named = columnsOfNames(record.true_labels, context);
  context.found.records.push({image, columns: named, isWhole: true, voice});
}

function readDecision(record, where, context) {
  const image = imageOfRecord(record, where, context);
  if (image === undefined) return;
  if (typeof record.true !== 'boolean') throw new Error(`${where} is neither true nor false.`);
  const voice = {
    ...sourceOf(record, where, context), settles: record.settles === true,
    value: record.true ? YES : NO,
  };
  const named = columnsOfNames([record.label], context);
  if (named.length) context.found.records.push({image, columns: named, isWhole: false, voice});
}

/**
 * A file of an earlier page decides every candidate, whoever did. What a person changed can be
 * told only where the program decided then as it does now: in all photos nobody looked at.
 */
function readEarlier(review, at) {
  if (review.key !== data.key) {
    throw new Error(`it belongs to another review: its key is ${review.key}, ` +
      `this page's is ${data.key}.`);
  }
  if (!Array.isArray(review.decisions) || review.decisions.length !== candidateCount) {
    throw new Error(`expected ${plural(candidateCount, 'decision')}, ` +
      `but it has ${grouped(review.decisions?.length ?? 0)}.`);
  }
  const changed = [];
  review.decisions.forEach((decision, entry) => {
    const [path, name, value] = decision ?? [];
    if (path !== paths[images[entry]] || name !== classes[columns[entry]] ||
        typeof value !== 'boolean') {
      throw new Error(`decision ${grouped(entry + 1)} is not one of ` +
        `${isolate(classes[columns[entry]])} in ${isolate(paths[images[entry]])}.`);
    }
    if (Number(value) !== keptByProgram[entry]) changed.push(entry);
  });
  const looked = new Set(Array.isArray(review.seen) ? review.seen : []);
  if (changed.some((entry) => !looked.has(images[entry]))) {
    throw new Error('it is of an earlier version and another threshold: a person\'s decisions ' +
      'cannot be told from the program\'s. Review again with that threshold, and import it there.');
  }
  const by = personOf('unknown');
  return {
    left: 0,
    records: changed.map((entry) => ({
      image: images[entry], columns: [columns[entry]], isWhole: false,
      voice: {by, at, settles: false, value: keptByProgram[entry] ? NO : YES},
    })),
  };
}
