// Fastify with @fastify/session in Redis, by connect-redis.
// As documented: @fastify/cookie, an express-session store, regenerate at login, destroy at logout. Cookies over plain HTTP.
import cookie from "@fastify/cookie";
import session from "@fastify/session";
import { RedisStore } from "connect-redis";
import fastify from "fastify";

import { connect } from "./client.mjs";

const app = fastify();
const store = new RedisStore({ client: await connect() });
await app.register(cookie);
await app.register(session, { store, secret: "only-for-this-comparison-only-for-this", cookie: { secure: false }, saveUninitialized: false });

const signedIn = {
  preHandler: async (request, reply) => {
    if (!request.session.user) return reply.code(401).send({});
  },
};

app.post("/login/:user", async (request, reply) => {
  await request.session.regenerate();
  request.session.user = request.params.user;
  return reply.code(204).send();
});
app.post("/logout", async (request, reply) => {
  await request.session.destroy();
  return reply.code(204).send();
});
app.post("/set/:key/:value", signedIn, async (request, reply) => {
  request.session[request.params.key] = request.params.value;
  return reply.code(204).send();
});
app.get("/get/:key", signedIn, async (request) => ({ value: request.session[request.params.key] ?? null }));
app.post("/revoke-all", async (request, reply) => reply.code(501).send({}));
app.get("/whoami", signedIn, async (request) => ({ user: request.session.user }));
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
