// SPDX-License-Identifier: MIT
// The official openai client against a running daemon: node test.mjs SOCKET MODEL EMBEDDER, TAP on
// stdout. MODEL is the demo model, whose answers are known; EMBEDDER one that makes vectors.
import http from 'node:http';
import { Readable } from 'node:stream';
import OpenAI from 'openai';

const [socketPath, model, embedder] = process.argv.slice(2);

// fetch over a Unix socket
function socketFetch(input, init = {}) {
  const url = new URL(typeof input === 'string' ? input : input.url);
  return new Promise((resolve, reject) => {
    const request = http.request({
      socketPath, path: url.pathname + url.search, method: init.method ?? 'GET',
      headers: Object.fromEntries(new Headers(init.headers)), signal: init.signal ?? undefined,
    }, (answer) => {
      const headers = new Headers();
      for (const [k, v] of Object.entries(answer.headers)) headers.set(k, String(v));
      const empty = [101, 204, 304].includes(answer.statusCode);
      resolve(new Response(empty ? null : Readable.toWeb(answer), { status: answer.statusCode, headers }));
    });
    request.on('error', reject);
    request.end(init.body ?? undefined);
  });
}

const client = new OpenAI({ baseURL: 'http://hearth/v1', apiKey: 'none', fetch: socketFetch, maxRetries: 0 });

