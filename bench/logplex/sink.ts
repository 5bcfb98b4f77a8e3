import net from "node:net";

/*
 * A drain for the measurement, in a process of its own: takes syslog over TCP, counts the messages, and tells
 * its parent the count whenever it has grown, so that the parent can hold its pace.
 */
let messages = 0;
const server = net.createServer((socket) => {
  socket.on("data", (chunk: Buffer) => {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) messages += 1;
    process.send?.({ messages });
  });
  socket.on("error", () => {});
});
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as net.AddressInfo).port }));
process.on("disconnect", () => process.exit(0));
