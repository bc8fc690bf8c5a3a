// Expands a window as often as asked for, and says how long that took: one JSON object a line, in and out.
import { createInterface } from "node:readline";
import rrule from "rrule";

const { RRule } = rrule;

for await (const line of createInterface({ input: process.stdin })) {
  const wish = JSON.parse(line);
  const options = { ...RRule.parseString(wish.rrule), dtstart: new Date(wish.dtstart) };
  const rule = new RRule(options, true); // without its cache: the same question twice would be a look-up
  const [start, end] = [new Date(wish.start), new Date(wish.end - 1)];
  let found = rule.between(start, end, true);
  const began = process.hrtime.bigint();
  for (let call = 0; call < wish.calls; call++) found = rule.between(start, end, true);
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  process.stdout.write(JSON.stringify({ seconds, starts: found.map((start) => start.getTime()) }) + "\n");
}