function equal(got, want, what = 'value') {
  if (got !== want) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

const ask = (content, more = {}) => ({ model, temperature: 0, messages: [{ role: 'user', content }], ...more });

const tests = {
  async chat_answers_right() {
    const r = await client.chat.completions.create(ask('What is 12 + 34?'));
    equal(r.choices[0].message.content, '12 + 34 = 46.');
    equal(r.choices[0].finish_reason, 'stop');
    equal(r.choices[0].message.role, 'assistant');
    equal(r.object, 'chat.completion');
    if (!(r.usage.prompt_tokens > 0 && r.usage.completion_tokens > 0)) throw new Error('no usage');
    equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
  },
  async several_choices_come_at_once() {
    const r = await client.chat.completions.create(ask('What is 12 + 34?', { n: 3 }));
    equal(r.choices.map((c) => c.index).join(), '0,1,2');
    for (const c of r.choices) equal(c.message.content, '12 + 34 = 46.');
  },
  async stream_gives_the_same_text_in_pieces() {
    const whole = await client.chat.completions.create(ask('What is Hearth?'));
    const stream = await client.chat.completions.create(ask('What is Hearth?', { stream: true, stream_options: { include_usage: true } }));
    let text = '', pieces = 0, usage = null, finish = null;
    for await (const chunk of stream) {
      const choice = chunk.choices[0];
      if (choice?.delta?.content) { text += choice.delta.content; pieces++; }
      if (choice?.finish_reason) finish = choice.finish_reason;
      if (chunk.usage) usage = chunk.usage;
    }
    equal(text, whole.choices[0].message.content);
    equal(finish, 'stop');
    if (pieces < 5) throw new Error(`only ${pieces} pieces`);
    equal(usage?.completion_tokens, whole.usage.completion_tokens, 'usage');
  },
  async tools_are_called() {
    const tools = [{ type: 'function', function: { name: 'get_weather', description: 'The weather in a city.',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } }];
    const r = await client.chat.completions.create(ask('What is the weather in Paris?', { tools }));
    equal(r.choices[0].finish_reason, 'tool_calls');
    const call = r.choices[0].message.tool_calls[0];
    equal(call.type, 'function');
    equal(call.function.name, 'get_weather');
    equal(JSON.parse(call.function.arguments).city, 'Paris');
  },
  async streamed_tool_calls_add_up() {
    const tools = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } } }];
    const runner = client.chat.completions.stream(ask('What is the weather in Paris?', { tools }));
    const r = await runner.finalChatCompletion();
    equal(r.choices[0].finish_reason, 'tool_calls');
    equal(r.choices[0].message.tool_calls[0].function.name, 'get_weather');
    equal(JSON.parse(r.choices[0].message.tool_calls[0].function.arguments).city, 'Paris');
  },
  async max_tokens_ends_with_length() {
    const r = await client.chat.completions.create(ask('What is Hearth?', { max_tokens: 3 }));
    equal(r.choices[0].finish_reason, 'length');
    equal(r.usage.completion_tokens, 3);
  },
  async stop_string_is_not_part_of_the_answer() {
    const r = await client.chat.completions.create(ask('What is 12 + 34?', { stop: [' ='] }));
    equal(r.choices[0].message.content, '12 + 34');
    equal(r.choices[0].finish_reason, 'stop');
  },
  async same_seed_same_answer() {
    const more = { temperature: 1.5, seed: 7, max_tokens: 20 };
    const a = await client.chat.completions.create(ask('Hello', more));
    const b = await client.chat.completions.create(ask('Hello', more));
    equal(a.choices[0].message.content, b.choices[0].message.content);
  },
  async logprobs_are_log_probabilities() {
    const r = await client.chat.completions.create(ask('What is 12 + 34?', { logprobs: true, top_logprobs: 3 }));
    const list = r.choices[0].logprobs.content;
    if (!list.length) throw new Error('none');
    for (const t of list) {
      if (!(t.logprob <= 0)) throw new Error(`logprob ${t.logprob}`);
      equal(t.top_logprobs.length, 3);
      equal(t.top_logprobs[0].token, t.token, 'greedy is the most likely');
    }
  },
  async completions_continue_text() {
    const r = await client.completions.create({ model, prompt: '<|im_start|>user\nWhat is 12 + 34?<|im_end|>\n<|im_start|>assistant\n', temperature: 0, max_tokens: 32 });
    equal(r.choices[0].text, '12 + 34 = 46.');
    equal(r.object, 'text_completion');
  },
  async models_are_listed() {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    if (!ids.length) throw new Error('empty');
    equal((await client.models.retrieve(ids[0])).id, ids[0]);
  },
  async wrong_type_names_the_field() {
    try {
      await client.chat.completions.create(ask('Hello', { temperature: 'hot' }));
    } catch (e) {
      equal(e.status, 400);
      equal(e.param, 'temperature');
      return;
    }
    throw new Error('accepted');
  },
  async unknown_model_is_not_found() {
    try {
      await client.chat.completions.create({ ...ask('Hello'), model: 'no-such-model' });
    } catch (e) {
      equal(e.status, 404);
      equal(e.code, 'model_not_found');
      return;
    }
    throw new Error('accepted');
  },
  async embeddings_are_vectors_of_length_one() {
    const input = ['What is Hearth?', 'What is a hearth?', '12 + 34'];
    const r = await client.embeddings.create({ model: embedder, input });  // as base64, which the client decodes
    const plain = await client.embeddings.create({ model: embedder, input: input[1], encoding_format: 'float' });
    const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
    equal(r.data.length, 3);
    for (const [i, d] of r.data.entries()) {
      equal(d.index, i);
      equal(Math.round(dot(d.embedding, d.embedding) * 1e4), 1e4, 'square of the length');
    }
    equal(Math.round(dot(r.data[1].embedding, plain.data[0].embedding) * 1e3), 1e3, 'the same text');
    equal(dot(r.data[0].embedding, r.data[1].embedding) > dot(r.data[0].embedding, r.data[2].embedding), true, 'nearer');
    equal(r.usage.total_tokens, r.usage.prompt_tokens);
  },
  async abort_ends_the_request() {
    const stream = await client.chat.completions.create(ask('What is Hearth?', { stream: true }));
    for await (const _ of stream) { stream.controller.abort(); break; }
    const r = await client.chat.completions.create(ask('What is 12 + 34?'));
    equal(r.choices[0].message.content, '12 + 34 = 46.');
  },
};

const names = Object.keys(tests);
let failed = 0;
console.log(`1..${names.length}`);
for (const [i, name] of names.entries()) {
  try {
    await tests[name]();
    console.log(`ok ${i + 1} - ${name}`);
  } catch (e) {
    failed++;
    console.log(`not ok ${i + 1} - ${name}`);
    console.log(`# ${String(e.stack ?? e).replaceAll('\n', '\n# ')}`);
  }
}
process.exit(failed ? 1 : 0);
