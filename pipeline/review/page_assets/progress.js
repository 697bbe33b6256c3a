// Progress, and all else on the page that follows the decisions.

function showProgress() {
  $('seen-bar').max = Math.max(imageCount, 1);
  $('seen-bar').value = counts.verified;
  const parts = [
    `${grouped(counts.verified)} of ${plural(imageCount, 'photo')} verified`,
    `${plural(counts.decided, 'label')} decided`,
  ];
  if (disputed.size) parts.push(plural(disputed.size, 'dispute'));
  if (counts.bare) parts.push(`${plural(counts.bare, 'photo')} without a label`);
  $('progress-text').textContent = parts.join(' · ');
  $('undo').disabled = !undoStack.length;
  $('redo').disabled = !redoStack.length;
}

function refresh() {
  if (!active) return;  // nothing is shown yet
  showProgress();
  showName();
  for (const card of live.values()) fillCard(card);
  if (!$('overview').hidden) showClasses();
  refreshLarge();
  refreshBulk();
  refreshTask();
}
