// What another tab has changed cannot be undone here.

/** Takes what another tab has changed out of what can be undone and redone here. */
function leaveToOthers(questions) {
  for (const stack of [undoStack, redoStack]) {
    const left = stack.map((change) => without(change, questions))
      .filter((change) => change.questions.length);
    stack.splice(0, stack.length, ...left);
  }
}

function without(change, questions) {
  const places = [...change.questions.keys()].filter((i) => !questions.has(change.questions[i]));
  if (places.length === change.questions.length) return change;
  const some = (array) => array.constructor.from(places, (i) => array[i]);
  const side = ({value, by, at}) => ({value: some(value), by: some(by), at: some(at)});
  return {
    ...change, questions: some(change.questions), before: side(change.before),
    after: side(change.after),
    voices: change.voices.filter(({question}) => !questions.has(question)),
  };
}
