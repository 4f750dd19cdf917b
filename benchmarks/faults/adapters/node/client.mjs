// node-redis as its documentation shows, with its limits: for connecting, for a command that waits to be sent, and for a connection on which
// nothing comes, with a PING now and then so that a healthy one is never silent. No queue while it is not connected.
import { createClient } from "redis";

const timeout = Number(process.env.REDIS_TIMEOUT_SECONDS) * 1000;

export async function connect() {
  const client = createClient({
    url: process.env.REDIS_URL,
    // The default strategy does not reconnect after a socketTimeout.
    socket: { connectTimeout: timeout, socketTimeout: timeout, reconnectStrategy: (retries) => Math.min(retries * 50, 2000) },
    pingInterval: timeout / 4,
    commandOptions: { timeout },
    disableOfflineQueue: true,
  });
  client.on("error", () => {});
  await client.connect();
  return client;
}
