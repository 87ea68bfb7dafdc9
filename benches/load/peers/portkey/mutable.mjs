// Version 1.15.2 adds headers to the answer that fetch gave it, which Node refuses for streams: hand it a copy that it may change.
const Answer = globalThis.Response, ask = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const { body, status, statusText, headers } = await ask(...request);
  return new Answer(body, { status, statusText, headers: new Headers(headers) });
};
