// Shows the document of the API, and sends requests. All texts of the document are text, never markup.

const $ = (id) => document.getElementById(id);

/** Returns an element with attributes and children. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Returns a text, in which backticks mark code. */
function text(source = "") {
  const parts = source.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
  return make("span", {}, ...parts);
}

/** Returns paragraphs and lists of a text. */
function paragraphs(source = "") {
  const blocks = source.trim().split("\n\n").map((block) => {
    if (!block.startsWith("* ")) return make("p", {}, text(block));
    return make("ul", {}, ...block.slice(2).split("\n* ").map((item) => make("li", {}, text(item))));
  });
  return make("div", {}, ...blocks);
}

/** Returns the object that a reference names. */
function resolve(api, node) {
  if (!node || !node.$ref) return node ?? {};
  return node.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], api) ?? {};
}

/** Returns a schema in a few words. */
function type(api, schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const inner = schema.oneOf ?? schema.anyOf;
  if (inner) return inner.map((one) => type(api, one)).join(" or ");
  if (schema.type === "array") return `list of ${type(api, schema.items ?? {})}`;
  return [schema.type ?? "any value"].flat().join(" or ");
}

/** Returns the limits of a schema in a few words. */
function limits(schema) {
  const words = { minimum: "from", maximum: "to", maxItems: "at most", maxLength: "characters at most", default: "default" };
  const known = Object.keys(words).filter((key) => schema[key] !== undefined);
  return known.map((key) => `${words[key]} ${JSON.stringify(schema[key])}`).join(", ");
}

function table(heads, rows) {
  const head = make("thead", {}, make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name))));
  const body = make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))));
  return make("table", {}, head, body);
}

/** Returns the members of a type as a table. */
function members(api, schema) {
  const found = resolve(api, schema);
  const rows = Object.entries(found.properties ?? {}).map(([name, member]) => [
    make("code", {}, name),
    [type(api, member), limits(member)].filter(Boolean).join(", ") + (found.required?.includes(name) ? ", required" : ""),
    text(member.description ?? resolve(api, member).description),
  ]);
  return rows.length ? table(["member", "type", ""], rows) : make("p", {}, text(found.description));
}

function show(output, answer, body) {
  const kind = answer.ok ? "good" : "bad";
  const headers = ["retry-after", "idempotency-replayed", "allow"].filter((name) => answer.headers.has(name));
  const lines = headers.map((name) => make("p", { class: "note" }, `${name}: ${answer.headers.get(name)}`));
  let pretty = body;
  try {
    pretty = JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    // Shown as it came.
  }
  output.replaceChildren(make("p", { class: `status ${kind}` }, `${answer.status} ${answer.statusText}`), ...lines, make("pre", {}, pretty));
}

/** Returns a form that sends requests of an operation. */
function trial(api, path, method, operation) {
  const form = make("form", { autocomplete: "off" }, make("h3", {}, "Try it"));
  const fields = (operation.parameters ?? []).map((parameter) => {
    const id = `${operation.operationId}-${parameter.name}`;
    const isList = parameter.schema.type === "array";
    const field = make("input", { id, type: "text", spellcheck: "false" });
    form.append(make("label", { for: id }, isList ? `${parameter.name} (several with commas)` : parameter.name), field);
    return { parameter, field, isList };
  });
  let body;
  const media = operation.requestBody?.content["application/json"];
  if (media) {
    const id = `${operation.operationId}-body`;
    body = make("textarea", { id, spellcheck: "false" });
    body.value = JSON.stringify(media.example ?? {}, null, 2);
    form.append(make("label", { for: id }, "Body"), body);
  }
  const button = make("button", { type: "submit" }, "Send");
  const output = make("div", { role: "status" });
  form.append(button, output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const query = new URLSearchParams();
    const headers = new Headers({ Accept: "application/json" });
    try {
      if ($("key").value) headers.set("Authorization", `Bearer ${$("key").value}`);
      for (const { parameter, field, isList } of fields) {
        if (!field.value) continue;
        if (parameter.in === "header") headers.set(parameter.name, field.value);
        else for (const value of isList ? field.value.split(",") : [field.value]) query.append(parameter.name, value.trim());
      }
      if (body) headers.set("Content-Type", "application/json");
      const asked = query.size ? `?${query}` : "";
      const answer = await fetch(path.slice(1) + asked, { method, headers, body: body?.value });
      show(output, answer, await answer.text());
    } catch (error) {
      output.replaceChildren(make("p", { class: "status bad" }, `The request failed: ${error.message}`));
    }
    button.disabled = false;
  });
  return form;
}

function answers(api, operation) {
  const rows = Object.entries(operation.responses).map(([status, response]) => [
    make("span", { class: `status ${status < 400 ? "good" : "bad"}` }, status),
    text(resolve(api, response).description),
  ]);
  return table(["status", ""], rows);
}

function section(api, path, method, operation) {
  const { operationId: id, summary, description } = operation;
  const head = make("summary", {}, make("b", {}, method), make("code", {}, path), make("span", {}, summary));
  const inside = make("div", { class: "inside" }, paragraphs(description));
  const parameters = (operation.parameters ?? []).map((parameter) => [
    make("code", {}, parameter.name),
    [parameter.in, type(api, parameter.schema), limits(parameter.schema)].filter(Boolean).join(", "),
    text(parameter.description),
  ]);
  if (parameters.length) inside.append(make("h3", {}, "Parameters"), table(["name", "type", ""], parameters));
  const media = operation.requestBody?.content["application/json"];
  if (media) inside.append(make("h3", {}, "Body"), text(operation.requestBody.description), members(api, media.schema));
  const good = operation.responses["200"].content["application/json"];
  if (good) inside.append(make("h3", {}, "Answer"), members(api, good.schema));
  inside.append(make("h3", {}, "Status codes"), answers(api, operation), trial(api, path, method, operation));
  return make("details", { class: "operation", id }, head, inside);
}

/** Opens the operation that the address names. */
function open() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) named.open = true;
}

async function start() {
  const api = await (await fetch("openapi.json")).json();
  $("description").replaceChildren(paragraphs(api.info.description));
  for (const tag of api.tags.filter(({ name }) => name !== "description")) {
    const sections = Object.entries(api.paths).flatMap(([path, item]) =>
      Object.entries(item)
        .filter(([, operation]) => operation.tags?.includes(tag.name))
        .map(([method, operation]) => section(api, path, method.toUpperCase(), operation)));
    $("contents").append(...sections.map(({ id }) => make("a", { href: `#${id}` }, id)));
    $("operations").append(make("h2", {}, tag.description.replace(/\.$/, "")), ...sections);
  }
  $("key-form").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", open);
  open();
}

start().catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent = `The document cannot be shown: ${error.message}`;
});
