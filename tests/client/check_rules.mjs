// Holds edge/static/scanstream_rules.js and, beside it, scanstream_token_rules.js against rules.json: prints one line a case, `ok NAME` or `WRONG NAME: …`.
//
//   node check_rules.mjs RULES_MODULE RULES_JSON

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , modulePath, jsonPath] = process.argv;
const { LifeWatch, ReadPosition, retryDelay } = await import(pathToFileURL(modulePath));
const tokenRules = await import(new URL("scanstream_token_rules.js", pathToFileURL(modulePath)));
const rules = JSON.parse(readFileSync(jsonPath, "utf8"));

function tell(name, wrong) {
  console.log(wrong.length === 0 ? `ok ${name}` : `WRONG ${name}: ${wrong.join("; ")}`);
}

for (const { attempt, random, asked_s: askedS, delay_s: delayS } of rules.retry) {
  const delay = retryDelay(attempt, random, askedS * 1000);
  tell(`retry ${attempt} ${random} ${askedS}`, Math.abs(delay - delayS * 1000) < 1e-6 ? [] : [`waits ${delay} ms`]);
}

for (const { name, since, steps } of rules.position) {
  const position = new ReadPosition(since);
  const wrong = [];
  steps.forEach((step, i) => {
    const got = { verdict: position.take(step.message), since: position.since, due: position.due };
    for (const key of ["verdict", "since", "due"]) {
      if (got[key] !== step[key]) wrong.push(`step ${i}: ${key} ${got[key]}, not ${step[key]}`);
    }
  });
  tell(name, wrong);
}

for (const { name, steps } of rules.watch) {
  const wrong = [];
  let watch;
  steps.forEach((step, i) => {
    const now = step.at * 1000;
    if (step.do === "connecting") watch = new LifeWatch(now);
    else if (step.do === "opened") watch.opened(now);
    else if (step.do === "heard") watch.heard(now);
    else if (step.do === "hello") {
      watch.heard(now);
      watch.hello(step.can_ask, step.ping_interval * 1000, step.client_timeout * 1000);
    } else {
      const verdict = watch.check(now, step.hidden === true);
      if (verdict !== step.verdict) wrong.push(`step ${i}: ${verdict}, not ${step.verdict}`);
    }
  });
  tell(name, wrong);
}

for (const { text, valid, exp } of rules.token) {
  const got = [tokenRules.isTokenText(text), tokenRules.tokenExpiry(text)];
  tell(`token ${JSON.stringify(text)}`, got[0] === valid && got[1] === (exp === null ? null : exp * 1000) ? [] : [String(got)]);
}

for (const { left_s: leftS, delay_s: delayS } of rules.refresh) {
  const delay = tokenRules.refreshDelay(leftS * 1000);
  tell(`refresh ${leftS}`, delay === (delayS === null ? null : delayS * 1000) ? [] : [`waits ${delay} ms`]);
}

for (const { name, renewable, steps } of rules.tries) {
  const tries = new tokenRules.TokenTries(renewable);
  const got = steps.map((step) => tries[step.do]() ?? null);
  tell(name, steps.every((step, i) => step.verdict === got[i]) ? [] : [String(got)]);
}
