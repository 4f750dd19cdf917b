// Express with express-session in Redis, by connect-redis.
// As documented: resave and saveUninitialized off, regenerate at login, destroy at logout.
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";

import { connect } from "./client.mjs";

const app = express();
const store = new RedisStore({ client: await connect() });
app.use(session({ store, secret: "only-for-this-comparison", resave: false, saveUninitialized: false }));

const signedIn = (request, response, next) => (request.session.user ? next() : response.sendStatus(401));

app.post("/login/:user", (request, response, next) => {
  request.session.regenerate((failed) => {
    if (failed) return next(failed);
    request.session.user = request.params.user;
    request.session.save((unsaved) => (unsaved ? next(unsaved) : response.sendStatus(204)));
  });
});
app.post("/logout", (request, response, next) => {
  request.session.destroy((failed) => (failed ? next(failed) : response.sendStatus(204)));
});
app.post("/set/:key/:value", signedIn, (request, response, next) => {
  request.session[request.params.key] = request.params.value;
  request.session.save((unsaved) => (unsaved ? next(unsaved) : response.sendStatus(204)));
});
app.get("/get/:key", signedIn, (request, response) => response.json({ value: request.session[request.params.key] ?? null }));
app.post("/revoke-all", (request, response) => response.sendStatus(501));
app.get("/whoami", signedIn, (request, response) => response.json({ user: request.session.user }));
app.listen(Number(process.env.PORT), "127.0.0.1");
