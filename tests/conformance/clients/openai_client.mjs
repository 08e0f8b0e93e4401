// The realtime client of the `openai` package for JavaScript: settings, text, a tool, sound, an interruption, a barge-in.
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const rate = 24000;
const client = new OpenAI({ apiKey: 'any', baseURL: process.argv[2] });
const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);
const seen = { turn: [], errors: [], audio_bytes: 0 };
const waiters = [];
const until = (type) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`no ${type}`)), 20000);
  waiters.push({ type, take: (event) => { clearTimeout(timer); resolve(event); } });
});
realtime.on('event', (event) => {
  if (event.type.startsWith('input_audio_buffer.')) seen.turn.push(event.type);
  if (event.type === 'response.output_audio.delta') seen.audio_bytes += Buffer.from(event.delta, 'base64').length;
  for (const waiter of waiters.filter((each) => each.type === event.type)) {
    waiters.splice(waiters.indexOf(waiter), 1);
    waiter.take(event);
  }
});
realtime.on('error', (error) => seen.errors.push(error.error?.code ?? String(error)));
const say = (text) => realtime.send({
  type: 'conversation.item.create',
  item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] },
});
const speech = new Int16Array(rate * 2.2);
for (let i = 0; i < rate * 1.2; i++) speech[i] = Math.round(8000 * Math.sin((2 * Math.PI * 220 * i) / rate));
const speak = () => {
  for (let at = 0; at < speech.length; at += 4800) {
    const audio = Buffer.from(speech.slice(at, at + 4800).buffer).toString('base64');
    realtime.send({ type: 'input_audio_buffer.append', audio });
  }
};

seen.first = (await until('session.created')).type;
const weather = {
  type: 'function', name: 'get_weather', description: 'The weather in a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const ready = until('session.updated');
realtime.send({ type: 'session.update', session: { type: 'realtime', instructions: 'You are Otto.', tools: [weather] } });
seen.tools = (await ready).session.tools.map((tool) => tool.name);

const asked = until('response.function_call_arguments.done');
let done = until('response.done');
say('What is the weather in Paris?');
realtime.send({ type: 'response.create' });
const call = await asked;
seen.arguments = JSON.parse(call.arguments);
await done;
const words = until('response.output_audio_transcript.done');
done = until('response.done');
realtime.send({
  type: 'conversation.item.create',
  item: { type: 'function_call_output', call_id: call.call_id, output: 'sunny' },
});
realtime.send({ type: 'response.create' });
seen.text = (await words).transcript;
await done;
seen.audio_s = seen.audio_bytes / 2 / rate;

let begun = until('response.output_audio.delta');
done = until('response.done');
say('Tell me a story.');
realtime.send({ type: 'response.create' });
const { item_id } = await begun;
realtime.send({ type: 'response.cancel' });
seen.cut = (await done).response.status;
const truncated = until('conversation.item.truncated');
realtime.send({ type: 'conversation.item.truncate', item_id, content_index: 0, audio_end_ms: 50 });
seen.truncated_at = (await truncated).audio_end_ms;

begun = until('response.output_audio.delta');
done = until('response.done');
say('Tell me another story.');
realtime.send({ type: 'response.create' });
await begun;
speak();
seen.spoken_over = (await done).response.status;
seen.after = (await until('response.done')).response.status;
realtime.close();
console.log(JSON.stringify(seen));
process.exit(0);
