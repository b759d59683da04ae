// Keeps the flags of one user as a web page does: OpenFeature's web SDK and its OFREP provider ask for all flags at
// once, ask again, and are told only what has changed. Run where the packages are installed.
//
// Arguments: the address of a Serin, and a JSON list of questions {type, flag, default}. Prints a line at once, and one
// for each line on standard input: {statuses, tags, answers}, the first two of all calls since the last line.

import { createInterface } from 'node:readline';
import { OpenFeature } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const [baseUrl, text] = process.argv.slice(2);
const questions = JSON.parse(text);
let asked = [];

const fetchImplementation = async (input, init) => {
  const response = await fetch(input, init);
  asked.push({ status: response.status, tag: response.headers.get('etag') });
  return response;
};

const provider = new OFREPWebProvider({ baseUrl, fetchImplementation, pollInterval: 50 });
await OpenFeature.setContext({ targetingKey: 'alice' });
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();

const report = () => {
  const answers = questions.map(({ type, flag, default: value }) => {
    const details = client[`get${type}Details`](flag, value);
    const { variant = null, reason, errorCode = null } = details;
    return { value: details.value, variant, reason, error: errorCode };
  });
  console.log(JSON.stringify({ statuses: asked.map((one) => one.status), tags: asked.map((one) => one.tag), answers }));
  asked = [];
};

const lines = createInterface({ input: process.stdin });
report();
for await (const _ of lines) {
  report();
}
await OpenFeature.close();
