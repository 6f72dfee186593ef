// What people read of a problem document (RFC 9457) of the API, in the way of ui/problems.py; stands before other scripts.
const UNANSWERED = 'The service did not answer; try it again.';

function problemWords({title, detail, request_id: reference}) {
  if (!detail) return UNANSWERED;
  const end = /[.!?]$/.test(detail) ? '' : '.';
  return `${title}. ${detail[0].toUpperCase()}${detail.slice(1)}${end} (ref ${reference})`;
}
