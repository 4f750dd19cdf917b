// better-auth with its users and sessions in SQL (SQLite by libSQL), and Redis as its secondary storage.
// As documented: secondaryStorage, storeSessionInDatabase, additional fields of the session for the two keys, revokeSessions.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

import { LibsqlDialect } from "@libsql/kysely-libsql";
import { betterAuth } from "better-auth";
import { APIError } from "better-auth/api";
import { getMigrations } from "better-auth/db/migration";

import { connect } from "./client.mjs";

const PASSWORD = "correct-horse-battery-staple";
const address = (user) => `${user}@comparison.example`;
const isPreparing = process.argv[2] === "prepare";
const redis = isPreparing ? null : await connect();
const secondaryStorage = redis && {
  get: (key) => redis.get(key),
  set: (key, value, ttl) => (ttl ? redis.set(key, value, { expiration: { type: "EX", value: ttl } }) : redis.set(key, value)),
  delete: (key) => redis.del(key),
  getAndDelete: (key) => redis.getDel(key),
};
const options = {
  baseURL: `http://127.0.0.1:${process.env.PORT ?? 1}`,
  secret: "only-for-this-comparison-only-for-this",
  database: { dialect: new LibsqlDialect({ url: pathToFileURL(`${process.env.SITE_DIR}/auth.db`).href }), type: "sqlite" },
  emailAndPassword: { enabled: true, autoSignIn: false },
  session: {
    storeSessionInDatabase: true,
    additionalFields: { a: { type: "string", required: false }, b: { type: "string", required: false } },
  },
  telemetry: { enabled: false },
  logger: { disabled: true },
  ...(secondaryStorage && { secondaryStorage }),
};
const auth = betterAuth(options);

if (isPreparing) {
  await (await getMigrations(options)).runMigrations();
  for (const user of ["reader", "writer", "leaver", "newcomer"]) {
    await auth.api.signUpEmail({ body: { email: address(user), name: user, password: PASSWORD } });
  }
  process.exit();
}

const ROUTES = {
  login: ({ key }) => auth.api.signInEmail({ body: { email: address(key), password: PASSWORD }, returnHeaders: true }),
  logout: ({ headers }) => auth.api.signOut({ headers, returnHeaders: true }),
  set: ({ headers, key, value }) => auth.api.updateSession({ body: { [key]: value }, headers, returnHeaders: true }),
  get: async ({ headers, key }) => show(headers, ({ session }) => ({ value: session[key] ?? null })),
  "revoke-all": ({ headers }) => auth.api.revokeSessions({ headers, returnHeaders: true }),
  whoami: async ({ headers }) => show(headers, ({ user }) => ({ user: user.name })),
};

async function show(headers, body) {
  const found = await auth.api.getSession({ headers });
  if (!found) throw new APIError("UNAUTHORIZED");
  return { body: body(found) };
}

createServer(async (request, response) => {
  const [route, key, value] = request.url.slice(1).split("/");
  const headers = new Headers({ cookie: request.headers.cookie ?? "" });
  try {
    const { headers: set, body } = await ROUTES[route]({ headers, key, value });
    response.writeHead(200, { "content-type": "application/json", "set-cookie": set?.getSetCookie() ?? [] }).end(JSON.stringify(body ?? {}));
  } catch (failed) {
    response.writeHead(failed instanceof APIError ? failed.statusCode : 500).end();
  }
}).listen(Number(process.env.PORT), "127.0.0.1");
