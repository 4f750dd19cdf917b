// iron-session on Node's own server: the whole session is in a sealed cookie, and nothing is kept on a server.
// As documented: getIronSession, save, destroy. Cookies over plain HTTP.
import { createServer } from "node:http";

import { getIronSession } from "iron-session";

const options = { password: "only-for-this-comparison-only-for-this", cookieName: "session", cookieOptions: { secure: false } };

createServer(async (request, response) => {
  const [route, key, value] = request.url.slice(1).split("/");
  const session = await getIronSession(request, response, options);
  const answer = (status, body = "") => response.writeHead(status, { "content-type": "application/json" }).end(body && JSON.stringify(body));
  if (route === "login") {
    session.destroy();
    session.user = key;
    await session.save();
    return answer(204);
  }
  if (route === "logout") {
    session.destroy();
    return answer(204);
  }
  if (route === "revoke-all") return answer(501);
  if (!session.user) return answer(401);
  if (route === "whoami") return answer(200, { user: session.user });
  if (route === "get") return answer(200, { value: session[key] ?? null });
  session[key] = value;
  await session.save();
  return answer(204);
}).listen(Number(process.env.PORT), "127.0.0.1");
