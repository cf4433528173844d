// Redis: two connections, as the Redis adapter of Socket.IO wants them.

import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";

export async function connect(url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) client.on("error", (error) => console.error(`redis: ${error.message}`));
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return {
    adapter: createAdapter(publisher, subscriber),
    // The next seq of a room that nobody stores: several processes count together.
    next: (room) => publisher.incr(`peer:seq:${room}`),
    close: () => [publisher, subscriber].forEach((client) => client.destroy()),
  };
}
