// One scene with the official OpenAI package for node: `node scene.mjs NAME` prints what the package saw, as one line of JSON.
// OPENAI_BASE_URL and OPENAI_API_KEY say where; OPENAI_NODE_DIR holds node_modules/openai if this folder does not.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

const folder = process.env.OPENAI_NODE_DIR ?? fileURLToPath(new URL(".", import.meta.url));
const { default: OpenAI } = createRequire(resolve(folder, "scene.cjs"))("openai");

const client = new OpenAI();
const asked = { model: "gpt-4o", messages: [{ role: "user", content: "hello" }] };
const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

async function refusalOf(attempt) {
  try {
    await attempt();
  } catch (error) {
    const { status, code, type, param, message } = error;
    return { kind: error.constructor.name, status, code, type, param, message };
  }
  return null;
}

const scenes = {
  async chat() {
    const { data, response } = await client.chat.completions.create(asked).withResponse();
    return { answer: data, headers: Object.fromEntries(response.headers) };
  },

  async stream() {
    const chunks = [];
    for await (const chunk of await client.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      chunks.push(chunk);
    }
    return chunks;
  },

  async finalChatCompletion() {
    const pieces = [];
    const stream = client.chat.completions.stream(asked).on("content", (piece) => pieces.push(piece));
    return { answer: await stream.finalChatCompletion(), pieces };
  },

  async runTools() {
    const calls = [];
    const tool = {
      type: "function",
      function: {
        ...weather.function,
        parse: JSON.parse,
        function: ({ city }) => {
          calls.push(city);
          return `sunny in ${city}`;
        },
      },
    };
    const runner = client.chat.completions.runTools({ ...asked, tools: [tool] });
    return { text: await runner.finalContent(), calls };
  },

  async streamedTools() {
    const answer = await client.chat.completions.stream({ ...asked, tools: [weather] }).finalChatCompletion();
    return answer.choices[0].message.tool_calls;
  },

  async embeddings() {
    const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a", "b"] });
    return answer.data.map((one) => one.embedding);
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return names;
  },

  async errors() {
    const stranger = new OpenAI({ apiKey: "sk-orch-wrong_key" });
    return {
      noSuchModel: await refusalOf(() => client.chat.completions.create({ ...asked, model: "gpt-5o" })),
      noMessages: await refusalOf(() => client.chat.completions.create({ ...asked, messages: [] })),
      wrongKey: await refusalOf(() => stranger.chat.completions.create(asked)),
    };
  },

  async refusal() {
    return refusalOf(() => client.chat.completions.create(asked));
  },

  async brokenStream() {
    const pieces = [];
    const refusal = await refusalOf(async () => {
      for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
        pieces.push(chunk.choices[0].delta.content);
      }
    });
    return { refusal, pieces };
  },

  async abort() {
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) stream.controller.abort();
    }
    return "left";
  },
};

console.log(JSON.stringify(await scenes[process.argv[2]]()));
