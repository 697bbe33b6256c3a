// Progress, and all else on the page that follows the decisions.

function showProgress() {
  $('seen-bar').max = Math.max(imageCount, 1);
  $('seen-bar').value = counts.seen;
  $('progress-text').textContent = `${grouped(counts.seen)} of ${plural(imageCount, 'photo')} ` +
    `looked at · ${plural(counts.changed, 'decision')} changed`;
  $('undo').disabled = !undoStack.length;
  $('redo').disabled = !redoStack.length;
}

function refresh() {
  showProgress();
  for (const card of live.values()) fillCard(card);
  if (!$('overview').hidden) showClasses();
}
