let job = 0;

console.log("working");
const clock = setInterval(() => console.log(`job ${++job} done`), Number(process.env.JOB_MS ?? 5000));

process.on("SIGTERM", () => {
  clearInterval(clock);
  console.log(`stopped after ${job} jobs`);
});
