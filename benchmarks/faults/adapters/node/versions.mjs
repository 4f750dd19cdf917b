// Prints the versions of the packages named, as they are installed.
import { readFileSync } from "node:fs";

const version = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
console.log([`node ${process.versions.node}`, ...process.argv.slice(2).map((name) => `${name} ${version(name)}`)].join(", "));
