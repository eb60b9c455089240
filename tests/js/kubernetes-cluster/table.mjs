// The table of the events: what each cost the clients.
import { writeFileSync } from "node:fs";
import path from "node:path";

const COLUMNS = [
  ["event", ({ event }) => event],
  ["clients cut", ({ cut }) => cut],
  ["recovered", ({ recovered }) => recovered],
  ["new sessions", ({ renewed }) => renewed],
  ["lost", ({ lost }) => lost],
  ["twice", ({ twice }) => twice],
  ["unknown", ({ unknown }) => unknown],
  ["longest away, s", ({ away }) => away.toFixed(1)],
  ["seconds", ({ seconds }) => seconds.toFixed(0)],
];

export class Table {
  rows = [];

  constructor(folder) {
    this.folder = folder;
  }

  /** Adds a row, and writes all of them: a run may be interrupted. */
  add(row) {
    this.rows.push(row);
    if (!this.folder) return;
    writeFileSync(path.join(this.folder, "table.json"), JSON.stringify(this.rows, null, 2));
    writeFileSync(path.join(this.folder, "table.md"), this.markdown());
  }

  markdown() {
    const line = (cells) => `| ${cells.join(" | ")} |`;
    const parts = [];
    for (const overlay of new Set(this.rows.map((row) => row.overlay))) {
      const rows = this.rows.filter((row) => row.overlay === overlay);
      const clients = rows[0].clients;
      parts.push(`Overlay \`${overlay}\`, ${clients} clients, ${rows.reduce((all, { broadcasts }) => all + broadcasts, 0)} broadcasts:\n`);
      parts.push(line(COLUMNS.map(([name]) => name)), line(COLUMNS.map(() => "---")));
      for (const row of rows) parts.push(line(COLUMNS.map(([, of]) => of(row))));
      parts.push("");
    }
    return parts.join("\n");
  }
}
