// Prints the diagnostics of AsyncAPI's own parser as JSON. The package's bundle expects a browser.
globalThis.window = globalThis.self = globalThis;
const { readFileSync } = require("node:fs");
const Parser = require(process.argv[2]);
new Parser().parse(readFileSync(process.argv[3], "utf8")).then(({ document, diagnostics }) =>
    console.log(JSON.stringify({ isDocument: document !== undefined, diagnostics })));
