// The management API. The key is in this tab's session storage and nowhere else, least of all in an address.

const PLACE = "llm-gateway admin key";
const PATIENCE_MS = 10_000;

export const signedIn = () => sessionStorage.getItem(PLACE) !== null;
export const signIn = (key) => sessionStorage.setItem(PLACE, key);
export const signOut = () => sessionStorage.removeItem(PLACE);

/** An answer that is an error; `status` 0 when there was none. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** What an error's body says, or its status. */
export async function explained(response) {
  const body = await response.json().catch(() => null);
  return body?.error?.message ?? `The gateway answered ${response.status}.`;
}

/** One request to /admin/v1; gives the body. */
export async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(`/admin/v1${path}`, {
      method,
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: {
        // A header takes Latin letters only; a key with others is wrong, not a failure of the network.
        authorization: `Bearer ${/^[\x21-\x7e]+$/.test(sessionStorage.getItem(PLACE) ?? "") ? sessionStorage.getItem(PLACE) : "-"}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw new Refused(0, `The gateway cannot be reached (${error.name}).`);
  }
  if (!response.ok) throw new Refused(response.status, await explained(response));
  return response.json();
}

export const get = (path) => ask("GET", path);
