// The JavaScript Agents SDK over its WebSocket transport: text, sound, a tool, an interruption, an update, speech.
import { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebSocket, tool } from '@openai/agents-realtime';
const url = process.argv[2];
const seen = { tool_outputs: [], audio_bytes: 0, interrupted: 0, errors: [], turn: [] };
const getWeather = tool({
  name: 'get_weather', description: 'The weather in a city.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false },
  strict: false,
  execute: async ({ city }) => `sunny in ${city}`,
});
const agent = new RealtimeAgent({ name: 'Assistant', instructions: 'You are Otto.', tools: [getWeather] });
const transport = new OpenAIRealtimeWebSocket({ url });
const session = new RealtimeSession(agent, { transport, model: 'gpt-realtime', tracingDisabled: true });
const waiters = [];
const until = (type) => new Promise((resolve, reject) => { const t = setTimeout(() => reject(new Error(`no ${type}`)), 20000); waiters.push([type, (e) => { clearTimeout(t); resolve(e); }]); });
session.transport.on('*', (event) => {
  if (event.type.startsWith('input_audio_buffer.')) seen.turn.push(event.type);
  for (const w of [...waiters]) if (w[0] === event.type) { waiters.splice(waiters.indexOf(w), 1); w[1](event); }
});
session.on('agent_tool_end', (_c, _a, _t, output) => seen.tool_outputs.push(output));
session.on('audio', (e) => { seen.audio_bytes += e.data.byteLength; });
session.on('audio_interrupted', () => { seen.interrupted += 1; });
session.on('error', (e) => seen.errors.push(JSON.stringify(e.error ?? e)));
await session.connect({ apiKey: 'any' });
let done = until('response.done');
session.sendMessage('Count to five.');
await done;
const heard = seen.audio_bytes;
seen.audio_s = heard / 48000;
const end = new Promise((resolve) => session.once('agent_tool_end', resolve));
session.sendMessage('What is the weather in Paris?');
await end;
await until('response.done');
const begun = until('response.output_audio.delta');
session.sendMessage('Tell me a story.');
await begun;
done = until('response.done');
session.interrupt();
seen.cut = (await done).response.status;
const ready = until('session.updated');
session.transport.updateSessionConfig({ instructions: 'You are Anna.' });
seen.instructions = (await ready).session.instructions;
const rate = 24000;
const speech = new Int16Array(rate * 2.2);
for (let i = 0; i < rate * 1.2; i++) speech[i] = Math.round(8000 * Math.sin((2 * Math.PI * 220 * i) / rate));
const committed = until('input_audio_buffer.committed');
for (let at = 0; at < speech.length; at += 4800) session.sendAudio(speech.slice(at, at + 4800).buffer);
await committed;
done = await until('response.done');
seen.spoken = done.response.status;
seen.roles = session.history.filter((i) => i.type === 'message').map((i) => i.role);
const story = until('response.output_audio.delta');
session.sendMessage('Tell me another story.');
await story;
const interruptions = seen.interrupted;
const over = until('response.done');
for (let at = 0; at < speech.length; at += 4800) session.sendAudio(speech.slice(at, at + 4800).buffer);
seen.spoken_over = (await over).response.status;
seen.after = (await until('response.done')).response.status;
seen.barged_in = seen.interrupted - interruptions;
session.close();
console.log(JSON.stringify(seen));
process.exit(0);
